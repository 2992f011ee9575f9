"""What an operator reads about a study, and what is refused before it reaches the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Rejected
from gateway.gather.patient import PatientKeys
from gateway.spool.decisions import By
from gateway.spool.ledger import Ledger
from gateway.workbench import decisions

DECIDED = {"reason": "r", "decided_by": "P", "to_key": None, "undoes": None, "undone": False}
KEYS = PatientKeys(system="urn:site:pid")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("to", "issuer", "told"),
    [
        (" ", "", "1 to 64 printable"),
        ("X" * 65, "", "1 to 64 printable"),
        ("A\\B", "", "backslash"),
        ("A\x00B", "", "printable"),
        ("A", "urn:two words", "issuer"),
        ("A", "x\ny", "issuer"),
    ],
)
def test_a_patient_id_that_fhir_or_dicom_cannot_hold_is_refused(ledger: Ledger, to: str, issuer: str, told: str) -> None:
    with pytest.raises(Rejected, match=told) as refused:
        decisions.reassign(ledger, KEYS, "1.2", to=to, issuer=issuer, reason="r", by="b", now=0.0)
    assert refused.value.status == 400


@pytest.mark.parametrize(("name", "reason"), [("", "r"), ("b", "\t"), ("b", "x\x00y"), ("b", "x" * 1001)])
def test_words_that_fhir_cannot_hold_are_refused(ledger: Ledger, name: str, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        ledger.decisions.withdraw("1.2", By(name=name, reason=reason, at=0.0))
    assert refused.value.status == 400


def test_a_study_reads_like_a_report() -> None:
    view = {
        "uid": "1.2", "withdrawn": False, "open": False, "problem": None,
        "arrivals": [{"door": "dimse", "calling_ae": "PET1", "objects": 3, "first_at": 0.0, "last_at": 60.0}],
        "series": [{"uid": "1.2.1", "sop_classes": ["c"], "states": {"normalised": 2, "conflict": 1}}],
        "patients": [
            {"original_key": "s|A", "patient_key": "s|A", "objects": 2, "held": 0, "is_subject": True},
            {"original_key": "s|B", "patient_key": "s|C", "objects": 1, "held": 1, "is_subject": False},
        ],
        "held_count": 1,
        "held": [{"sop_instance_uid": "1.2.3", "digest": "ab" * 32, "state": "conflict", "reason": "two patients"}],
        "contents": [
            {"sop_instance_uid": "1.2.4", "contents": [
                {"digest": "cd" * 32, "state": "normalised", "in_force": True, "reason": None, "size_bytes": 9},
                {"digest": "ef" * 32, "state": "conflict", "in_force": False, "reason": "These differ: X.", "size_bytes": 8},
            ]},
        ],
        "decisions": [
            {**DECIDED, "id": 1, "kind": "reassign", "decided_at": 0, "to_key": "s|C", "undone": True},
            {**DECIDED, "id": 2, "kind": "undo", "decided_at": 60, "undoes": 1, "reason": "q"},
        ],
        "images": [
            {"target": "orthanc", "variant": "original", "states": {"verified": 2, "parked": 1},
             "reasons": [{"state": "parked", "reason": "It was refused.", "objects": 1}]},
        ],
        "versions": [{"version": 1, "sealed_at": 0.0, "target": "embedded", "delivery": "verified"}],
    }  # fmt: skip
    assert list(decisions.study_lines(view)) == [
        "study 1.2  settled",
        "arrived",
        "       3 objects  dimse  from PET1  1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z",
        "series",
        "  1.2.1  1 conflict, 2 normalised",
        "patients",
        " * s|A  2 objects",
        "   s|C  1 object, 1 held  (headers say s|B)",
        "held: 1",
        "  abababababababab  1.2.3  two patients",
        "objects with several contents",
        "  1.2.4",
        "  * cdcdcdcdcdcdcdcd  normalised  9 bytes",
        "    efefefefefefefef  conflict  8 bytes  These differ: X.",
        "decisions",
        "     1  1970-01-01T00:00:00Z  reassign to s|C  by P: r  (undone)",
        "     2  1970-01-01T00:01:00Z  undo of decision 1  by P: q",
        "published",
        "  version 1  sealed 1970-01-01T00:00:00Z  embedded: verified",
        "images",
        "  orthanc  original  1 parked, 2 verified",
        "    1 parked: It was refused.",
    ]
