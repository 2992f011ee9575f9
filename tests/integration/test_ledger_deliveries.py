"""The outbox of instances: one suite, run on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.spool.decisions import By
from gateway.spool.deliveries import Given, InstanceTicket, Variant
from gateway.spool.ledger import Ledger
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import normalised, received


def take_in(ledger: Ledger, *numbers: int, patient: str = "sys|P1", archives: Sequence[str] = ("one",)) -> list[int]:
    """Receive and normalise instances of one patient, with DICOM targets to tell. Returns the instance ids."""
    ledger.intake.record_arrivals([received(number, study=f"1.2.{patient[-1]}") for number in numbers])
    tickets = ledger.stages.lease(limit=10_000, now=NOW, lease_secs=60)
    ledger.stages.advance([normalised(ticket, patient=patient) for ticket in tickets], archives=archives, now=NOW)
    return [ticket.instance_id for ticket in tickets]


def lease(ledger: Ledger, target: str = "one", *, now: float = NOW + 1, limit: int = 100) -> list[InstanceTicket]:
    return ledger.deliveries.lease_instances(target, limit=limit, now=now, lease_secs=60)


def decide(ledger: Ledger, ids: Sequence[int], variant: Variant) -> None:
    with ledger.database.write() as connection:
        ledger.deliveries.enqueue_instances(connection, ids, None, variant, NOW + 5, again=True)


def states(ledger: Ledger) -> dict[str, str]:
    with ledger.database.read() as connection:
        rows = connection.execute(sa.text("SELECT variant, state FROM delivery WHERE instance_id IS NOT NULL")).all()
        return {row.variant: row.state for row in rows}


def test_each_normalised_instance_is_told_to_each_target_once(ledger: Ledger) -> None:
    take_in(ledger, 1, 2, archives=("one", "two"))
    for target in ("one", "two"):
        tickets = lease(ledger, target)
        assert [(ticket.sop_instance_uid, ticket.variant, ticket.attempts) for ticket in tickets] == [
            ("1.2.3.1", Variant.ORIGINAL, 1),
            ("1.2.3.2", Variant.ORIGINAL, 1),
        ]
        assert {ticket.partition_key for ticket in tickets} == {"sys|P1"}
        assert tickets[0].digest == received(1).instance.digest
        assert lease(ledger, target) == []
        ledger.deliveries.verified_instances(tickets, now=NOW + 2)
    assert ledger.overview.counts()["deliveries"] == {"one": {"verified": 2}, "two": {"verified": 2}}
    assert lease(ledger, now=NOW + 1000) == []


def test_what_no_mapping_understands_is_archived_with_its_study(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(2, reason="cut short")])
    (ticket,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    ledger.stages.quarantine(ticket, "no mapping fits", archives=("one",), now=NOW)
    (told,) = lease(ledger)
    assert (told.sop_instance_uid, told.partition_key) == ("1.2.3.1", "study|1.2.1")


def test_a_lost_lease_quarantines_and_tells_nothing(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (lost,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=1)
    ledger.stages.lease(limit=10, now=NOW + 5, lease_secs=60)
    ledger.stages.quarantine(lost, "no mapping fits", archives=("one",), now=NOW)
    assert lease(ledger) == []


def test_a_waiting_instance_holds_its_patient_and_nobody_else(ledger: Ledger) -> None:
    take_in(ledger, 1, 2)
    take_in(ledger, 3, patient="sys|P2")
    first, second, third = lease(ledger)
    ledger.deliveries.retry(first, "busy", at=NOW + 50)
    ledger.deliveries.release([second, third])
    (other,) = lease(ledger, now=NOW + 2)
    assert (other.partition_key, other.attempts) == ("sys|P2", 1)
    assert [(ticket.delivery_id, ticket.attempts) for ticket in lease(ledger, now=NOW + 51)] == [
        (first.delivery_id, 2),
        (second.delivery_id, 1),
    ]


def test_a_lease_that_ran_out_is_taken_again_and_its_holder_writes_no_more(ledger: Ledger) -> None:
    take_in(ledger, 1)
    (lost,) = lease(ledger)
    (mine,) = lease(ledger, now=NOW + 100)
    ledger.deliveries.verified_instances([lost], now=NOW + 101)
    assert states(ledger) == {"original": "leased"}
    ledger.deliveries.verified_instances([mine], now=NOW + 101)
    assert states(ledger) == {"original": "verified"}


def test_parked_instances_are_listed_with_their_reason_and_replayed(ledger: Ledger) -> None:
    take_in(ledger, 1, 2)
    for ticket in lease(ledger):
        ledger.deliveries.park(ticket, "Orthanc cannot read this as DICOM", now=NOW + 2)
    listed = ledger.overview.deliveries("parked")
    assert [(item["kind"], item["subject_key"], item["variant"], item["reason"]) for item in listed] == [
        ("instance", "1.2.3.2", "original", "Orthanc cannot read this as DICOM"),
        ("instance", "1.2.3.1", "original", "Orthanc cannot read this as DICOM"),
    ]
    assert ledger.deliveries.unpark([item["id"] for item in listed], now=NOW + 3) == 2
    assert [ticket.attempts for ticket in lease(ledger, now=NOW + 4)] == [1, 1]


def test_a_withdrawn_image_that_is_tried_again_is_marked_again(ledger: Ledger) -> None:
    take_in(ledger, 1)
    (image,) = lease(ledger)
    ledger.deliveries.park(image, "Orthanc is full", now=NOW + 2)
    ledger.decisions.withdraw("1.2.1", By(name="radiographer", reason="test object", at=NOW + 5))
    ledger.deliveries.verified_instances(lease(ledger, now=NOW + 6), now=NOW + 7)  # it is not there: nothing to mark
    assert states(ledger) == {"original": "parked", "withdrawn": "verified"}
    ledger.deliveries.unpark([image.delivery_id], now=NOW + 8)
    assert [ticket.variant for ticket in lease(ledger, now=NOW + 9)] == [Variant.ORIGINAL, Variant.WITHDRAWN]


def test_what_waited_longer_than_its_budget_is_parked_at_once(ledger: Ledger) -> None:
    take_in(ledger, 1, 2, 3)
    ledger.deliveries.release(lease(ledger, limit=1))
    assert ledger.deliveries.park_expired("two", "gone", created_before=NOW) == 0
    assert ledger.deliveries.park_expired("one", "gone", created_before=NOW - 1) == 0
    assert ledger.deliveries.park_expired("one", "gone", created_before=NOW) == 3
    assert len(ledger.overview.deliveries("parked")) == 3


def test_a_decision_is_told_to_every_target_that_was_told_before(ledger: Ledger) -> None:
    ids = take_in(ledger, 1, archives=("one", "two"))
    for target in ("one", "two"):
        ledger.deliveries.verified_instances(lease(ledger, target), now=NOW + 2)
    decide(ledger, ids, Variant.WITHDRAWN)
    decide(ledger, ids, Variant.WITHDRAWN)
    for target in ("one", "two"):
        (told,) = lease(ledger, target, now=NOW + 6)
        assert told.variant is Variant.WITHDRAWN


def test_a_withdrawal_overtakes_an_original_that_never_left(ledger: Ledger) -> None:
    ids = take_in(ledger, 1)
    decide(ledger, ids, Variant.WITHDRAWN)
    assert states(ledger) == {"original": "superseded", "withdrawn": "pending"}
    (told,) = lease(ledger, now=NOW + 6)
    ledger.deliveries.verified_instances([told], now=NOW + 7)
    decide(ledger, ids, Variant.ORIGINAL)
    assert states(ledger) == {"original": "pending", "withdrawn": "verified"}
    (told,) = lease(ledger, now=NOW + 8)
    assert told.variant is Variant.ORIGINAL


def test_what_is_told_of_one_instance_stays_in_one_queue(ledger: Ledger) -> None:
    ids = take_in(ledger, 1)
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE shared SET patient_key = 'sys|P9'"))
    decide(ledger, ids, Variant.REASSIGNED)
    first, second = lease(ledger, now=NOW + 6)
    assert (first.variant, second.variant) == (Variant.ORIGINAL, Variant.REASSIGNED)
    assert first.partition_key == second.partition_key == "sys|P1"


def test_normalising_again_tells_nothing_twice(ledger: Ledger) -> None:
    ids = take_in(ledger, 1)
    ledger.deliveries.verified_instances(lease(ledger), now=NOW + 2)
    with ledger.database.write() as connection:
        ledger.deliveries.enqueue_instances(connection, ids, ["one"], "original", NOW + 5)
    assert states(ledger) == {"original": "verified"}


def test_thousands_wait_without_slowing_the_lease(ledger: Ledger) -> None:
    take_in(ledger, *range(3000))
    taken = 0
    while tickets := lease(ledger, limit=500):
        ledger.deliveries.verified_instances(tickets, now=NOW + 2)
        taken += len(tickets)
        assert len({ticket.delivery_id for ticket in tickets}) == len(tickets)
    assert taken == 3000


def test_what_a_target_holds_instead_of_the_original_is_remembered_and_replaced(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    tickets = ledger.stages.lease(limit=9, now=NOW, lease_secs=60)
    ledger.stages.advance([normalised(ticket) for ticket in tickets], archives=["one"], normalised=["two"], now=NOW)
    (original,), (ticket,) = lease(ledger), lease(ledger, "two")
    assert (original.variant, ticket.variant, ticket.given) == (Variant.ORIGINAL, Variant.NORMALISED, ())
    assert (ticket.original_key, ticket.study_uid) == (ticket.patient_key, received(1).instance.study_instance_uid)
    assert ticket.received_at == received(1).arrival.received_at.timestamp()
    first, second = Given(digest="ab" * 32, sop_instance_uid="2.25.1"), Given(digest="cd" * 32, sop_instance_uid="2.25.2")
    ledger.deliveries.verified_instances([ticket], now=NOW + 2, given={ticket.delivery_id: first})
    decide(ledger, [tickets[0].instance_id], Variant.REASSIGNED)
    (moved,) = lease(ledger, "two", now=NOW + 6)
    assert (moved.variant, moved.given) == (Variant.REASSIGNED, (first,))
    ledger.deliveries.verified_instances([moved], now=NOW + 7, given={moved.delivery_id: second})
    decide(ledger, [tickets[0].instance_id], Variant.WITHDRAWN)
    (withdrawn,) = lease(ledger, "two", now=NOW + 8)
    assert withdrawn.given == (second,)


def test_a_normalised_object_takes_the_place_of_an_original_that_the_target_confirmed(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (ticket,) = ledger.stages.lease(limit=9, now=NOW, lease_secs=60)
    ledger.stages.quarantine(ticket, "no mapping fits", archives=("one",), now=NOW)
    ledger.deliveries.verified_instances(lease(ledger), now=NOW + 2)
    assert ledger.stages.requeue([ticket.instance_id]) == 1
    tickets = ledger.stages.lease(limit=9, now=NOW + 3, lease_secs=60)
    ledger.stages.advance([normalised(ticket) for ticket in tickets], normalised=["one"], now=NOW + 3)
    (again,) = lease(ledger, now=NOW + 4)
    assert again.given == (Given(digest=again.digest, sop_instance_uid=again.sop_instance_uid),)
    made = Given(digest="ab" * 32, sop_instance_uid=again.sop_instance_uid)
    ledger.deliveries.verified_instances([again], now=NOW + 5, given={again.delivery_id: made})
    assert states(ledger) == {"original": "superseded", "normalised": "verified"}


def test_what_was_about_to_be_uploaded_is_known_to_the_next_attempt_until_something_is_proven(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    tickets = ledger.stages.lease(limit=9, now=NOW, lease_secs=60)
    ledger.stages.advance([normalised(ticket) for ticket in tickets], normalised=["one"], now=NOW)
    first, second = Given(digest="ab" * 32, sop_instance_uid="2.25.1"), Given(digest="cd" * 32, sop_instance_uid="2.25.2")
    (killed,) = lease(ledger)
    assert ledger.deliveries.intend(killed, first)
    assert ledger.deliveries.intend(killed, first)
    (next_one,) = lease(ledger, now=NOW + 120)
    assert next_one.given == (first,)
    assert not ledger.deliveries.intend(killed, second)  # the lease is another's
    assert ledger.deliveries.intend(next_one, second)
    ledger.deliveries.verified_instances([next_one], now=NOW + 121, given={next_one.delivery_id: second})
    decide(ledger, [tickets[0].instance_id], Variant.WITHDRAWN)
    (withdrawn,) = lease(ledger, now=NOW + 122)
    assert withdrawn.given == (second,)
