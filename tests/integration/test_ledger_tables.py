"""The ledger's contract for tables. One suite, run on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.errors import Rejected
from gateway.model import SharedFields
from gateway.spool.decisions import By
from gateway.spool.ledger import Ledger
from gateway.spool.tables import NO_PATIENT, NewPart, TableFile
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import take_in

BY = By(name="A. Physicist", reason="looked at it", at=NOW)
FILE = TableFile(
    digest="ab" * 32,
    name="a.csv",
    size_bytes=10,
    adapter="one",
    adapter_version="v1",
    door="import",
    sender="me",
    received_at=NOW,
)


def part(key: str = "p", patient: str | None = "sys|P1", dose: str = "4.2") -> NewPart:
    fields = SharedFields(
        key=f"{key}{dose}",
        mapping="table",
        mapping_version="one.v1",
        patient={},
        study={},
        series={},
        device={},
        results=({"kind": "organ-absorbed-dose", "text": dose},),
    )
    return NewPart(key=key, stated_key=patient, fields=fields)


def know(ledger: Ledger, *patients: str) -> None:
    """Objects tell of these patients."""
    for number, patient in enumerate(patients, 1):
        take_in(ledger, number, study=f"1.2.{number}", patient=patient)


def due(ledger: Ledger) -> set[str]:
    found = set()
    while (ticket := ledger.subjects.lease_due(now=NOW + 10, lease_secs=60)) is not None:
        found.add(f"{ticket.kind}|{ticket.key}")
    return found


def test_a_file_is_taken_once_and_its_patient_is_gathered(ledger: Ledger) -> None:
    assert ledger.tables.take(FILE, [part()], now=NOW).is_new
    assert not ledger.tables.take(dataclasses.replace(FILE, name="b.csv"), [part()], now=NOW + 5).is_new
    assert due(ledger) == {"dossier|sys|P1"}
    (found,) = ledger.tables.of_patient("sys|P1")
    assert found.fields.results == ({"kind": "organ-absorbed-dose", "text": "4.2"},)
    assert ledger.tables.received_before(FILE.digest) == NOW
    assert ledger.tables.received_before("cd" * 32) is None
    assert ledger.tables.files() == [(FILE.digest, "a.csv", "one")]


def test_a_file_that_is_read_again_keeps_decisions_and_forgets_parts(ledger: Ledger) -> None:
    know(ledger, "sys|P2")
    ledger.tables.take(FILE, [part("p", None), part("q")], now=NOW)
    waiting = {item.waits_for for item in ledger.tables.listed()}
    assert NO_PATIENT in waiting
    (unnamed,) = [item for item in ledger.tables.listed() if item.stated_key is None]
    ledger.tables.assign(unnamed.id, BY, patient_key="sys|P2", administration_id=None, cycle=3)
    again = dataclasses.replace(FILE, adapter_version="v2")
    assert ledger.tables.take(again, [part("p", None, dose="4.3")], now=NOW + 9).is_new
    (found,) = ledger.tables.of_patient("sys|P2")
    assert (found.cycle, found.fields.results[0]["text"]) == (3, "4.3")
    assert ledger.tables.of_patient("sys|P1") == []
    with pytest.raises(Rejected):
        ledger.tables.one(unnamed.id + 1)


def test_what_gathering_came_to_is_listed(ledger: Ledger) -> None:
    ledger.tables.take(FILE, [part("p"), part("q", "sys|P2")], now=NOW)
    first, second = sorted(ledger.tables.listed(), key=lambda item: item.id)
    ledger.tables.settle({first.id: ("adm", None), second.id: (None, "choose one")})
    assert [(item.id, item.waits_for) for item in ledger.tables.listed()] == [(second.id, "choose one")]
    assert ledger.tables.count_waiting() == 1
    assert {item.bound_to for item in ledger.tables.listed(everything=True)} == {"adm", None}


def test_only_known_patients_are_offered_whatever_signs_their_id_holds(ledger: Ledger) -> None:
    know(ledger, "urn:a|50%_1", "urn:b|50%_1", "urn:c|50x11")
    assert ledger.tables.known_with_id("50%_1") == ["urn:a|50%_1", "urn:b|50%_1"]
    assert ledger.tables.is_known("urn:c|50x11")
    assert not ledger.tables.is_known("urn:d|50x11")


def test_decisions_are_kept_and_gather_both_patients(ledger: Ledger) -> None:
    know(ledger, "sys|P2")
    ledger.tables.take(FILE, [part()], now=NOW)
    due(ledger)
    (one,) = ledger.tables.listed()
    with pytest.raises(Rejected, match="no such administration"):
        ledger.tables.assign(one.id, BY, patient_key="sys|P2", administration_id="nothing", cycle=None)
    with pytest.raises(Rejected, match="needs a reason"):
        ledger.tables.withdraw(one.id, By(name="x", reason=" ", at=NOW))
    made = ledger.tables.assign(one.id, BY, patient_key="sys|P2", administration_id=None, cycle=None)
    assert (made.decided_by, made.patient_key) == ("A. Physicist", "sys|P2")
    assert ledger.tables.of_patient("sys|P1") == []
    ledger.tables.withdraw(one.id, BY)
    assert ledger.tables.of_patient("sys|P2") == []
    ledger.tables.restore(one.id, BY)
    with pytest.raises(Rejected, match="not withdrawn"):
        ledger.tables.restore(one.id, BY)
    assert [str(item.kind) for item in ledger.tables.decisions(one.id)] == ["assign", "withdraw", "restore"]
