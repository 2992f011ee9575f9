"""The audit trail: nothing that was answered is lost, nothing is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.record import Record, audit_event
from gateway.audit.trail import Asked, AuditTrail
from gateway.errors import Retryable
from gateway.r4.validate import validate


def record(number: int, **changes: object) -> Record:
    values = {
        "key": f"k{number}",
        "at": float(number),
        "who": "lung",
        "way": "client",
        "peer": "127.0.0.1",
        "what": "read",
        "status": 200,
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


def opened(directory: Path) -> AuditTrail:
    trail = AuditTrail(f"sqlite:///{directory / 'audit.db'}", directory / "audit", batch_secs=3600)
    trail.start()
    return trail


def test_what_a_dead_process_left_is_taken_in_once(tmp_path: Path) -> None:
    dead = opened(tmp_path)
    for number in range(3):
        dead.note(record(number))
    journal = next((tmp_path / "audit").glob("*.jsonl"))
    copy = journal.read_bytes()
    dead.flush()
    journal.write_bytes(copy + b'\n{"key": "half')  # it had moved it and not removed it; and was writing when the power failed
    trail = opened(tmp_path)
    trail.note(record(3, patients=("p1",)))
    trail.close()
    again = opened(tmp_path)
    assert [one.key for one in again.find(Asked()).records] == ["k3", "k2", "k1", "k0"]
    assert [one.key for one in again.find(Asked(patient="p1")).records] == ["k3"]
    assert [one.key for one in again.find(Asked(since=1, until=3)).records] == ["k2", "k1"]
    page = again.find(Asked(count=3))
    assert [one.key for one in again.find(Asked(count=3, below=page.next)).records] == ["k0"]
    assert len(list((tmp_path / "audit").glob("*.damaged"))) == 1
    again.close()


def test_a_full_disk_refuses_the_access(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    (tmp_path / "audit").rmdir()
    (tmp_path / "audit").write_text("not a folder")
    with pytest.raises(Retryable, match="audit trail cannot be written"):
        trail.note(record(1))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Patient", "id": "p1", "patients": ("p1",)},
        {"what": "search", "kind": "Observation", "parameters": ("code", "date"), "group": "lung"},
        {"what": "dicom", "kind": "ImagingStudy", "id": "1.2.3"},
        {"what": "login", "who": "", "status": 401, "peer": ""},
        {"what": "token", "status": 401},
        {"what": "store", "kind": "ImagingStudy", "status": 503},
        {"what": "page", "kind": "studies", "id": "1.2.3"},
        {"what": "history-system"},
    ],
)
def test_every_record_is_a_valid_audit_event(changes: dict[str, object]) -> None:
    assert validate(audit_event(record(1, **changes), site="example")) == []
