"""The receiver with its journal: the same answers, and every acknowledged object gets its file and then its row."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import Retryable
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal
from tests import builders
from tests.integration.receiving import PET, MemoryRows, data_set_of, digest_of, raw_peer, receiving

JOURNAL_BYTES = 4 << 20


def pet_file(number: int) -> tuple[str, bytes]:
    uid = f"1.2.826.{number + 1}"
    return uid, builders.part10(builders.pet(SOPInstanceUID=uid))


def test_many_peers_many_objects_every_one_has_its_file_and_row(tmp_path: Path) -> None:
    rows = MemoryRows()
    with receiving(tmp_path, rows=rows, journal_bytes=JOURNAL_BYTES) as receiver:

        def send(peer_number: int) -> list[str]:
            digests = []
            with raw_peer(receiver) as peer:
                peer.associate()
                for number in range(peer_number * 40, peer_number * 40 + 40):
                    uid, part10 = pet_file(number)
                    assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000
                    digests.append(digest_of(part10))
            return digests

        with ThreadPoolExecutor(4) as pool:
            digests = {digest for sent in pool.map(send, range(4)) for digest in sent}
        written = rows.wait_for(160)
        for received in written:
            assert receiver.files.path(received.instance).exists()
    assert {received.instance.digest for received in written} == digests
    assert {path.stem for path in receiver.stored()} == digests
    assert Journal(receiver.files, capacity_bytes=0).replay() == 0


def test_a_stop_leaves_every_object_with_file_and_row(tmp_path: Path) -> None:
    rows = MemoryRows()
    uid, part10 = pet_file(0)
    with receiving(tmp_path, rows=rows, journal_bytes=JOURNAL_BYTES) as receiver:
        with raw_peer(receiver) as peer:
            peer.associate()
            assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000
        receiver.stop()
        assert [received.instance.digest for received in rows.wait_for(1)] == [digest_of(part10)]
        assert [path.stem for path in receiver.stored()] == [digest_of(part10)]


def test_an_object_that_must_not_be_used_is_refused_and_kept_with_its_reason(tmp_path: Path) -> None:
    rows = MemoryRows()
    _, part10 = pet_file(0)
    with receiving(tmp_path, rows=rows, journal_bytes=JOURNAL_BYTES) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        assert peer.store(PET, "1.2.3.4", data_set_of(part10))[0] == 0xA900
        (received,) = rows.wait_for(1)
        assert received.reason is not None
        assert len(receiver.stored(quarantined=True)) == 1
        assert receiver.stored() == []


def test_while_files_cannot_be_written_new_objects_are_refused_and_nothing_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = MemoryRows()
    first, second = pet_file(0), pet_file(1)
    with receiving(tmp_path, rows=rows, journal_bytes=JOURNAL_BYTES) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        with monkeypatch.context() as patch:
            patch.setattr(SpoolFiles, "open_temporary", _full_disk)
            assert peer.store(PET, first[0], data_set_of(first[1]))[0] == 0x0000
            answers = [peer.store(PET, second[0], data_set_of(second[1]))[0]]
            while answers[-1] == 0x0000:
                answers.append(peer.store(PET, second[0], data_set_of(second[1]))[0])
            assert answers[-1] == 0xA700
            assert receiver.stored() == []
        rows.wait_for(len(answers))  # healed by itself
        assert digest_of(first[1]) in {path.stem for path in receiver.stored()}
        assert peer.store(PET, second[0], data_set_of(second[1]))[0] == 0x0000
    assert receiver.incoming == []


def test_a_journal_that_breaks_hands_over_to_single_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = MemoryRows()
    uid, part10 = pet_file(0)
    with receiving(tmp_path, rows=rows, journal_bytes=JOURNAL_BYTES) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", _broken_disk)
            assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000
        assert [path.stem for path in receiver.stored()] == [digest_of(part10)]
        assert len(rows.wait_for(1)) == 1


def _full_disk(_files: SpoolFiles) -> tuple[int, str]:
    raise OSError(28, "No space left on device")


def _broken_disk(_descriptor: int) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_receiver_whose_settler_ends_ends_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the supervisor would see a child that lives and serves nobody."""
    monkeypatch.setattr("gateway.spool.journal.wipe", _broken_wipe)

    def serve_until_it_ends() -> None:
        uid, part10 = pet_file(0)
        with receiving(tmp_path, journal_bytes=JOURNAL_BYTES) as receiver, raw_peer(receiver) as peer:
            peer.associate()
            assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000
            (serving,) = [thread for thread in threading.enumerate() if thread.name == "receiver"]
            serving.join(20)
            ended.append(not serving.is_alive())

    ended: list[bool] = []
    with pytest.raises(AssertionError):  # the harness complains that it raised
        serve_until_it_ends()
    assert ended == [True]
    assert not any(thread.name.startswith(("rows", "settle", "commit")) for thread in threading.enumerate())


def test_two_receivers_never_work_on_one_spool(tmp_path: Path) -> None:
    SpoolFiles(tmp_path, reserve_bytes=0).lock(patience_secs=0)
    with pytest.raises(Retryable, match="Another receiver"):
        SpoolFiles(tmp_path, reserve_bytes=0).lock(patience_secs=0)


def _broken_wipe(_segment: object) -> None:
    raise OSError(5, "Input/output error")
