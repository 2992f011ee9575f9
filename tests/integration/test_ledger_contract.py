"""The ledger's contract: one suite, run on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal

import pytest
import sqlalchemy as sa

from gateway.errors import Misconfigured
from gateway.model import Arrival, Door, Instance, Issue, Received, Record, SharedFields
from gateway.spool.callers import KEPT_MOST, Caller
from gateway.spool.deliveries import Published
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Normalised, Ticket
from gateway.spool.subjects import Sealed, SubjectKind, SubjectTicket
from tests.integration.ledgers import NOW, QUIET


def received(
    number: int, *, study: str = "1.2.1", content: str = "", day: str = "2023-11-14", reason: str | None = None
) -> Received:
    digest = hashlib.sha256(f"{number}{content}".encode()).hexdigest()
    instance = Instance(
        digest=digest,
        day=day,
        size_bytes=1000,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.128",
        sop_instance_uid=f"1.2.3.{number}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
    )
    arrival = Arrival(
        door=Door.DIMSE,
        calling_ae="PET1",
        called_ae="ISOBRIDGE",
        peer="127.0.0.1",
        received_at=dt.datetime.fromtimestamp(NOW, dt.UTC),
    )
    return Received(arrival=arrival, instance=instance, status=0xC000 if reason else 0, reason=reason)


def normalised(ticket: Ticket, *, patient: str = "sys|P1", issues: tuple[Issue, ...] = ()) -> Normalised:
    shared = SharedFields(
        key=hashlib.sha256(f"{ticket.study_uid}{patient}".encode()).hexdigest(),
        mapping="pet_image",
        mapping_version="abc",
        patient={"id": patient.rpartition("|")[2]},
        study={"uid": ticket.study_uid},
        series={"uid": ticket.series_uid},
        device={},
        administrations=({"activity": {"value": Decimal("394"), "unit": "MBq"}},),
    )
    record = Record(shared=shared, instance={"uid": ticket.sop_instance_uid, "number": 1}, issues=issues)
    return Normalised(ticket=ticket, record=record, patient_key=patient)


def take_in(ledger: Ledger, *numbers: int, study: str = "1.2.1", now: float = NOW, patient: str = "sys|P1") -> list[Ticket]:
    """Receive, lease and normalise instances; the usual way of a study into the ledger."""
    ledger.intake.record_arrivals([received(number, study=study) for number in numbers])
    tickets = ledger.stages.lease(limit=1000, now=now, lease_secs=60)
    ledger.stages.advance([normalised(ticket, patient=patient) for ticket in tickets], now=now)
    return tickets


def sealed(content: str, *, patient: str = "sys|P1", **changes: object) -> Sealed:
    values: dict[str, object] = {
        "patient_key": patient,
        "content_hash": content,
        "bundle": {"resourceType": "Bundle", "content": content},
        "hold": {},
        "release": [],
        "dossiers": frozenset(),
        "aliases": {},
    }
    return Sealed(**{**values, **changes})  # type: ignore[arg-type]


def due(ledger: Ledger, now: float) -> SubjectTicket:
    ticket = ledger.subjects.lease_due(now=now, lease_secs=60)
    assert ticket is not None
    return ticket


def test_the_same_bytes_sent_twice_are_one_instance_and_two_arrivals(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    ledger.intake.record_arrivals([received(1)])
    counts = ledger.overview.counts()
    assert counts["arrivals"] == 2
    assert counts["instances"]["received"] == 1


def test_a_known_uid_with_other_content_is_kept_as_a_conflict(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(1, content="other")])
    ledger.intake.record_arrivals([received(1, content="other")])
    assert ledger.overview.counts()["instances"] == {
        "received": 1,
        "normalised": 0,
        "quarantined": 0,
        "conflict": 1,
        "variant": 0,
        "shadowed": 0,
    }
    (held,) = ledger.overview.instances("conflict")
    assert "first stays published" in held["reason"]


def test_a_good_copy_after_a_quarantined_one_is_worked_on(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1, content="cut", reason="cut short")])
    ledger.intake.record_arrivals([received(1)])
    assert ledger.overview.counts()["instances"]["received"] == 1


def test_the_same_bytes_refused_first_and_accepted_later_are_worked_on(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1, reason="announced under another UID")])
    assert ledger.intake.record_arrivals([received(1, day="2023-11-16")]) == []
    assert ledger.overview.counts()["instances"] == {
        "received": 1,
        "normalised": 0,
        "quarantined": 0,
        "conflict": 0,
        "variant": 0,
        "shadowed": 0,
    }
    (ticket,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    assert ticket.day == "2023-11-16"


def test_a_copy_of_another_day_is_reported_as_spare(ledger: Ledger) -> None:
    assert ledger.intake.record_arrivals([received(1)]) == []
    (spare,) = ledger.intake.record_arrivals([received(1, day="2023-11-15")])
    assert spare.day == "2023-11-15"


def test_files_without_a_row_are_told_from_those_with_one(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    known, other = received(1).instance.digest, received(2).instance.digest
    assert ledger.intake.unknown([known, other]) == {other}


def test_a_closed_day_stays_closed(ledger: Ledger) -> None:
    ledger.intake.close_day("2023-11-13")
    ledger.intake.close_day("2023-11-13")
    assert ledger.intake.closed_days() == {"2023-11-13"}


def test_an_instance_is_leased_once_until_the_lease_runs_out(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (first,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    assert ledger.stages.lease(limit=10, now=NOW + 59, lease_secs=60) == []
    (second,) = ledger.stages.lease(limit=10, now=NOW + 61, lease_secs=60)
    assert second.token > first.token


def test_a_former_holder_cannot_write_after_its_lease_was_taken_over(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (first,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    (second,) = ledger.stages.lease(limit=10, now=NOW + 61, lease_secs=60)
    assert ledger.stages.advance([normalised(first)], now=NOW + 62) == 0
    ledger.stages.quarantine(first, "too late")
    assert ledger.stages.advance([normalised(second)], now=NOW + 63) == 1
    assert ledger.overview.counts()["instances"]["normalised"] == 1


def test_a_record_comes_back_as_it_was_stored_with_exact_decimals(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (ticket,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    ledger.stages.advance([normalised(ticket, issues=(Issue(field="instance.number", reason="is odd"),))], now=NOW)
    (record,) = ledger.subjects.study_records("1.2.1")
    assert record.instance == {"uid": "1.2.3.1", "number": 1}
    assert record.shared.fields.administrations[0]["activity"] == {"value": 394, "unit": "MBq"}
    assert record.issues[0].reason == "is odd"
    assert not record.held


def test_a_quarantined_instance_is_listed_with_its_reason_and_can_be_tried_again(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    (ticket,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    ledger.stages.quarantine(ticket, "PatientID is missing")
    (item,) = ledger.overview.instances("quarantined")
    assert item["reason"] == "PatientID is missing"
    assert ledger.stages.requeue([item["id"]]) == 1
    assert ledger.overview.counts()["instances"]["received"] == 1


def test_of_two_quarantined_contents_of_one_uid_only_one_is_tried_again(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1, content=cut, reason="cut short") for cut in ("a", "b")])
    ledger.intake.record_arrivals([received(2, reason="no study")])
    items = [item["id"] for item in ledger.overview.instances("quarantined")]
    assert ledger.stages.requeue(items) == 2
    assert ledger.overview.counts()["instances"] == {
        "received": 2,
        "normalised": 0,
        "quarantined": 1,
        "conflict": 0,
        "variant": 0,
        "shadowed": 0,
    }


def test_a_study_is_due_only_after_its_quiet_time(ledger: Ledger) -> None:
    take_in(ledger, 1)
    assert ledger.subjects.lease_due(now=NOW + 9, lease_secs=60) is None
    assert due(ledger, NOW + 11).kind is SubjectKind.STUDY
    assert due(ledger, NOW + 11).kind is SubjectKind.DOSSIER
    assert ledger.subjects.lease_due(now=NOW + 11, lease_secs=60) is None


def test_a_study_with_an_instance_still_waiting_is_not_due(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.intake.record_arrivals([received(2)])
    assert due(ledger, NOW + 11).kind is SubjectKind.DOSSIER
    assert ledger.subjects.lease_due(now=NOW + 11, lease_secs=60) is None


def test_timers_survive_a_restart(ledger: Ledger) -> None:
    take_in(ledger, 1)
    again = Ledger(ledger.database.engine.url.render_as_string(hide_password=False), QUIET)
    assert due(again, NOW + 11).key == "1.2.1"
    again.close()


def test_a_sealed_version_is_delivered_once_per_target(ledger: Ledger) -> None:
    take_in(ledger, 1)
    assert ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one", "two"], now=NOW + 11) == 1
    first = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert first is not None
    assert first.bundle == {"resourceType": "Bundle", "content": "a"}
    assert ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60) is None
    assert ledger.deliveries.lease("two", now=NOW + 12, lease_secs=60) is not None


def test_unchanged_content_makes_no_new_version(ledger: Ledger) -> None:
    take_in(ledger, 1)
    assert ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11) == 1
    take_in(ledger, 2, now=NOW + 20)
    ticket = due(ledger, NOW + 200)
    assert ledger.subjects.seal(ticket, sealed("a"), targets=["one"], now=NOW + 200) is None
    assert ledger.overview.counts()["versions"] == {"study": 1}


def test_a_newer_version_supersedes_a_pending_older_one(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11)
    take_in(ledger, 2, now=NOW + 20)
    ticket = due(ledger, NOW + 200)
    assert ticket.key == "1.2.1"
    assert ledger.subjects.seal(ticket, sealed("b"), targets=["one"], now=NOW + 200) == 2
    delivery = ledger.deliveries.lease("one", now=NOW + 201, lease_secs=60)
    assert delivery is not None
    assert delivery.version == 2
    assert ledger.overview.counts()["deliveries"]["one"] == {"superseded": 1, "leased": 1}


def test_what_arrives_between_lease_and_seal_keeps_the_study_open(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ticket = due(ledger, NOW + 11)
    take_in(ledger, 2, now=NOW + 12)
    assert ledger.subjects.seal(ticket, sealed("a"), targets=["one"], now=NOW + 13) == 1
    assert due(ledger, NOW + 100).kind is SubjectKind.STUDY


def test_a_lost_subject_lease_seals_nothing(ledger: Ledger) -> None:
    take_in(ledger, 1)
    late = due(ledger, NOW + 11)
    assert late.kind is SubjectKind.STUDY
    taken_over = due(ledger, NOW + 11 + 61)
    assert taken_over.kind is SubjectKind.STUDY
    assert ledger.subjects.seal(late, sealed("a"), targets=["one"], now=NOW + 80) is None
    assert ledger.overview.counts()["versions"] == {}


def test_the_quiet_time_doubles_with_each_version(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=[], now=NOW + 11)
    due(ledger, NOW + 11)  # the dossier, out of the way
    take_in(ledger, 2, now=NOW + 20)
    assert ledger.subjects.lease_due(now=NOW + 39, lease_secs=5) is None
    assert due(ledger, NOW + 41).kind is SubjectKind.STUDY


def test_deliveries_of_one_patient_keep_their_order(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("d"), targets=["one"], now=NOW + 11)
    first = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert first is not None
    assert first.kind == "study"
    assert ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60) is None
    assert ledger.deliveries.verified(first, [], now=NOW + 13)
    second = ledger.deliveries.lease("one", now=NOW + 13, lease_secs=60)
    assert second is not None
    assert second.kind == "dossier"


def test_a_failed_delivery_comes_back_at_its_time_and_holds_no_other_patient(ledger: Ledger) -> None:
    take_in(ledger, 1)
    take_in(ledger, 2, study="1.2.2", patient="sys|P2")
    for patient in ("sys|P1", "sys|P2"):
        ticket = due(ledger, NOW + 11)
        ledger.subjects.seal(ticket, sealed(ticket.key, patient=patient), targets=["one"], now=NOW + 11)
    first = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert first is not None
    ledger.deliveries.retry(first, "target is down", at=NOW + 50)
    other = ledger.deliveries.lease("one", now=NOW + 13, lease_secs=60)
    assert other is not None
    assert other.subject_key != first.subject_key
    again = ledger.deliveries.lease("one", now=NOW + 51, lease_secs=60)
    assert again is not None
    assert (again.subject_key, again.attempts) == (first.subject_key, 2)


def test_a_parked_delivery_is_replayed_by_hand_only(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11)
    ticket = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert ticket is not None
    ledger.deliveries.park(ticket, "refused for 72 hours", now=NOW + 13)
    assert ledger.deliveries.lease("one", now=NOW + 9999, lease_secs=60) is None
    (item,) = ledger.overview.deliveries("parked")
    assert item["reason"] == "refused for 72 hours"
    assert ledger.deliveries.unpark([item["id"]], now=NOW + 10_000) == 1
    assert ledger.deliveries.lease("one", now=NOW + 10_001, lease_secs=60) is not None


@pytest.mark.parametrize("how", ["parked", "to be tried again", "given back"])
def test_a_version_that_became_old_on_the_wire_never_follows_the_newer_one(ledger: Ledger, how: str) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("old"), targets=["one"], now=NOW + 11)
    old = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert old is not None
    take_in(ledger, 2, now=NOW + 13)
    study = due(ledger, NOW + 200)
    assert study.kind is SubjectKind.STUDY
    assert ledger.subjects.seal(study, sealed("new"), targets=["one"], now=NOW + 200) == 2
    if how == "parked":
        ledger.deliveries.park(old, "refused", now=NOW + 201)
    elif how == "to be tried again":
        ledger.deliveries.retry(old, "busy", at=NOW + 300)
    else:
        ledger.deliveries.release([old])
    new = ledger.deliveries.lease("one", now=NOW + 202, lease_secs=60)
    assert new is not None
    assert new.version == 2
    ledger.deliveries.verified(new, [], now=NOW + 203)
    assert ledger.overview.deliveries("parked") == []
    assert ledger.deliveries.lease("one", now=NOW + 9999, lease_secs=60) is None


def test_an_old_version_that_an_earlier_release_parked_is_not_tried_again(ledger: Ledger) -> None:
    take_in(ledger, 1)
    for number, content in enumerate(("old", "new")):
        take_in(ledger, 2 + number, now=NOW + 300 * number)
        ledger.subjects.seal(due(ledger, NOW + 300 * number + 200), sealed(content), targets=["one"], now=NOW)
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE delivery SET state = 'parked'"))
    parked = [item["id"] for item in ledger.overview.deliveries("parked")]
    assert len(parked) == 2
    assert ledger.deliveries.unpark(parked, now=NOW + 900) == 1
    again = ledger.deliveries.lease("one", now=NOW + 901, lease_secs=60)
    assert again is not None
    assert again.version == 2


def test_a_parked_version_is_sealed_anew_when_newer_words_of_its_patient_arrived_meanwhile(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11)
    parked = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert parked is not None
    ledger.deliveries.park(parked, "refused", now=NOW + 13)
    ledger.subjects.seal(due(ledger, NOW + 14), sealed("dossier"), targets=["one"], now=NOW + 14)
    dossier = ledger.deliveries.lease("one", now=NOW + 15, lease_secs=60)
    assert dossier is not None
    ledger.deliveries.verified(dossier, [], now=NOW + 16)
    assert ledger.deliveries.unpark([parked.delivery_id], now=NOW + 20) == 1
    assert ledger.deliveries.lease("one", now=NOW + 21, lease_secs=60) is None
    study = due(ledger, NOW + 21)
    assert (study.kind, study.key) == (SubjectKind.STUDY, "1.2.1")
    assert ledger.subjects.seal(study, sealed("a"), targets=["one"], now=NOW + 22) == 2  # the same content, sent all the same
    again = ledger.deliveries.lease("one", now=NOW + 23, lease_secs=60)
    assert again is not None
    assert (again.subject_key, again.version) == ("1.2.1", 2)
    take_in(ledger, 2, now=NOW + 30)
    assert ledger.subjects.seal(due(ledger, NOW + 900), sealed("a"), targets=["one"], now=NOW + 900) is None  # and only once


def test_what_a_target_holds_is_remembered(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ledger.subjects.seal(due(ledger, NOW + 11), sealed("a"), targets=["one"], now=NOW + 11)
    ticket = ledger.deliveries.lease("one", now=NOW + 12, lease_secs=60)
    assert ticket is not None
    item = Published(resource_type="Patient", resource_id="p", version_id="1", content_hash="h")
    ledger.deliveries.verified(ticket, [item], now=NOW + 13)
    assert ledger.deliveries.published("one", ["p", "q"]) == {("Patient", "p"): item}
    assert ledger.deliveries.published("two", ["p"]) == {}


def test_an_administration_is_minted_once(ledger: Ledger) -> None:
    take_in(ledger, 1)
    due(ledger, NOW + 11)
    dossier = due(ledger, NOW + 11)
    ledger.subjects.seal(dossier, sealed("d", aliases={"event|1.2": "m1"}), targets=[], now=NOW + 11)
    assert ledger.subjects.facts.aliases("sys|P1") == {"event|1.2": "m1"}


def test_a_replaced_administration_is_remembered_and_its_names_lead_to_the_survivor(ledger: Ledger) -> None:
    take_in(ledger, 1)
    due(ledger, NOW + 11)
    dossier = due(ledger, NOW + 11)
    facts = ledger.subjects.facts
    ledger.subjects.seal(dossier, sealed("d", aliases={"event|1": "m1", "fact|2": "m2"}), targets=[], now=NOW + 11)
    with ledger.database.write() as connection:
        facts.store(connection, "sys|P1", aliases={"fact|2": "m1"}, replaced={"m2": "m1"}, active=["m1"])
    assert facts.aliases("sys|P1") == {"event|1": "m1", "fact|2": "m1"}
    assert facts.replaced("sys|P1") == {"m2": "m1"}
    with ledger.database.write() as connection:  # they prove to be two after all
        facts.store(connection, "sys|P1", aliases={"fact|2": "m2"}, replaced={}, active=["m1", "m2"])
    assert facts.aliases("sys|P1") == {"event|1": "m1", "fact|2": "m2"}
    assert facts.replaced("sys|P1") == {}


def test_a_subject_that_cannot_be_published_is_shown_and_tried_again(ledger: Ledger) -> None:
    take_in(ledger, 1)
    ticket = due(ledger, NOW + 11)
    ledger.subjects.note_problem(ticket, "no valid FHIR")
    (problem,) = ledger.overview.problems()
    assert (problem["kind"], problem["problem"]) == ("study", "no valid FHIR")
    again = ledger.subjects.lease_due(now=NOW + 11 + 61, lease_secs=60)
    assert again is not None
    ledger.subjects.seal(again, sealed("a"), targets=[], now=NOW + 80)
    assert ledger.overview.problems() == []


def test_held_instances_are_read_back_as_held_and_can_be_released(ledger: Ledger) -> None:
    (ticket,) = take_in(ledger, 1)
    subject = due(ledger, NOW + 11)
    ledger.subjects.seal(subject, sealed("a", hold={ticket.instance_id: "two patients in one study"}), targets=[], now=NOW + 11)
    (record,) = ledger.subjects.study_records("1.2.1")
    assert record.held
    assert ledger.subjects.dossier_shared("sys|P1") == []
    take_in(ledger, 2, now=NOW + 20)
    subject = due(ledger, NOW + 200)
    assert subject.kind is SubjectKind.STUDY
    ledger.subjects.seal(subject, sealed("b", release=[ticket.instance_id]), targets=[], now=NOW + 200)
    assert len(ledger.subjects.dossier_shared("sys|P1")) == 1


def test_an_item_is_found_by_digest_prefix_and_by_uid(ledger: Ledger) -> None:
    take_in(ledger, 1)
    digest = received(1).instance.digest
    for wanted in (digest[:8], digest, "1.2.3.1", "1.2.1"):
        (item,) = ledger.overview.find(wanted)
        assert item["digest"] == digest
        assert item["arrivals"][0]["calling_ae"] == "PET1"
    assert ledger.overview.find("1.2.3.99") == []


def test_a_ledger_written_by_a_newer_release_is_refused(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match="newer release"):
        ledger.migrate()


def test_callers_add_up_and_the_oldest_are_forgotten(ledger: Ledger) -> None:
    first = Caller(calling_ae="PET1", called_ae="ISOBRIDGE", peer="10.0.0.7", last_at=NOW)
    first.associations, first.association_at, first.contexts, first.proposed = 1, NOW, 2, 2
    ledger.callers.record([first])
    ledger.callers.record(
        [Caller(calling_ae="PET1", called_ae="ISOBRIDGE", peer="10.0.0.7", last_at=NOW + 1, stored=5, stored_at=NOW + 1)]
    )
    (seen,) = ledger.overview.callers()
    assert (seen.associations, seen.stored, seen.association_at, seen.stored_at, seen.contexts) == (1, 5, NOW, NOW + 1, 2)
    assert (seen.first_at, seen.last_at) == (NOW, NOW + 1)
    many = [Caller(calling_ae=f"X{n}", called_ae="", peer="", last_at=NOW + 2 + n) for n in range(KEPT_MOST + 10)]
    ledger.callers.record(many)
    kept = ledger.overview.callers(limit=10_000)
    assert len(kept) == KEPT_MOST
    assert kept[0].calling_ae == f"X{KEPT_MOST + 9}"
    assert "PET1" not in {each.calling_ae for each in kept}
