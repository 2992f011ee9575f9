"""The lanes: what becomes of each failure, and that a dead target is left alone as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.errors import Quarantined, Retryable
from gateway.lanes import FactLane, ImageLane, LaneSettings
from gateway.line import Line
from gateway.model import JsonObject, Receipt
from gateway.spool.deliveries import InstanceTicket
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.workers import caught
from tests.integration.ledgers import NOW, QUIET
from tests.integration.test_ledger_contract import due, normalised, received, sealed

HOUR = LaneSettings(lease_secs=60, retry_budget_secs=3600)


class Archive:
    """A DICOM target that does what a test tells it."""

    def __init__(self, failures: dict[str, Exception] | None = None) -> None:
        self.name = "archive"
        self.parallel = 2
        self.normalised = False
        self.failures = failures or {}
        self.down: Exception | None = None
        self.asked: list[str] = []

    def check(self) -> None:
        """Always there."""

    def deliver(self, ticket: InstanceTicket, file: Path, produced: object = None) -> None:
        self.asked.append(ticket.sop_instance_uid)
        error = self.down or self.failures.get(ticket.sop_instance_uid)
        if error is not None:
            raise error

    def holds(self, sop_instance_uid: str, digest: str, file: Path) -> bool:
        return sop_instance_uid in self.asked

    def fetch(self, sop_instance_uid: str, digest: str) -> bytes | None:
        return None


class Facts:
    """A FHIR target that says success and holds nothing."""

    name = "facts"

    def check(self) -> None:
        """Always there."""

    def send(self, bundle: JsonObject) -> Receipt:
        return Receipt(versions={})

    def verify(self, resources: object, receipt: Receipt) -> bool:
        return False

    def missing(self, resources: Sequence[JsonObject]) -> list[JsonObject]:
        return list(resources)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", QUIET)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def line(ledger: Ledger, tmp_path: Path) -> Line:
    return Line(understanding=None, files=SpoolFiles(tmp_path / "spool"), ledger=ledger, targets=[])  # type: ignore[arg-type]


def take_in(ledger: Ledger, patient: str, *numbers: int) -> None:
    ledger.intake.record_arrivals([received(number, study=f"1.2.{patient}") for number in numbers])
    tickets = ledger.stages.lease(limit=1000, now=NOW, lease_secs=60)
    done = [normalised(ticket, patient=f"sys|{patient}") for ticket in tickets]
    ledger.stages.advance(done, archives=["archive"], now=time.time() - 10)


def states(ledger: Ledger) -> list[tuple[str, str, str | None]]:
    question = (
        "SELECT i.sop_instance_uid, d.state, d.reason FROM delivery d JOIN instance i ON i.id = d.instance_id ORDER BY i.id"
    )
    with ledger.database.read() as connection:
        return [(row[0].rpartition(".")[2], row[1], row[2]) for row in connection.execute(sa.text(question))]


def test_a_batch_is_delivered_in_order_within_each_patient(ledger: Ledger, line: Line) -> None:
    take_in(ledger, "7", 1, 2, 3)
    take_in(ledger, "8", 4, 5)
    archive = Archive()
    lane = ImageLane(archive, line, HOUR, caught)
    assert lane.step()
    assert not lane.step()
    lane.close()
    assert [uid for uid in archive.asked if uid < "1.2.3.4"] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert {state for _, state, _ in states(ledger)} == {"verified"}


def test_one_failure_costs_its_patient_a_wait_and_nobody_else_anything(ledger: Ledger, line: Line) -> None:
    take_in(ledger, "7", 1, 2)
    take_in(ledger, "8", 3)
    lane = ImageLane(Archive({"1.2.3.1": Retryable("busy")}), line, HOUR, caught)
    assert lane.step()
    lane.close()
    assert states(ledger) == [("1", "pending", "busy"), ("2", "pending", None), ("3", "verified", None)]
    assert lane.pause_secs == 0


def test_what_a_target_will_never_take_is_parked_and_the_rest_goes_on(ledger: Ledger, line: Line) -> None:
    take_in(ledger, "7", 1, 2)
    lane = ImageLane(Archive({"1.2.3.1": Quarantined("another object")}), line, HOUR, caught)
    assert lane.step()
    assert lane.step()
    lane.close()
    assert states(ledger) == [("1", "parked", "another object"), ("2", "verified", None)]


def test_a_fault_of_ours_is_tried_again_and_shown_without_its_text(ledger: Ledger, line: Line) -> None:
    take_in(ledger, "7", 1)
    lane = ImageLane(Archive({"1.2.3.1": ZeroDivisionError("Tester^Invented")}), line, HOUR, caught)
    assert lane.step()
    lane.close()
    ((_, state, reason),) = states(ledger)
    assert state == "pending"
    assert "ZeroDivisionError" in str(reason)
    assert "Tester" not in str(reason)


def test_a_dead_target_gets_one_probe_and_then_everything(ledger: Ledger, line: Line) -> None:
    for patient in range(10, 50):
        take_in(ledger, str(patient), patient)
    archive = Archive()
    archive.down = Retryable("The target cannot be reached.", wait_secs=0.2, peer_down=True)
    lane = ImageLane(archive, line, HOUR, caught)
    assert lane.step()
    first = len(archive.asked)
    assert 0 < lane.pause_secs <= 0.2
    time.sleep(lane.pause_secs)
    assert lane.step()
    assert len(archive.asked) == first + 1  # the probe
    archive.down = None
    time.sleep(lane.pause_secs)
    ends_at = time.monotonic() + 20
    while {state for _, state, _ in states(ledger)} != {"verified"}:
        assert time.monotonic() < ends_at
        lane.step()
    lane.close()
    assert len(archive.asked) == first + 1 + 40


def test_what_waited_too_long_for_a_dead_target_is_parked_with_its_reason(ledger: Ledger, line: Line) -> None:
    for patient in range(10, 50):
        take_in(ledger, str(patient), patient)
    archive = Archive()
    archive.down = Retryable("The target cannot be reached.", peer_down=True)
    lane = ImageLane(archive, line, LaneSettings(lease_secs=60, retry_budget_secs=5), caught)
    lane.step()
    lane.close()
    told = {(state, reason) for _, state, reason in states(ledger)}
    assert ("parked", "Gave up after the time allowed for retries. The target cannot be reached.") in told
    assert len(ledger.overview.deliveries("parked")) + ledger.overview.counts()["deliveries"]["archive"].get("pending", 0) == 40
    assert len(ledger.overview.deliveries("parked")) > 0


def test_success_without_the_content_is_no_success(ledger: Ledger, line: Line) -> None:
    take_in(ledger, "7", 1)
    patient = {"resourceType": "Patient", "id": "p"}
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient}]}
    ledger.subjects.seal(due(ledger, time.time() + 100), sealed("a", bundle=bundle), targets=["facts"], now=time.time())
    lane = FactLane(Facts(), line, HOUR, caught)
    assert lane.step()
    assert ledger.overview.counts()["deliveries"]["facts"] == {"pending": 1}
    with ledger.database.read() as connection:
        reason = connection.execute(sa.text("SELECT reason FROM delivery WHERE target = 'facts'")).scalar_one()
    assert "does not hold what was sent" in reason
