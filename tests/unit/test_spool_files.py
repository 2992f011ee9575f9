"""The spool keeps what it promised to keep, under the right name, and nothing else."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import read_file_meta, read_header
from gateway.errors import Rejected, Retryable
from gateway.model import Door, Instance
from gateway.spool.durable import GroupSync, make_directory
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import Incoming
from gateway.spool.sweep import Found, adopt, clear_incoming, sweep
from tests import builders
from tests.integration.receiving import data_set_of, digest_of

EXPLICIT = "1.2.840.10008.1.2.1"
NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
PART10 = builders.part10(builders.pet())
DATA_SET = data_set_of(PART10)


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    return SpoolFiles(tmp_path / "spool", reserve_bytes=0, now=lambda: NOON)


def received(files: SpoolFiles, data: bytes = DATA_SET, piece_bytes: int = 10_000) -> Incoming:
    incoming = files.incoming(FileMetaInputs(transfer_syntax_uid=EXPLICIT, calling_ae="PET1", called_ae="ISOBRIDGE"))
    for start in range(0, len(data), piece_bytes):
        incoming.write(memoryview(data)[start : start + piece_bytes])
    return incoming


def sealed(files: SpoolFiles, data: bytes = DATA_SET) -> Instance:
    incoming = received(files, data)
    return incoming.seal(incoming.walk())


def leftovers(files: SpoolFiles) -> list[Path]:
    return list((files.directory / "incoming").iterdir())


def test_a_sealed_object_stands_in_its_day_under_its_digest(files: SpoolFiles) -> None:
    instance = sealed(files)
    path = files.path(instance)
    assert path == files.directory / "2026-03-01" / f"{digest_of(PART10)}.dcm"
    assert data_set_of(path.read_bytes()) == DATA_SET
    assert instance.size_bytes == len(DATA_SET)
    assert instance.sop_instance_uid == read_header(path).walk.text(0x00080018)
    assert leftovers(files) == []


@pytest.mark.parametrize("extra_bytes", [0, (1 << 20) - 5000, 5 << 20])
def test_small_and_large_objects_end_alike(files: SpoolFiles, extra_bytes: int) -> None:
    dataset = builders.pet()
    dataset.PixelData = os.urandom(len(dataset.PixelData) + extra_bytes)
    part10 = builders.part10(dataset)
    instance = sealed(files, data_set_of(part10))
    assert instance.digest == digest_of(part10)
    assert data_set_of(files.path(instance).read_bytes()) == data_set_of(part10)


def test_files_can_be_read_by_their_owner_only(files: SpoolFiles) -> None:
    path = files.path(sealed(files))
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_nothing_has_a_name_before_it_is_sealed(files: SpoolFiles) -> None:
    received(files, DATA_SET + bytes(2 << 20))
    assert files.partitions() == []
    assert len(leftovers(files)) == 1


def test_discarded_objects_leave_nothing_even_when_large(files: SpoolFiles) -> None:
    incoming = received(files, bytes(3 << 20))
    incoming.discard()
    incoming.discard()
    assert leftovers(files) == []


def test_a_damaged_object_goes_to_quarantine_with_its_reason(files: SpoolFiles) -> None:
    incoming = received(files, DATA_SET[:-7])
    with pytest.raises(Rejected) as caught:
        incoming.walk()
    instance = incoming.quarantine(caught.value.reason)
    path = files.path(instance, quarantined=True)
    note = json.loads(path.with_suffix(".json").read_text())
    assert note == {"reason": caught.value.reason, "sender": "PET1", "received_at": NOON.isoformat()}
    assert data_set_of(path.read_bytes()) == DATA_SET[:-7]
    assert files.partitions() == []
    assert leftovers(files) == []


def test_no_room_is_said_before_anything_is_taken(tmp_path: Path) -> None:
    files = SpoolFiles(tmp_path, reserve_bytes=1 << 62)
    with pytest.raises(Retryable, match="nearly full"):
        files.incoming(FileMetaInputs(transfer_syntax_uid=EXPLICIT))


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [("fsync", errno.EIO, "reported an error .EIO"), ("writev", errno.ENOSPC, "is full"), ("link", errno.EDQUOT, "is full")],
)
def test_a_failing_disk_fails_the_object_and_is_never_asked_twice(
    files: SpoolFiles, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    """The disk cannot be made to fail here; so the one system call is replaced."""
    calls = []

    def fail(*_: object) -> int:
        calls.append(1)
        raise OSError(code, "no")

    incoming = received(files)
    instance = incoming.stage(incoming.walk())
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(Retryable, match=words):
        incoming.commit()
    assert len(calls) == 1
    monkeypatch.undo()
    assert leftovers(files) == []
    assert not files.path(instance).exists()


def test_bytes_that_stand_already_give_way_to_the_same_bytes_only_once_those_are_on_disk(
    files: SpoolFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say whether those that stand there are durable: their fsync may have failed."""
    first = sealed(files)
    before = files.path(first).stat().st_ino
    steps: list[str] = []

    def told(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> None:
            steps.append(name)
            real(*arguments)

        monkeypatch.setattr(os, name, call)

    told("fsync")
    told("rename")
    assert sealed(files) == first
    assert steps == ["fsync", "rename", "fsync"]  # file, name, directory
    assert files.path(first).stat().st_ino != before
    assert leftovers(files) == []


def test_a_damaged_file_of_another_length_gives_way_to_a_whole_one(files: SpoolFiles) -> None:
    first = sealed(files)
    whole = files.path(first).read_bytes()
    files.path(first).write_bytes(whole[:100])
    sealed(files)
    assert files.path(first).read_bytes() == whole


def test_where_there_are_no_hard_links_files_are_renamed(files: SpoolFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert files.path(sealed(files)).exists()
    assert leftovers(files) == []


def test_a_file_made_ready_and_not_needed_is_removed(files: SpoolFiles) -> None:
    files.make_ready()
    files.make_ready()
    assert len(leftovers(files)) == 1
    files.close()
    assert leftovers(files) == []


def test_several_threads_seal_at_once(files: SpoolFiles) -> None:
    def one(index: int) -> str:
        dataset = builders.pet(SOPInstanceUID=f"1.2.3.{index + 1}")
        return sealed(files, data_set_of(builders.part10(dataset))).digest

    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(one, range(40)))
    assert digests == set(files.digests("2026-03-01"))
    assert len(digests) == 40


def test_each_sync_of_a_group_starts_after_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that come while a sync runs share the next one; none trusts the one that had begun before it came."""
    begun, may_end = threading.Event(), threading.Event()
    syncs = []

    def slow(_directory: Path) -> None:
        syncs.append(1)
        begun.set()
        may_end.wait(10)

    monkeypatch.setattr("gateway.spool.durable.sync_directory", slow)
    group = GroupSync(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(group.sync)
        begun.wait(10)
        others = [pool.submit(group.sync) for _ in range(5)]
        assert not first.done()
        may_end.set()
        for call in [first, *others]:
            call.result(10)
    assert 2 <= len(syncs) <= 6


def test_a_failed_group_sync_fails_all_who_relied_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_directory: Path) -> None:
        raise OSError(errno.EIO, "no")

    group = GroupSync(tmp_path)
    monkeypatch.setattr("gateway.spool.durable.sync_directory", fail)
    with pytest.raises(OSError, match="fsync of the spool directory failed"):
        group.sync()
    monkeypatch.undo()
    group.sync()


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


# The sweep


def test_the_sweep_finds_open_days_and_all_of_quarantine(files: SpoolFiles) -> None:
    kept = sealed(files)
    bad = received(files, DATA_SET[:-7]).quarantine("cut short")
    assert set(sweep(files)) == {
        Found(day="2026-03-01", digest=kept.digest, quarantined=False),
        Found(day="2026-03-01", digest=bad.digest, quarantined=True),
    }
    long_ago = (NOON - dt.timedelta(days=3)).timestamp()
    os.utime(files.partition("2026-03-01"), (long_ago, long_ago))
    assert set(sweep(files, closed_days=["2026-03-01"])) == {Found(day="2026-03-01", digest=bad.digest, quarantined=True)}


def test_a_closed_day_that_changed_lately_is_swept_again(files: SpoolFiles) -> None:
    """A clock that was a day ahead at one start closed it too early."""
    kept = sealed(files)
    assert set(sweep(files, closed_days=["2026-03-01"])) == {Found(day="2026-03-01", digest=kept.digest, quarantined=False)}


def test_a_file_without_a_row_is_adopted_as_it_was_received(files: SpoolFiles) -> None:
    instance = sealed(files)
    adopted = adopt(files, Found(day=instance.day, digest=instance.digest, quarantined=False))
    assert adopted.instance == instance
    assert adopted.arrival.door is Door.ADOPTED
    assert (adopted.arrival.calling_ae, adopted.arrival.called_ae) == ("PET1", "ISOBRIDGE")
    assert (adopted.status, adopted.reason) == (0x0000, None)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_file_whose_content_belies_its_name_moves_to_quarantine(files: SpoolFiles, damage: str) -> None:
    instance = sealed(files)
    path = files.path(instance)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-9]), "empty": b""}[damage])
    adopted = adopt(files, Found(day=instance.day, digest=instance.digest, quarantined=False))
    assert adopted.reason
    assert adopted.status == 0xC000
    assert not path.exists()
    assert files.path(instance, quarantined=True).exists()
    assert files.read_note(instance.day, instance.digest)


def test_a_quarantined_file_keeps_its_reason_when_adopted(files: SpoolFiles) -> None:
    bad = received(files, DATA_SET[:-7]).quarantine("cut short")
    adopted = adopt(files, Found(day=bad.day, digest=bad.digest, quarantined=True))
    assert adopted.reason == "cut short"
    assert adopted.instance.digest == bad.digest
    files.path(bad, quarantined=True).with_suffix(".json").unlink()
    assert adopt(files, Found(day=bad.day, digest=bad.digest, quarantined=True)).reason


def test_only_stale_half_received_files_are_swept_away(files: SpoolFiles) -> None:
    received(files, bytes(3 << 20))
    received(files, bytes(3 << 20))
    old, young = leftovers(files)
    os.utime(old, (NOON.timestamp() - 7200, NOON.timestamp() - 7200))
    os.utime(young, (NOON.timestamp(), NOON.timestamp()))
    assert clear_incoming(files) == 1
    assert leftovers(files) == [young]


def test_a_spare_copy_is_removed_without_complaint(files: SpoolFiles) -> None:
    instance = sealed(files)
    files.remove(instance.day, instance.digest)
    files.remove(instance.day, instance.digest)
    assert not files.path(instance).exists()
    assert read_file_meta(b"") == ({}, 0)
