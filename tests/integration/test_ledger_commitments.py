"""Storage commitment in the ledger, on SQLite and on PostgreSQL; and the reporter over it, with time in our hands."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from gateway.dicom.commitment import PROCESSING_FAILURE, Reference, Request
from gateway.errors import Retryable
from gateway.receive.reporter import Reporter, ReporterSettings
from gateway.spool.commitments import COMMITTED, FRESH_SECS, Copy, Ticket
from gateway.spool.deliveries import Variant
from gateway.spool.ledger import Ledger
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import received

PET = "1.2.840.10008.5.1.4.1.1.128"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Asker:
    """Takes answers, or does not."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.heard: list[tuple[str, str, tuple[int | None, ...]]] = []

    def __call__(self, ticket: Ticket, address: str) -> str | None:
        self.heard.append((ticket.transaction_uid, address, ticket.outcomes))
        return self.problem


class Archive:
    """Is asked whether it holds an object: all that it was given, until somebody deletes it there or pulls the plug."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()
        self.is_down = False
        self.asked: list[str] = []

    def __call__(self, copy: Copy) -> bool:
        self.asked.append(copy.sop_instance_uid)
        if self.is_down:
            raise Retryable("The target cannot be reached.")
        return copy.sop_instance_uid not in self.deleted


def reporter(ledger: Ledger, asker: Asker, clock: Clock, archive: Archive | None = None, **peers: str) -> Reporter:
    settings = ReporterSettings(peers=peers, wait_secs=600, retry_for_secs=3600)
    return Reporter(ledger.commitments, settings, {"archive": archive or Archive()}, call=asker, now=clock)


def withdraw(ledger: Ledger, number: int) -> None:
    """As decisions do; the archive has deleted it, as it was told."""
    with ledger.database.write() as connection:
        found = connection.execute(sa.text("SELECT id FROM instance WHERE sop_instance_uid = :uid"), {"uid": f"1.2.3.{number}"})
        ledger.deliveries.enqueue_instances(connection, [found.scalar_one()], ["archive"], Variant.WITHDRAWN, NOW)
    tickets = ledger.deliveries.lease_instances("archive", limit=10, now=NOW, lease_secs=60)
    ledger.deliveries.verified_instances(tickets, now=NOW)


def ask(ledger: Ledger, *numbers: int, transaction: str = "1.9", held_until: float = 0.0, now: float = NOW) -> int:
    references = tuple(Reference(PET, f"1.2.3.{number}") for number in numbers)
    return ledger.commitments.ask(
        Request(transaction, references), calling_ae="PET1", called_ae="ISOBRIDGE", now=now, held_until=held_until
    )


def archived(ledger: Ledger, number: int, *, target: str = "archive") -> None:
    """The archive was asked back and holds the object."""
    with ledger.database.write() as connection:
        found = connection.execute(sa.text("SELECT id FROM instance WHERE sop_instance_uid = :uid"), {"uid": f"1.2.3.{number}"})
        ledger.deliveries.enqueue_instances(connection, [found.scalar_one()], [target], Variant.ORIGINAL, NOW)
    tickets = ledger.deliveries.lease_instances(target, limit=10, now=NOW, lease_secs=60)
    ledger.deliveries.verified_instances(tickets, now=NOW)


def test_committed_only_when_an_archive_has_verified_each_object(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1), received(2)])
    ask(ledger, 1, 2)
    archived(ledger, 1)
    archived(ledger, 2, target="elsewhere")  # a target that does not count
    assert desk.look_at_one()
    assert not desk.look_at_one()  # later
    assert not desk.report_one()
    assert ledger.commitments.counts() == {"waiting": 1}
    assert ledger.commitments.listed()[0]["committed"] == 1
    archived(ledger, 2)
    clock.now += 2
    assert desk.look_at_one()
    assert desk.report_one()
    assert asker.heard == [("1.9", "10.0.0.7:104", (COMMITTED, COMMITTED))]
    assert ledger.commitments.counts() == {"reported": 1}
    assert not desk.report_one()


def test_what_is_not_archived_in_time_is_a_failure_and_may_be_asked_again(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1)])
    ask(ledger, 1)
    clock.now += 601
    assert desk.look_at_one()
    assert desk.report_one()
    archived(ledger, 1)
    ask(ledger, 1, now=clock.now)
    assert ledger.commitments.counts() == {"waiting": 1}
    assert desk.look_at_one()
    assert desk.report_one()
    assert [outcomes for _, _, outcomes in asker.heard] == [(PROCESSING_FAILURE,), (COMMITTED,)]


def test_an_answer_that_is_not_taken_is_tried_again_then_parked_and_a_person_may_retry(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    asker.problem = "PET1 at 10.0.0.7:104 does not accept an association"
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1)])
    archived(ledger, 1)
    ask(ledger, 1)
    desk.look_at_one()
    while clock.now < NOW + 7200:
        desk.report_one()
        clock.now += 5
    assert ledger.commitments.counts() == {"parked": 1}
    assert 5 < len(asker.heard) < 20  # with growing pauses
    assert ledger.commitments.listed()[0]["reason"] == asker.problem
    assert ledger.commitments.unpark(now=clock.now) == 1
    asker.problem = None
    assert desk.look_at_one()
    assert desk.report_one()
    assert ledger.commitments.counts() == {"reported": 1}


def test_an_answer_belongs_to_its_association_while_that_is_open(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    desk = reporter(ledger, asker, clock)
    ledger.intake.record_arrivals([received(1)])
    archived(ledger, 1)
    asked = ask(ledger, 1, held_until=NOW + 15)
    desk.look_at_one()
    assert not desk.report_one()
    (ticket,) = ledger.commitments.lease_held([asked], now=NOW, lease_secs=30)
    assert ledger.commitments.lease_held([asked], now=NOW, lease_secs=30) == []
    ledger.commitments.hold([asked], until=0.0)
    assert not desk.report_one()  # leased by the association
    ledger.commitments.retry(ticket, "the association ended", at=NOW)
    assert desk.report_one()  # nobody knows its address
    assert ledger.commitments.counts() == {"parked": 1}
    assert "names no address" in ledger.commitments.listed()[0]["reason"]


def test_a_lease_that_was_lost_changes_nothing(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    ask(ledger, 1)
    old = ledger.commitments.lease("waiting", now=NOW, lease_secs=10)
    new = ledger.commitments.lease("waiting", now=NOW + 11, lease_secs=10)
    assert old is not None
    assert new is not None
    assert not ledger.commitments.looked_at(old, [COMMITTED], now=NOW, next_at=NOW)
    assert ledger.commitments.listed()[0]["committed"] == 0
    ask(ledger, 1, now=NOW + 12)  # asked anew: whoever still works on the former request is too late
    assert not ledger.commitments.looked_at(new, [COMMITTED], now=NOW, next_at=NOW)


def test_another_content_of_a_known_object_is_a_conflict(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1)])
    archived(ledger, 1)
    ledger.intake.record_arrivals([received(1, content="other")])
    ask(ledger, 1)
    desk.look_at_one()
    assert ledger.commitments.counts() == {"waiting": 1}  # a worker compares them first
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE instance SET held_for = 'content' WHERE state = 'conflict'"))
    clock.now += 2
    desk.look_at_one()
    desk.report_one()
    assert asker.heard[0][2] == (0x0119,)


def test_what_was_withdrawn_while_the_rest_was_awaited_is_not_committed(ledger: Ledger) -> None:
    asker, clock = Asker(), Clock()
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1), received(2)])
    ask(ledger, 1, 2)
    archived(ledger, 1)
    assert desk.look_at_one()
    withdraw(ledger, 1)
    archived(ledger, 2)
    clock.now += 300
    assert desk.look_at_one()
    assert desk.report_one()
    assert [outcomes for _, _, outcomes in asker.heard] == [(PROCESSING_FAILURE, COMMITTED)]


@pytest.mark.parametrize("attempts", [0, 1])
def test_an_answer_is_judged_again_before_each_try(ledger: Ledger, attempts: int) -> None:
    asker, clock = Asker(), Clock()
    asker.problem = "down"
    desk = reporter(ledger, asker, clock, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1)])
    ask(ledger, 1)
    archived(ledger, 1)
    assert desk.look_at_one()
    for _ in range(attempts):
        assert desk.report_one()
    withdraw(ledger, 1)
    clock.now += 3000 * attempts
    asker.problem = None
    assert desk.report_one()  # the outcome changes
    assert desk.report_one()
    assert ledger.commitments.counts() == {"reported": 1}
    assert asker.heard[-1][2] == (PROCESSING_FAILURE,)
    assert ledger.commitments.listed()[0]["failed"] == 1


def test_what_the_archive_has_lost_since_is_not_committed(ledger: Ledger) -> None:
    asker, clock, archive = Asker(), Clock(), Archive()
    desk = reporter(ledger, asker, clock, archive, PET1="10.0.0.7:104")
    ledger.intake.record_arrivals([received(1), received(2)])
    archived(ledger, 1)
    archived(ledger, 2)
    archive.deleted = {"1.2.3.1"}
    ask(ledger, 1, 2)
    assert desk.look_at_one()
    assert desk.report_one()
    assert asker.heard[0][2] == (PROCESSING_FAILURE, COMMITTED)
    assert sorted(archive.asked) == ["1.2.3.1", "1.2.3.2"], "a moment later its word still counts"
    archive.deleted = set()
    ask(ledger, 1, 2, transaction="1.10", now=clock.now)
    assert desk.look_at_one()
    archive.deleted = {"1.2.3.2"}
    clock.now += FRESH_SECS + 1
    assert desk.report_one()
    assert desk.report_one()
    assert asker.heard[-1][2] == (COMMITTED, PROCESSING_FAILURE), "an answer that waited is asked for again"


def test_an_archive_that_does_not_answer_commits_nothing(ledger: Ledger) -> None:
    asker, clock, archive = Asker(), Clock(), Archive()
    desk = reporter(ledger, asker, clock, archive, PET1="10.0.0.7:104")
    numbers = range(1, 11)
    ledger.intake.record_arrivals([received(number) for number in numbers])
    for number in numbers:
        archived(ledger, number)
    archive.is_down = True
    ask(ledger, *numbers)
    assert desk.look_at_one()
    assert ledger.commitments.counts() == {"waiting": 1}
    assert len(archive.asked) <= 4, "the rest is not asked of an archive that is silent"
    clock.now += 601
    assert desk.look_at_one()
    assert desk.report_one()
    assert set(asker.heard[0][2]) == {PROCESSING_FAILURE}


def test_the_association_is_told_only_what_still_stands(ledger: Ledger) -> None:
    desk = reporter(ledger, Asker(), Clock())
    ledger.intake.record_arrivals([received(1)])
    archived(ledger, 1)
    asked = ask(ledger, 1, held_until=NOW + 60)
    desk.look_at_one()
    (ticket,) = ledger.commitments.lease_held([asked], now=NOW, lease_secs=30)
    assert ledger.commitments.stands(ticket)
    assert (ticket.is_fresh(NOW + FRESH_SECS), ticket.is_fresh(NOW + FRESH_SECS + 1)) == (True, False)
    withdraw(ledger, 1)
    assert not ledger.commitments.stands(ticket)
    ledger.commitments.look_again(ticket, now=NOW)
    assert ledger.commitments.counts() == {"waiting": 1}
    desk.look_at_one()
    (ticket,) = ledger.commitments.lease_held([asked], now=NOW, lease_secs=30)
    assert ticket.outcomes == (PROCESSING_FAILURE,)
