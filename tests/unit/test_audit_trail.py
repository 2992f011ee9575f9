"""The audit trail: nothing that was answered is lost, nothing is there twice."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit.journal import ROOM_BYTES, lines
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


def test_room_is_taken_before_it_is_needed(tmp_path: Path) -> None:
    trail = opened(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))  # as a disk that has no more
    try:
        with pytest.raises(Retryable, match="audit trail cannot be written"):
            trail.note(record(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "audit").iterdir()) == []
    trail.note(record(2))
    trail.close()


def test_many_records_fill_several_journals_and_none_is_lost(tmp_path: Path) -> None:
    trail, patients = opened(tmp_path), tuple(f"patient-{number:04d}" for number in range(1000))
    for number in range(150):
        trail.note(record(number, patients=patients))
    journals = sorted((tmp_path / "audit").glob("*.jsonl"))
    assert len(journals) > 1
    assert all(path.stat().st_size <= ROOM_BYTES for path in journals)
    trail.flush()
    assert {one.key for one in trail.all(Asked(), 1000)} == {f"k{number}" for number in range(150)}
    assert list((tmp_path / "audit").iterdir()) == []
    trail.close()


def test_records_are_in_the_file_before_a_kill(tmp_path: Path) -> None:
    writes = (
        "import os, sys; from pathlib import Path; from gateway.audit.journal import Journal; "
        "one = Journal(Path(sys.argv[1])); one.append(b'{\"a\":1}\\n'); one.append(b'{\"b\":2}\\n'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", writes, str(tmp_path / "1.jsonl")], check=False, timeout=60)
    assert killed.returncode == -9
    assert lines(tmp_path / "1.jsonl") == [b'{"a":1}', b'{"b":2}']


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


def test_a_record_larger_than_a_journal_is_kept(tmp_path: Path) -> None:
    """A reference to a patient may be of any length."""
    trail = opened(tmp_path)
    trail.note(record(0))
    trail.note(record(1, patients=("p" * (ROOM_BYTES + 1),)))
    trail.note(record(2))
    trail.flush()
    assert [one.key for one in trail.find(Asked()).records] == ["k2", "k1", "k0"]
    trail.close()
