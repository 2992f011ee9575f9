"""A study is published when it is quiet, grows by versions, never shrinks, and costs few transactions."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import requests

from gateway.roles.child import process_name
from gateway.spool.ledger import Ledger
from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import send
from tests import builders
from tests.harness.account import settle
from tests.harness.chaos import Installation

STUDY, SERIES = "2.25.7001", "2.25.7002"


def slices(directory: Path, numbers: range) -> list[Path]:
    return [
        builders.write(
            builders.pet(
                StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, SOPInstanceUID=f"2.25.7003.{number}", InstanceNumber=str(number)
            ),
            directory / f"{number}.dcm",
        )
        for number in numbers
    ]


def push(installation: Installation, files: list[Path]) -> None:
    address = installation.address
    assert address is not None
    report = send(files, AEAddress(ae_title=address.ae_title, host=address.host, port=address.port))
    assert report.ok, report.failures


def number_of_instances(installation: Installation) -> int:
    answer = requests.get(f"{installation.fhir_url}/ImagingStudy?identifier={STUDY}", timeout=10).json()
    return int(answer["entry"][0]["resource"]["numberOfInstances"])


def transactions(installation: Installation) -> int:
    ledger = Ledger(f"sqlite:///{installation.data / 'ledger.db'}")
    states = ledger.overview.counts()["deliveries"]["embedded"]
    ledger.close()
    return int(states["verified"])


def forks_safely(installation: Installation) -> None:
    """Neither another thread nor an open database survives a fork, and the supervisor forks whenever a role dies."""
    supervisor = psutil.Process(installation.pid)
    assert supervisor.num_threads() == 1
    assert [file.path for file in supervisor.open_files() if ".db" in file.path] == []
    assert {role.name() for role in supervisor.children()} == {process_name(name) for name in ("receive", "work", "web")}


@pytest.mark.timeout(300)
def test_a_thousand_slices_cost_at_most_three_transactions_and_a_late_one_grows_the_study(tmp_path: Path) -> None:
    files = slices(tmp_path, range(1, 1002))
    with Installation(tmp_path / "gateway", settings={"gather": {"quiet_secs": 2, "quiet_cap_secs": 60}}) as running:
        forks_safely(running)
        push(running, files[:1000])
        assert settle(running.data) == []
        assert number_of_instances(running) == 1000
        assert transactions(running) <= 3
        push(running, files[1000:])
        assert settle(running.data) == []
        assert number_of_instances(running) == 1001
        push(running, files[:10])  # a partial re-send
        assert settle(running.data) == []
        assert number_of_instances(running) == 1001


@pytest.mark.timeout(120)
def test_a_quiet_time_that_was_running_is_not_forgotten_by_a_kill(tmp_path: Path) -> None:
    running = Installation(tmp_path / "gateway", settings={"gather": {"quiet_secs": 3, "quiet_cap_secs": 60}})
    with running:
        push(running, slices(tmp_path, range(1, 4)))
        running.kill()
        running.start()
        assert settle(running.data) == []
        assert number_of_instances(running) == 3
