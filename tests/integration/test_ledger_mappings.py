"""The ledger's contract for the life of mappings: what is in force, shadow, replay. One suite, run on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from gateway.errors import Rejected, Retryable
from gateway.spool.decisions import By
from gateway.spool.deliveries import Variant
from gateway.spool.history import InForce, PutKind
from gateway.spool.ledger import Ledger
from gateway.spool.replays import Scope
from gateway.spool.stages import Normalised, Ticket
from gateway.spool.subjects import SubjectKind
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import due, normalised, received, sealed, take_in

BY = By(name="A. Physicist", reason="looked at it", at=NOW)
SCANNER_A, SCANNER_B = (
    {"manufacturer": "GE", "model": "D690", "serial": "1"},
    {"manufacturer": "GE", "model": "D690", "serial": "2"},
)


def read_as(
    ticket: Ticket, *, device: dict[str, str] | None = None, version: str = "abc", patient: str = "sys|P1", shadow: bool = False
) -> Normalised:
    """A record by a version of a mapping, from a scanner."""
    item = normalised(ticket, patient=patient)
    words = f"{ticket.study_uid}{patient}{version}{device}"
    shared = dataclasses.replace(item.record.shared, key=words, mapping_version=version, device=device or {})
    return dataclasses.replace(item, record=dataclasses.replace(item.record, shared=shared), shadow=shadow)


def lease(ledger: Ledger) -> list[Ticket]:
    return ledger.stages.lease(limit=100, now=NOW, lease_secs=60)


def states(ledger: Ledger) -> dict[str, int]:
    return {state: number for state, number in ledger.overview.counts()["instances"].items() if number}


def seal_all(ledger: Ledger, content: str | None, *, now: float = NOW + 1000) -> list[SubjectKind]:
    """Everything that is due, with this content; None: there is nothing to publish."""
    done: list[SubjectKind] = []
    while (ticket := ledger.subjects.lease_due(now=now, lease_secs=60)) is not None:
        made = sealed(content) if content else sealed("", bundle=None)
        ledger.subjects.seal(ticket, made, targets=["embedded"], now=now)
        done.append(ticket.kind)
    return done


def test_the_newest_row_is_in_force_and_history_is_kept(ledger: Ledger) -> None:
    assert ledger.mappings.in_force() is None
    first = ledger.mappings.put("v1", PutKind.FIRST, BY, after=None)
    second = ledger.mappings.put("v2", PutKind.DEPLOY, BY, after=first)
    assert ledger.mappings.in_force() == second
    assert [(item.version, item.put_by, item.reason) for item in ledger.mappings.listed()] == [
        ("v2", "A. Physicist", "looked at it"),
        ("v1", "A. Physicist", "looked at it"),
    ]


def test_who_looked_at_something_else_puts_nothing_in_force(ledger: Ledger) -> None:
    first = ledger.mappings.put("v1", PutKind.FIRST, BY, after=None)
    ledger.mappings.put("v2", PutKind.DEPLOY, BY, after=first)
    for stale in (None, first):
        with pytest.raises(Rejected, match="meanwhile"):
            ledger.mappings.put("v3", PutKind.DEPLOY, BY, after=stale)
    assert [item.version for item in ledger.mappings.listed()] == ["v2", "v1"]


def test_of_many_who_deploy_at_once_one_wins(ledger: Ledger) -> None:
    first = ledger.mappings.put("v0", PutKind.FIRST, BY, after=None)
    together = threading.Barrier(6)

    def deploy(number: int) -> InForce | None:
        together.wait()
        try:
            return ledger.mappings.put(f"v{number}", PutKind.DEPLOY, BY, after=first)
        except Rejected:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [item for item in pool.map(deploy, range(1, 7)) if item]
    assert len(won) == 1
    assert ledger.mappings.in_force() == won[0]


def test_a_deployment_needs_a_name_and_a_reason(ledger: Ledger) -> None:
    with pytest.raises(Rejected, match="reason and a name"):
        ledger.mappings.put("v1", PutKind.FIRST, By(name=" ", reason="x", at=NOW), after=None)
    assert ledger.mappings.in_force() is None


def test_a_new_scanner_is_held_archived_and_published_when_approved(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(2)])
    ledger.stages.advance(
        [read_as(ticket, device=SCANNER_A) for ticket in lease(ledger)], archives=["orthanc"], new_scanners=True, now=NOW
    )
    assert states(ledger) == {"shadowed": 2}
    assert ledger.overview.counts()["deliveries"] == {"orthanc": {"pending": 2}}  # the originals are archived all the same
    assert ledger.subjects.study_records("1.2.1") == []
    assert len(ledger.subjects.study_records("1.2.1", with_shadow=True)) == 2
    assert ledger.subjects.dossier_shared("sys|P1") == []
    assert seal_all(ledger, None) == [SubjectKind.STUDY]
    (waiting,) = ledger.shadows.waiting()
    assert (waiting.kind, waiting.objects, waiting.studies) == ("scanner", 2, 1)
    (reason,) = {item["reason"] for item in ledger.overview.instances("shadowed")}
    assert "GE D690, serial 1" in reason

    assert ledger.shadows.approve_scanner(int(waiting.name), BY) == 2
    assert states(ledger) == {"received": 2}
    ledger.stages.advance(
        [read_as(ticket, device=SCANNER_A) for ticket in lease(ledger)], archives=["orthanc"], new_scanners=True, now=NOW
    )
    assert states(ledger) == {"normalised": 2}
    assert ledger.overview.counts()["deliveries"] == {"orthanc": {"pending": 2}}
    assert ledger.shadows.waiting() == []
    (known,) = ledger.shadows.scanners()
    assert (known.approved_by, known.reason) == ("A. Physicist", "looked at it")


def test_without_the_setting_a_scanner_is_known_from_its_first_object_on(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    ledger.stages.advance([read_as(ticket, device=SCANNER_A) for ticket in lease(ledger)], now=NOW)
    ledger.intake.record_arrivals([received(2), received(3)])
    tickets = lease(ledger)
    ledger.stages.advance(
        [read_as(tickets[0], device=SCANNER_A), read_as(tickets[1], device=SCANNER_B)], new_scanners=True, now=NOW
    )
    assert states(ledger) == {"normalised": 2, "shadowed": 1}  # half a study is published, the other half waits


def test_a_mapping_in_shadow_is_approved_in_the_version_that_was_looked_at(ledger: Ledger) -> None:
    def arrive(number: int, version: str) -> None:
        ledger.intake.record_arrivals([received(number)])
        ledger.stages.advance([read_as(ticket, version=version, shadow=True) for ticket in lease(ledger)], now=NOW)

    arrive(1, "v1")
    assert states(ledger) == {"shadowed": 1}
    assert ledger.shadows.approve_mapping("pet_image", "v1", BY) == 1
    ledger.stages.advance([read_as(ticket, version="v1", shadow=True) for ticket in lease(ledger)], now=NOW)
    arrive(2, "v1")
    assert states(ledger) == {"normalised": 2}
    arrive(3, "v2")
    assert states(ledger) == {"normalised": 2, "shadowed": 1}


def test_what_is_not_waiting_cannot_be_approved(ledger: Ledger) -> None:
    with pytest.raises(Rejected, match="no such scanner"):
        ledger.shadows.approve_scanner(1, BY)
    with pytest.raises(Rejected, match="Nothing waits"):
        ledger.shadows.approve_mapping("pet_image", None, BY)
    take_in(ledger, 1)
    with pytest.raises(Rejected, match="approved already"):
        ledger.shadows.approve_scanner(ledger.shadows.scanners()[0].id, BY)


def test_sending_again_what_is_in_shadow_changes_nothing(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    ledger.stages.advance([read_as(ticket, shadow=True) for ticket in lease(ledger)], now=NOW)
    ledger.intake.record_arrivals([received(1), received(1, content="other")])
    assert states(ledger) == {"shadowed": 1, "conflict": 1}


def published(ledger: Ledger, *numbers: int, study: str = "1.2.1") -> Sequence[Ticket]:
    tickets = take_in(ledger, *numbers, study=study)
    seal_all(ledger, "before")
    return tickets


def test_a_replay_gathers_again_when_all_of_it_is_done(ledger: Ledger) -> None:
    published(ledger, 1, 2, 3)
    replay = ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    assert (ledger.replays.progress(replay).total, ledger.replays.progress(replay).waiting) == (3, 3)
    assert states(ledger) == {"normalised": 3}
    first = ledger.replays.lease(limit=2, now=NOW, lease_secs=60)
    assert ledger.replays.advance([read_as(ticket, version="new") for ticket in first], now=NOW) == 2
    assert seal_all(ledger, "half") == []  # nothing half old and half new is sealed
    last = ledger.replays.lease(limit=2, now=NOW, lease_secs=60)
    assert ledger.replays.advance([read_as(ticket, version="new") for ticket in last], now=NOW) == 1
    assert ledger.replays.progress(replay).waiting == 0
    assert ledger.replays.progress(replay).changed == 3
    assert {record.shared.fields.mapping_version for record in ledger.subjects.study_records("1.2.1")} == {"new"}
    assert sorted(seal_all(ledger, "before")) == [SubjectKind.DOSSIER, SubjectKind.STUDY]
    assert ledger.overview.counts()["versions"] == {"study": 1, "dossier": 1}  # the same content: no new version


def test_a_worker_that_lost_its_lease_stores_nothing(ledger: Ledger) -> None:
    published(ledger, 1)
    ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    late = ledger.replays.lease(limit=1, now=NOW, lease_secs=60)
    again = ledger.replays.lease(limit=1, now=NOW + 61, lease_secs=60)
    assert ledger.replays.advance([read_as(ticket, version="late") for ticket in late], now=NOW + 62) == 0
    assert ledger.replays.advance([read_as(ticket, version="again") for ticket in again], now=NOW + 62) == 1
    (record,) = ledger.subjects.study_records("1.2.1")
    assert record.shared.fields.mapping_version == "again"
    assert ledger.replays.lease(limit=1, now=NOW + 1000, lease_secs=60) == []


def test_what_cannot_be_mapped_again_keeps_its_record_and_is_told(ledger: Ledger) -> None:
    published(ledger, 1, 2)
    replay = ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    one, two = ledger.replays.lease(limit=2, now=NOW, lease_secs=60)
    ledger.replays.give_up(one, "Its file is gone.")
    ledger.replays.advance([read_as(two, version="new", shadow=True)], now=NOW)
    assert states(ledger) == {"normalised": 2}
    assert {record.shared.fields.mapping_version for record in ledger.subjects.study_records("1.2.1")} == {"abc"}
    (gone, shadow) = sorted(reason for reason, _ in ledger.replays.problems(replay))
    assert gone == "Its file is gone."
    assert "in shadow" in shadow
    assert ledger.replays.progress(replay).problems == 2


def test_a_replay_that_moves_objects_to_another_patient_gathers_both(ledger: Ledger) -> None:
    published(ledger, 1)
    ledger.replays.ask(Scope(since_day="2023-11-14"), now=NOW)
    tickets = ledger.replays.lease(limit=1, now=NOW, lease_secs=60)
    ledger.replays.advance([read_as(ticket, patient="sys|P2") for ticket in tickets], now=NOW)
    ticket = due(ledger, NOW)
    ledger.subjects.seal(ticket, sealed("moved", patient="sys|P2"), targets=[], now=NOW)
    keys = {due(ledger, NOW).key, due(ledger, NOW).key}
    assert keys == {"sys|P1", "sys|P2"}


def test_the_scope_is_a_day_or_a_study(ledger: Ledger) -> None:
    published(ledger, 1, study="1.2.1")
    published(ledger, 2, 3, study="1.2.2")
    assert ledger.replays.progress(ledger.replays.ask(Scope(study="1.2.2"), now=NOW)).total == 2
    assert ledger.replays.progress(ledger.replays.ask(Scope(since_day="2023-11-15"), now=NOW)).total == 0
    assert ledger.replays.progress(ledger.replays.ask(Scope(since_day="2023-11-14"), now=NOW)).total == 3


def test_a_replay_tries_again_what_was_set_aside_or_is_in_shadow(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(2)])
    one, two = lease(ledger)
    ledger.stages.quarantine(one, "no mapping fits")
    ledger.stages.advance([read_as(two, shadow=True)], now=NOW)
    ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    assert states(ledger) == {"received": 2}


def test_a_replay_tries_what_no_mapping_understood_and_leaves_what_the_door_refused(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(2), received(3, reason="cut short")])
    for ticket in lease(ledger):
        ledger.stages.quarantine(ticket, "no mapping fits")
    scope = Scope(study="1.2.1")
    assert ledger.replays.studies(scope) == ["1.2.1"]
    assert len(ledger.replays.set_aside("1.2.1", "")) == 2
    replay = ledger.replays.ask(scope, now=NOW)
    assert states(ledger) == {"received": 2, "quarantined": 1}
    assert (ledger.replays.progress(replay).total, ledger.replays.progress(replay).waiting) == (2, 2)
    assert ledger.replays.lease(limit=9, now=NOW, lease_secs=60) == []  # they are worked on from their beginning
    one, two = lease(ledger)
    ledger.stages.quarantine(two, "still no mapping fits")
    ledger.stages.advance([read_as(one)], now=NOW + 5)
    progress = ledger.replays.progress(replay)
    assert (progress.waiting, progress.problems) == (0, 1)
    assert ledger.replays.problems(replay) == [("still no mapping fits", 1)]
    assert ledger.replays.subjects_due(replay, now=NOW + 5) == 2  # at once: nothing is on its way
    assert sorted(seal_all(ledger, "healed", now=NOW + 5)) == [SubjectKind.DOSSIER, SubjectKind.STUDY]
    assert ledger.replays.versions(replay) == {"study": 1, "dossier": 1}


def test_of_two_contents_of_one_uid_that_were_set_aside_a_replay_tries_one(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1, content="a")])
    ledger.stages.quarantine(lease(ledger)[0], "no mapping fits")
    ledger.intake.record_arrivals([received(1, content="b")])
    for ticket in lease(ledger):
        ledger.stages.quarantine(ticket, "no mapping fits")
    assert states(ledger) == {"quarantined": 2}
    replay = ledger.replays.ask(Scope(since_day="2023-11-14"), now=NOW)
    assert ledger.replays.progress(replay).total == 1
    assert states(ledger) == {"received": 1, "quarantined": 1}


def test_a_replay_that_finds_it_in_shadow_still_says_so(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1)])
    ledger.stages.advance([read_as(ticket, shadow=True) for ticket in lease(ledger)], now=NOW)
    replay = ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    ledger.stages.advance([read_as(ticket, shadow=True) for ticket in lease(ledger)], now=NOW)
    assert states(ledger) == {"shadowed": 1}
    assert ledger.replays.progress(replay).waiting == 0
    ((reason, objects),) = ledger.replays.problems(replay)
    assert objects == 1
    assert "in shadow" in reason


def test_what_came_of_a_replay_counts_its_own_studies_only(ledger: Ledger) -> None:
    published(ledger, 1, study="1.2.1")
    other = take_in(ledger, 2, study="1.2.2", now=NOW + 1, patient="sys|P2")
    assert other
    replay = ledger.replays.ask(Scope(study="1.2.1"), now=NOW + 2000)
    assert ledger.replays.subjects_due(replay, now=NOW + 5000) == 0
    assert len(seal_all(ledger, "others", now=NOW + 5000)) == 2
    assert ledger.replays.versions(replay) == {}
    tickets = ledger.replays.lease(limit=9, now=NOW + 5000, lease_secs=60)
    ledger.replays.advance([read_as(ticket, version="new") for ticket in tickets], now=NOW + 5000)
    assert ledger.replays.subjects_due(replay, now=NOW + 5000) == 2
    seal_all(ledger, "after", now=NOW + 6000)
    assert ledger.replays.versions(replay) == {"study": 1, "dossier": 1}
    assert ledger.replays.subjects_due(replay, now=NOW + 9000) == 0


def test_asking_is_all_or_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    published(ledger, 1, 2)
    ledger.intake.record_arrivals([received(3)])
    ledger.stages.quarantine(lease(ledger)[0], "no mapping fits")
    statements = ledger.replays._sql
    monkeypatch.setitem(statements, "note_total", sa.text("SELECT 1 FROM there_is_no_such_table"))
    with pytest.raises((sa.exc.DatabaseError, Retryable)):
        ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    assert states(ledger) == {"normalised": 2, "quarantined": 1}
    assert ledger.replays.lease(limit=9, now=NOW, lease_secs=60) == []


def test_a_replay_has_normalised_objects_made_anew_where_no_person_withdrew_them(ledger: Ledger) -> None:
    def told() -> object:
        return ledger.overview.counts()["deliveries"].get("archive")

    ledger.intake.record_arrivals([received(1, study="1.2.1"), received(2, study="1.2.2")])
    ledger.stages.advance([normalised(ticket) for ticket in lease(ledger)], normalised=["archive"], now=NOW)
    sent = ledger.deliveries.lease_instances("archive", limit=9, now=NOW, lease_secs=60)
    ledger.deliveries.verified_instances(sent, now=NOW)
    assert told() == {"verified": 2}
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE study SET withdrawn = 1 WHERE uid = '1.2.2'"))
    ledger.replays.ask(Scope(since_day="2023-11-14"), now=NOW)
    tickets = ledger.replays.lease(limit=9, now=NOW, lease_secs=60)
    ledger.replays.advance([read_as(ticket, version="new") for ticket in tickets], normalised=["archive"], now=NOW)
    assert told() == {"verified": 1, "pending": 1}
    (again,) = ledger.deliveries.lease_instances("archive", limit=9, now=NOW, lease_secs=60)
    assert (again.study_uid, again.variant) == ("1.2.1", Variant.NORMALISED)


def test_a_crash_while_mapping_again_is_counted(ledger: Ledger) -> None:
    published(ledger, 1)
    ledger.replays.ask(Scope(study="1.2.1"), now=NOW)
    (ticket,) = ledger.replays.lease(limit=1, now=NOW, lease_secs=60)
    ledger.stages.count_crash(ticket.instance_id)
    (again,) = ledger.replays.lease(limit=1, now=NOW, lease_secs=60)
    assert again.crashes == 1
