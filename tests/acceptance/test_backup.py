"""A back-up taken while the gateway works, restored elsewhere: everything is there, with the same ids, and nothing is published anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.workbench.sample import generate_samples
from gateway.workbench.scu import AEAddress, send
from tests.conftest import ROOT
from tests.harness.account import settle
from tests.harness.chaos import Installation
from tests.harness.snapshot import differences, fetch

SETTINGS = {"gather": {"quiet_secs": 1, "quiet_cap_secs": 5}}


def push(running: Installation, folder: Path) -> None:
    address = running.address
    assert address is not None
    report = send([folder], AEAddress(ae_title=address.ae_title, host=address.host, port=address.port))
    assert report.ok, report.failures


def back_up(running: Installation, into: Path) -> None:
    subprocess.run([ROOT / "deploy" / "backup.sh", running.data, into], check=True, timeout=120)


@pytest.mark.timeout(300)
def test_a_restored_gateway_holds_the_same_and_publishes_nothing_anew(tmp_path: Path) -> None:
    first, second = generate_samples(tmp_path / "sample")
    with Installation(tmp_path / "old", settings=SETTINGS) as old:
        push(old, first.directory)
        assert settle(old.data) == []
        back_up(old, tmp_path / "backup")
        push(old, second.directory)
        assert settle(old.data) == []
        back_up(old, tmp_path / "backup")  # the same directory: only what is new is copied
        held = fetch(old.fhir_url)

    new = Installation(tmp_path / "new", settings=SETTINGS)
    shutil.copytree(tmp_path / "backup", new.data)
    with new:
        assert differences(held, fetch(new.fhir_url)) == []
        push(new, tmp_path / "sample")  # what a scanner sends again is known
        assert settle(new.data) == []
        after = fetch(new.fhir_url)
        assert differences(held, after) == []


def test_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "deploy" / "backup.sh", tmp_path, tmp_path / "b"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no data directory" in done.stderr
