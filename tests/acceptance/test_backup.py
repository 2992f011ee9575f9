"""A back-up taken while the gateway works, restored elsewhere: everything is there, with the same ids, and nothing is published anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.sample import generate_samples
from gateway.workbench.scu import send
from tests.conftest import ROOT
from tests.harness.account import settle
from tests.harness.chaos import Installation, clean_environment
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


def served(*words: str) -> subprocess.CompletedProcess[str]:
    """``isobridge serve`` that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "serve", "--set", f"mappings.directory={ROOT / 'mappings'}", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
    )


LOOPBACK = ("--set", "receive.bind=127.0.0.1:0", "--set", "web.bind=127.0.0.1:0")


def test_a_lost_key_is_told_and_never_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "spool" / "2026-01-31").mkdir(parents=True)
    done = served("--set", f"data.directory={tmp_path}", *LOOPBACK)
    assert done.returncode == 2
    assert "the installation key is lost" in done.stderr
    assert not list(tmp_path.rglob("*.key"))


def test_a_damaged_ledger_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 20_000)
    done = served("--set", f"data.directory={tmp_path}", *LOOPBACK)
    assert done.returncode == 2
    assert "ledger.db: the database is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there_yet_is_worth_another_start(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    done = served("--set", f"data.directory={tmp_path}", "--set", f"ledger.url={url}", *LOOPBACK)
    assert done.returncode == 1  # 2 would keep systemd from trying again
    assert "cannot be reached" in done.stderr
    assert "secret" not in done.stderr


def test_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([ROOT / "deploy" / "backup.sh", tmp_path, tmp_path / "b"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is no data directory" in done.stderr
