"""Decisions of people in the ledger, on SQLite and on PostgreSQL: what follows from them, at once and for what comes later."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.errors import Rejected
from gateway.spool.decisions import By
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Compared, Ticket
from gateway.spool.subjects import SubjectKind
from tests.integration.ledgers import NOW, QUIET
from tests.integration.test_ledger_contract import due, normalised, received, sealed

STUDY = "1.2.1"
BY = By(name="A Person", reason="seen at the scanner", at=NOW + 500)


def take(ledger: Ledger, *numbers: int, patient: str, now: float = NOW, study: str = STUDY) -> list[Ticket]:
    ledger.intake.record_arrivals([received(number, study=study) for number in numbers])
    tickets = ledger.stages.lease(limit=1000, now=now, lease_secs=60)
    ledger.stages.advance([normalised(ticket, patient=patient) for ticket in tickets], now=now)
    return tickets


def ask(ledger: Ledger, question: str, **values: object) -> list[Any]:
    with ledger.database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(question), values)]


def holders(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """SOP Instance UID -> state and the patient that holds for it."""
    question = """SELECT i.sop_instance_uid, i.state, sh.patient_key FROM instance i
    JOIN record r ON r.instance_id = i.id JOIN shared sh ON sh.id = r.shared_id WHERE i.held_for IS NULL OR i.held_for = 'patient'"""
    return {uid: (state, key) for uid, state, key in ask(ledger, question)}


def give_to_orthanc(ledger: Ledger, state: str = "verified") -> None:
    """As if a DICOM target had been given every image."""
    with ledger.database.write() as connection:
        connection.execute(
            sa.text(
                """INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
                SELECT 'orthanc', id, 'original', 'sys|P1', :state, 0, 0 FROM instance"""
            ),
            {"state": state},
        )


def told(ledger: Ledger) -> list[tuple[str, str, str]]:
    question = """SELECT i.sop_instance_uid, d.variant, d.state FROM delivery d JOIN instance i ON i.id = d.instance_id
    ORDER BY i.sop_instance_uid, d.variant, d.state"""
    return [tuple(row) for row in ask(ledger, question)]


def test_accept_moves_what_is_held_and_what_comes_later(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    take(ledger, 3, patient="sys|P2")
    decision = ledger.decisions.accept(STUDY, BY)
    assert (decision.moved, decision.to_key, decision.subject_key) == (("sys|P2",), "sys|P1", "sys|P1")
    assert holders(ledger) == {f"1.2.3.{n}": ("normalised", "sys|P1") for n in (1, 2, 3)}
    take(ledger, 4, patient="sys|P2", now=NOW + 600)
    assert holders(ledger)["1.2.3.4"] == ("normalised", "sys|P1")
    take(ledger, 5, patient="sys|P2", now=NOW + 600, study="1.2.9")  # another study keeps its own patient
    assert holders(ledger)["1.2.3.5"] == ("normalised", "sys|P2")


def test_the_study_and_its_dossiers_are_due_at_once(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    take(ledger, 3, patient="sys|P2")
    for _ in range(3):
        ticket = due(ledger, NOW + 11)
        ledger.subjects.seal(ticket, sealed(ticket.key, patient="sys|P1"), targets=[], now=NOW + 11)
    assert ledger.subjects.lease_due(now=NOW + 400, lease_secs=60) is None
    ledger.decisions.accept(STUDY, BY)
    keys = [due(ledger, BY.at).key for _ in range(3)]
    assert keys == [STUDY, "sys|P1", "sys|P2"]


def test_a_moved_record_says_nothing_about_the_patient_it_was_moved_to(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    (stored,) = ledger.subjects.dossier_shared("sys|P9")
    assert (stored.original_key, stored.fields.patient) == ("sys|P1", {})
    assert stored.fields.administrations  # the facts do move
    assert ledger.subjects.dossier_shared("sys|P1") == []
    ledger.decisions.undo(STUDY, BY)
    (stored,) = ledger.subjects.dossier_shared("sys|P1")
    assert stored.fields.patient == {"id": "P1"}


def test_reassigning_only_what_is_held_leaves_the_study_where_it_is(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    take(ledger, 3, patient="sys|P2")
    ledger.decisions.reassign(STUDY, "sys|P3", BY, only_held=True)
    assert holders(ledger)["1.2.3.3"] == ("conflict", "sys|P3")
    assert holders(ledger)["1.2.3.1"] == ("normalised", "sys|P1")
    (held,) = ledger.decisions.overview(STUDY)["held"]
    assert "another patient than the study" in held["reason"]
    ledger.decisions.reassign(STUDY, "sys|P1", BY, only_held=True)
    assert holders(ledger)["1.2.3.3"] == ("normalised", "sys|P1")


def test_a_decision_beats_the_rule_of_the_larger_group(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    take(ledger, 2, 3, patient="sys|P5", now=NOW + 600)
    ledger.decisions.withdraw(STUDY, BY)  # any decision brings the holds in line
    assert holders(ledger) == {
        "1.2.3.1": ("normalised", "sys|P9"), "1.2.3.2": ("conflict", "sys|P5"), "1.2.3.3": ("conflict", "sys|P5"),
    }  # fmt: skip


def test_a_withdrawn_study_gives_no_facts_until_that_is_undone(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    take(ledger, 2, patient="sys|P1", study="1.2.2")
    ledger.decisions.withdraw(STUDY, BY)
    assert [stored.fields.study["uid"] for stored in ledger.subjects.dossier_shared("sys|P1")] == ["1.2.2"]
    ledger.decisions.undo(STUDY, BY)
    assert len(ledger.subjects.dossier_shared("sys|P1")) == 2


@pytest.mark.parametrize(
    ("decide", "status"),
    [
        (lambda decisions: decisions.accept("9.9", BY), 404),
        (lambda decisions: decisions.accept(STUDY, BY), 409),
        (lambda decisions: decisions.reassign(STUDY, "sys|P1", BY), 409),
        (lambda decisions: decisions.reassign(STUDY, "sys|P2", BY, only_held=True), 409),
        (lambda decisions: decisions.undo(STUDY, BY), 409),
        (lambda decisions: decisions.accept_content(STUDY, "abcd", BY), 404),
        (lambda decisions: decisions.withdraw(STUDY, By(name="A Person", reason=" ", at=NOW)), 400),
    ],
)
def test_what_is_refused_changes_nothing(ledger: Ledger, decide: Any, status: int) -> None:
    take(ledger, 1, patient="sys|P1")
    before = ask(ledger, "SELECT next_quiet_at, changes FROM study")
    with pytest.raises(Rejected) as refused:
        decide(ledger.decisions)
    assert refused.value.status == status
    assert "P1" not in refused.value.reason
    assert ask(ledger, "SELECT COUNT(*) FROM decision") == [(0,)]
    assert ask(ledger, "SELECT next_quiet_at, changes FROM study") == before


def test_a_decision_that_breaks_off_halfway_leaves_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    take(ledger, 3, patient="sys|P2")
    before = (holders(ledger), ask(ledger, "SELECT uid, changes, decided_key FROM study"))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("gateway.spool.decisions.tell_dicom_targets", broken)
    with pytest.raises(RuntimeError):
        ledger.decisions.reassign(STUDY, "sys|P9", BY)
    assert (holders(ledger), ask(ledger, "SELECT uid, changes, decided_key FROM study")) == before
    assert ask(ledger, "SELECT COUNT(*) FROM decision") == [(0,)]


def other_content(ledger: Ledger, *, same: bool = False, understood: bool = True, number: int = 1) -> str:
    """A second content of an object, compared. Returns its digest."""
    ledger.intake.record_arrivals([received(number, content="other")])
    (ticket,) = ledger.stages.lease_comparisons(limit=10, now=NOW + 100, lease_secs=60)
    record = normalised(ticket, patient="sys|P1") if understood else None
    ledger.stages.settle_comparison(Compared(ticket=ticket, same=same, reason="These differ: PixelData.", normalised=record))
    return hashlib.sha256(f"{number}other".encode()).hexdigest()


def test_another_content_waits_for_comparison_and_then_for_a_person(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    ledger.intake.record_arrivals([received(1, content="other")])
    (waiting,) = ledger.stages.lease_comparisons(limit=10, now=NOW, lease_secs=60)
    assert ledger.stages.lease_comparisons(limit=10, now=NOW, lease_secs=60) == []
    (again,) = ledger.stages.lease_comparisons(limit=10, now=NOW + 61, lease_secs=60)
    late = Compared(ticket=waiting, same=True, reason="late", normalised=None)
    ledger.stages.settle_comparison(late)  # its lease is lost
    assert ledger.overview.counts()["instances"]["conflict"] == 1
    ledger.stages.settle_comparison(Compared(ticket=again, same=True, reason="same", normalised=None))
    assert ask(ledger, "SELECT state, held_for, reason FROM instance ORDER BY id")[1] == ("variant", None, "same")


def test_a_content_is_compared_only_when_the_one_in_force_was_read(ledger: Ledger) -> None:
    ledger.intake.record_arrivals([received(1), received(1, content="other")])
    assert ledger.stages.lease_comparisons(limit=10, now=NOW, lease_secs=60) == []
    (ticket,) = ledger.stages.lease(limit=10, now=NOW, lease_secs=60)
    ledger.stages.quarantine(ticket, "no mapping")
    (waiting,) = ledger.stages.lease_comparisons(limit=10, now=NOW, lease_secs=60)
    assert ledger.stages.content_in_force("1.2.3.1") is None
    ledger.stages.take_vacant_place(waiting)
    assert len(ledger.stages.lease(limit=10, now=NOW, lease_secs=60)) == 1


def test_a_second_content_is_no_second_member_of_the_study(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    other_content(ledger)
    assert len(ledger.subjects.study_records(STUDY)) == 1
    assert ledger.decisions.overview(STUDY)["held_count"] == 1


def test_the_chosen_content_takes_the_place_of_the_other_and_gives_it_back(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    give_to_orthanc(ledger)
    digest = other_content(ledger)
    ledger.decisions.accept_content(STUDY, digest[:8], BY)
    question = "SELECT state, held_for FROM instance WHERE sop_instance_uid = '1.2.3.1' ORDER BY id"
    assert ask(ledger, question) == [("conflict", "content"), ("normalised", None)]
    assert told(ledger) == [
        ("1.2.3.1", "original", "pending"),  # the chosen content
        ("1.2.3.1", "original", "verified"),
        ("1.2.3.1", "withdrawn", "pending"),
        ("1.2.3.2", "original", "verified"),
    ]
    with pytest.raises(Rejected, match="in force already"):
        ledger.decisions.accept_content(STUDY, digest, BY)
    ledger.decisions.undo(STUDY, BY)
    assert ask(ledger, question) == [("normalised", None), ("conflict", "content")]


@pytest.mark.parametrize(("understood", "told_so"), [(False, "could not be understood"), (None, "try again in a moment")])
def test_a_content_that_was_not_read_is_not_put_in_force(ledger: Ledger, understood: bool | None, told_so: str) -> None:
    take(ledger, 1, patient="sys|P1")
    if understood is None:
        ledger.intake.record_arrivals([received(1, content="other")])
        digest = hashlib.sha256(b"1other").hexdigest()
    else:
        digest = other_content(ledger, understood=understood)
    with pytest.raises(Rejected, match=told_so):
        ledger.decisions.accept_content(STUDY, digest, BY)


def test_dicom_targets_that_hold_the_image_are_told_once(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    take(ledger, 3, patient="sys|P2")
    assert told(ledger) == []
    ledger.decisions.accept(STUDY, BY)
    assert told(ledger) == []  # no target was given anything
    ledger.decisions.undo(STUDY, BY)
    give_to_orthanc(ledger)
    ledger.decisions.accept(STUDY, BY)
    assert [row for row in told(ledger) if row[1] != "original"] == [("1.2.3.3", "reassigned", "pending")]
    ledger.decisions.withdraw(STUDY, BY)
    assert [row[:2] for row in told(ledger) if row[1] == "withdrawn"] == [(f"1.2.3.{n}", "withdrawn") for n in (1, 2, 3)]


def test_undoing_a_withdrawal_takes_back_what_was_not_told_and_gives_the_image_again_where_it_was(ledger: Ledger) -> None:
    take(ledger, 1, 2, patient="sys|P1")
    give_to_orthanc(ledger)
    ledger.decisions.withdraw(STUDY, BY)
    with ledger.database.write() as connection:
        connection.execute(
            sa.text(
                """UPDATE delivery SET state = 'verified' WHERE variant = 'withdrawn'
                AND instance_id = (SELECT id FROM instance WHERE sop_instance_uid = '1.2.3.1')"""
            )
        )
    ledger.decisions.undo(STUDY, BY)
    assert told(ledger) == [
        ("1.2.3.1", "original", "pending"), ("1.2.3.1", "withdrawn", "verified"),
        ("1.2.3.2", "original", "verified"), ("1.2.3.2", "withdrawn", "superseded"),
    ]  # fmt: skip


def test_undoing_a_reassignment_gives_the_image_again_where_it_was_told(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    give_to_orthanc(ledger)
    ledger.decisions.reassign(STUDY, "sys|P8", BY)
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    deliver_all(ledger)
    ledger.decisions.undo(STUDY, BY)  # still not where the header says
    assert told(ledger) == [("1.2.3.1", "original", "verified"), ("1.2.3.1", "reassigned", "pending")]
    deliver_all(ledger)
    ledger.decisions.undo(STUDY, BY)
    assert told(ledger) == [("1.2.3.1", "original", "pending"), ("1.2.3.1", "reassigned", "verified")]


def test_while_a_study_is_withdrawn_targets_need_to_know_nothing_else(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    give_to_orthanc(ledger)
    ledger.decisions.withdraw(STUDY, BY)
    deliver_all(ledger)
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    assert {row[1:] for row in told(ledger)} == {("original", "verified"), ("withdrawn", "verified")}
    ledger.decisions.undo(STUDY, BY)
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    ledger.decisions.undo(STUDY, BY)
    ledger.decisions.undo(STUDY, BY)
    assert {row[1:] for row in told(ledger)} == {("original", "pending"), ("withdrawn", "verified")}


def deliver_all(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE delivery SET state = 'verified' WHERE state = 'pending'"))


def test_every_decision_is_kept_and_tells_the_dossiers_it_concerned(ledger: Ledger) -> None:
    take(ledger, 1, patient="sys|P1")
    ledger.decisions.reassign(STUDY, "sys|P9", BY)
    ledger.decisions.undo(STUDY, By(name="Another Person", reason="it was right", at=NOW + 700))
    for key in ("sys|P1", "sys|P9"):
        kinds = [(str(item.kind), item.decided_by) for item in ledger.decisions.of_dossier(key)]
        assert kinds == [("reassign", "A Person"), ("undo", "Another Person")]
    view = ledger.decisions.overview(STUDY)
    assert [(item["kind"], item["undone"]) for item in view["decisions"]] == [("reassign", True), ("undo", False)]
    assert view["patients"] == [{"original_key": "sys|P1", "patient_key": "sys|P1", "objects": 1, "held": 0, "is_subject": True}]
    assert view["arrivals"][0]["calling_ae"] == "PET1"


def test_a_change_between_lease_and_seal_is_seen_even_when_it_sets_the_same_time(ledger: Ledger) -> None:
    """A subject that never falls quiet is due at a fixed time: later changes do not move it, and must not be lost either."""
    take(ledger, 1, patient="sys|P1")
    for number in range(2, 14):  # never quiet for ten seconds, until the cap is reached
        take(ledger, number, patient="sys|P1", now=NOW + 9 * (number - 1))
    leased_at = NOW + QUIET.cap_secs + 9
    ticket = due(ledger, leased_at)
    assert ticket.kind is SubjectKind.STUDY
    take(ledger, 99, patient="sys|P1", now=leased_at)
    ledger.subjects.seal(ticket, sealed("a"), targets=[], now=leased_at)
    open_studies = ask(ledger, "SELECT COUNT(*) FROM study WHERE next_quiet_at IS NOT NULL")
    assert open_studies == [(1,)]
