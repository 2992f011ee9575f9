"""What the journal has taken survives; what it has not, or what is not whole, never becomes a file."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from gateway.dicom.file_meta import FileMetaInputs
from gateway.errors import Retryable
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import Incoming
from gateway.spool.journal import Journal, JournalRecord
from gateway.spool.placing import commit_together
from tests import builders
from tests.integration.receiving import data_set_of, digest_of

EXPLICIT = "1.2.840.10008.1.2.1"
NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
SEGMENT_BYTES = 256 << 10


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    return SpoolFiles(tmp_path / "spool", reserve_bytes=0, now=lambda: NOON)


def opened(files: SpoolFiles, segments: int = 2) -> Journal:
    journal = Journal(files, capacity_bytes=segments * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    journal.prepare()
    return journal


def part10(number: int) -> bytes:
    return builders.part10(builders.pet(SOPInstanceUID=f"1.2.3.{number + 1}"))


def staged(files: SpoolFiles, number: int, reason: str | None = None) -> Incoming:
    incoming = files.incoming(FileMetaInputs(transfer_syntax_uid=EXPLICIT, calling_ae="PET1", called_ae="ISOBRIDGE"))
    incoming.write(data_set_of(part10(number)))
    incoming.stage(incoming.walk(), reason)
    return incoming


def taken(journal: Journal, files: SpoolFiles, *numbers: int) -> list[JournalRecord]:
    records = journal.append([staged(files, number) for number in numbers])
    assert records is not None
    return records


def stored(files: SpoolFiles) -> dict[str, bytes]:
    return {digest: files.locate("2026-03-01", digest).read_bytes() for digest in files.digests("2026-03-01")}


def segment(files: SpoolFiles) -> Path:
    """The one that has been written to."""
    return next(path for path in sorted((files.directory / "journal").iterdir()) if path.read_bytes()[:7] == b"ISOBJRN")


def test_what_was_taken_has_its_file_after_a_crash(files: SpoolFiles) -> None:
    journal = opened(files)
    taken(journal, files, 0, 1)
    taken(journal, files, 2)
    assert stored(files) == {}
    assert Journal(files, capacity_bytes=0).replay() == 3
    found = stored(files)
    assert set(found) == {digest_of(part10(number)) for number in range(3)}
    assert data_set_of(found[digest_of(part10(1))]) == data_set_of(part10(1))


def test_a_replay_happens_once(files: SpoolFiles) -> None:
    taken(opened(files), files, 0)
    journal = Journal(files, capacity_bytes=0)
    assert (journal.replay(), journal.replay()) == (1, 0)


def test_the_files_are_the_same_whether_through_the_journal_or_not(files: SpoolFiles, tmp_path: Path) -> None:
    taken(opened(files), files, 0)
    Journal(files, capacity_bytes=0).replay()
    direct = SpoolFiles(tmp_path / "direct", reserve_bytes=0, now=lambda: NOON)
    staged(direct, 0).commit()
    assert stored(files) == stored(direct)


def test_a_quarantined_object_keeps_its_reason(files: SpoolFiles) -> None:
    journal = opened(files)
    assert journal.append([staged(files, 0, "The UID is not the one that was announced.")]) is not None
    Journal(files, capacity_bytes=0).replay()
    note = files.read_note("2026-03-01", digest_of(part10(0)))
    assert note is not None
    assert (note.reason, note.sender) == ("The UID is not the one that was announced.", "PET1")
    assert stored(files) == {}


def damage(files: SpoolFiles, place: int) -> None:
    with segment(files).open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 0x55]))


@pytest.mark.parametrize("position", ["magic", "generation", "lengths", "name", "header", "data set", "its end"])
def test_a_torn_record_at_the_end_is_not_read(files: SpoolFiles, position: str) -> None:
    _, second = taken(opened(files), files, 0, 1)
    start, data = (second._start // 4096) * 4096, second._start + second._header_bytes
    end = second._start + second._length_bytes - 1
    places = {"magic": start, "generation": start + 9, "lengths": start + 33, "name": start + 60, "header": second._start + 140}
    damage(files, {**places, "data set": data + 50, "its end": end}[position])
    assert Journal(files, capacity_bytes=0).replay() == 1
    assert set(stored(files)) == {digest_of(part10(0))}


def test_what_was_acknowledged_behind_a_damaged_record_is_kept_and_the_damaged_one_is_told(files: SpoolFiles) -> None:
    journal = opened(files)
    first, second, _ = [taken(journal, files, number)[0] for number in range(3)]
    damage(files, second._start + second._header_bytes + 50)
    assert Journal(files, capacity_bytes=0).replay() == 3
    assert set(stored(files)) == {digest_of(part10(0)), digest_of(part10(2))}
    note = files.read_note("2026-03-01", digest_of(part10(1)))
    assert note is not None
    assert "no longer whole" in note.reason
    assert first.segment is second.segment


def test_behind_a_damaged_head_the_chain_is_taken_up_again(files: SpoolFiles) -> None:
    journal = opened(files)
    _, second, _ = [taken(journal, files, number)[0] for number in range(3)]
    damage(files, (second._start // 4096) * 4096)
    assert Journal(files, capacity_bytes=0).replay() == 2
    assert set(stored(files)) == {digest_of(part10(0)), digest_of(part10(2))}


def test_a_file_whose_fsync_failed_is_never_believed(files: SpoolFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    record, other = taken(opened(files), files, 0, 1)
    assert commit_together(files, [other]) == [None]  # the directory is there
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _broken_disk)
        assert commit_together(files, [record]) != [None]
    inode = files.locate("2026-03-01", digest_of(part10(0))).stat().st_ino
    assert commit_together(files, [record]) == [None]
    assert files.locate("2026-03-01", digest_of(part10(0))).stat().st_ino != inode  # a new file was synced, not the old one again


def test_what_an_older_filling_left_behind_is_not_read(files: SpoolFiles) -> None:
    journal = opened(files)
    old = taken(journal, files, 0, 1, 2)
    assert commit_together(files, old) == [None] * 3
    journal.settled(old)
    for digest in list(files.digests("2026-03-01")):
        files.remove("2026-03-01", digest)  # retention has let them go
    taken(journal, files, 7)
    assert Journal(files, capacity_bytes=0).replay() == 1
    assert set(stored(files)) == {digest_of(part10(7))}


def test_a_settled_segment_leaves_nothing_to_replay(files: SpoolFiles) -> None:
    journal = opened(files)
    records = taken(journal, files, 0, 1)
    assert commit_together(files, records) == [None, None]
    journal.settled(records)
    assert Journal(files, capacity_bytes=0).replay() == 0


def test_a_full_journal_takes_nothing_until_something_has_its_file(files: SpoolFiles) -> None:
    journal = opened(files)
    records: list[JournalRecord] = []
    number = 0
    while (new := journal.append([staged(files, number)])) is not None:
        records += new
        number += 1
    assert journal.is_crowded
    assert commit_together(files, records) == [None] * len(records)
    journal.settled(records)
    assert not journal.is_crowded
    more = [record for again in range(number) for record in taken(journal, files, again)]
    assert len(more) == number


def test_one_pending_record_keeps_its_segment(files: SpoolFiles) -> None:
    journal = opened(files)
    first, second = taken(journal, files, 0, 1)
    assert commit_together(files, [first]) == [None]
    journal.settled([first])
    taken(journal, files, 2)
    assert Journal(files, capacity_bytes=0).replay() == 3
    assert second.segment.pending == 2


def test_a_group_larger_than_a_segment_is_not_taken(files: SpoolFiles) -> None:
    journal = opened(files)
    group = [staged(files, number) for number in range(SEGMENT_BYTES // len(part10(0)) + 1)]
    assert journal.append(group) is None
    assert journal.append(group[:1]) is not None


def test_the_same_object_twice_in_one_group_is_one_file(files: SpoolFiles) -> None:
    journal = opened(files)
    records = taken(journal, files, 0, 0)
    assert commit_together(files, records) == [None, None]
    assert set(stored(files)) == {digest_of(part10(0))}
    assert list((files.directory / "incoming").iterdir()) == []


def test_a_file_whose_content_never_reached_the_disk_is_written_again(files: SpoolFiles) -> None:
    (record,) = taken(opened(files), files, 0)
    path = files.locate("2026-03-01", digest_of(part10(0)))
    path.parent.mkdir()
    path.write_bytes(bytes(record._length_bytes))
    assert Journal(files, capacity_bytes=0).replay() == 1
    assert data_set_of(path.read_bytes()) == data_set_of(part10(0))


def test_without_room_no_journal_is_made(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, reserve_bytes=1 << 60)
    journal = Journal(files, capacity_bytes=SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES)
    with pytest.raises(Retryable, match="nearly full"):
        journal.prepare()
    assert not journal.is_ready


def test_a_journal_that_cannot_be_written_takes_nothing_more(files: SpoolFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(files)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _broken_disk)
        assert journal.append([staged(files, 0)]) is None
    assert journal.append([staged(files, 1)]) is None
    assert not journal.is_ready


def _broken_disk(_descriptor: int) -> None:
    raise OSError(5, "Input/output error")
