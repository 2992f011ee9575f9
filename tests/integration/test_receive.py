"""The receiver against peers that behave, and against those that do not, on real sockets."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE

from gateway.dicom.reading import read_header
from tests import builders
from tests.conftest import data_directory
from tests.integration.receiving import (
    EXPLICIT,
    PET,
    VERIFICATION,
    MemoryRows,
    RawPeer,
    Receiving,
    data_set_of,
    digest_of,
    p_data,
    pdv,
    raw_peer,
    receiving,
    request_pdu,
    simple_command,
    store_command,
)

ABORT, RELEASE_RQ, RELEASE_RP, REJECT, ACCEPT = 7, 5, 6, 3, 2


def pet_file(**overrides: object) -> tuple[str, bytes]:
    dataset = builders.pet(**overrides)
    return str(dataset.SOPInstanceUID), builders.part10(dataset)


def a_store(receiver: Receiving, part10: bytes, uid: str, **kwargs: int) -> tuple[int, str]:
    with raw_peer(receiver) as peer:
        assert peer.associate()[0] == ACCEPT
        return peer.store(PET, uid, data_set_of(part10), **kwargs)


def test_an_object_is_on_the_disk_under_its_digest_and_has_a_row(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver:
        assert a_store(receiver, part10, uid) == (0x0000, "")
        (stored,) = receiver.stored()
        (received,) = receiver.rows.wait_for(1)
        assert stored.stem == digest_of(part10) == received.instance.digest
        assert data_set_of(stored.read_bytes()) == data_set_of(part10)
        assert received.status == 0x0000
        assert received.arrival.calling_ae == "RAW"
        assert received.arrival.peer == "127.0.0.1"
        assert received.instance.sop_instance_uid == uid
        assert receiver.incoming == []


def test_the_stored_file_tells_who_sent_it(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver:
        a_store(receiver, part10, uid)
        header = read_header(receiver.stored()[0])
        assert (header.sending_ae, header.receiving_ae) == ("RAW", "ISOBRIDGE")
        assert header.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_each_encoding_is_kept_byte_for_byte(tmp_path: Path, syntax: str) -> None:
    dataset = builders.pet()
    part10 = builders.part10(dataset, transfer_syntax_uid=syntax)
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate((PET, [str(syntax)]))
        assert peer.store(PET, dataset.SOPInstanceUID, data_set_of(part10))[0] == 0x0000
        (stored,) = receiver.stored()
        assert stored.stem == digest_of(part10)
        assert data_set_of(stored.read_bytes()) == data_set_of(part10)


def test_the_first_proposed_transfer_syntax_that_we_know_is_taken(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        kind, body = peer.associate((PET, ["1.2.3.4", "1.2.840.10008.1.2.4.90", EXPLICIT]))
        assert kind == ACCEPT
        assert b"1.2.840.10008.1.2.4.90" in body


def test_unknown_and_private_sop_classes_are_refused_one_by_one(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        kind, body = peer.associate(("1.2.840.113619.4.30", [EXPLICIT]), (PET, ["1.2.3.4"]), (PET, [EXPLICIT]))
        assert kind == ACCEPT
        results = [body[start + 6] for start in _items(body, 0x21)]
        assert results == [3, 4, 0]  # PS3.8 table 9-18: abstract syntax, transfer syntaxes not supported; accepted


def test_raw_data_is_taken_only_when_the_site_wants_it(tmp_path: Path) -> None:
    raw_data = "1.2.840.10008.5.1.4.1.1.66"
    for wanted, result in ((False, 3), (True, 0)):
        with receiving(tmp_path, accept_raw_data=wanted) as receiver, raw_peer(receiver) as peer:
            _, body = peer.associate((raw_data, [EXPLICIT]))
            assert [body[start + 6] for start in _items(body, 0x21)] == [result]


def _items(body: bytes, kind: int) -> list[int]:
    found, pos = [], 68
    while pos < len(body):
        if body[pos] == kind:
            found.append(pos)
        pos += 4 + struct.unpack_from(">H", body, pos + 2)[0]
    return found


def test_echo_is_answered(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        peer.sock.sendall(p_data(pdv(3, 3, simple_command(0x0030, message_id=77))))
        command, status, _ = peer.read_response()
        assert (command.field, command.message_id, status) == (0x8030, 77, 0)


def test_release_is_answered_and_the_connection_closed(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        peer.sock.sendall(bytes([RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
        assert peer.read_pdu()[0] == RELEASE_RP
        assert peer.is_closed()


def test_pynetdicom_stores_many_over_one_association(tmp_path: Path) -> None:
    entity = AE(ae_title="SCU")
    entity.add_requested_context(PET, [ExplicitVRLittleEndian])
    with receiving(tmp_path) as receiver:
        association = entity.associate("127.0.0.1", receiver.port)
        assert association.is_established
        statuses = [association.send_c_store(dataset).Status for dataset in _encodable(builders.pet_series(4))]
        association.release()
        assert statuses == [0, 0, 0, 0]
        assert len(receiver.stored()) == 4
        assert len(receiver.rows.wait_for(4)) == 4


def _encodable(datasets: Iterable[Dataset]) -> Iterator[Dataset]:
    """pynetdicom sends data sets that know their transfer syntax."""
    for dataset in datasets:
        builders.part10(dataset)
        yield dataset


def test_the_same_bytes_again_are_success_and_one_file(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver:
        assert a_store(receiver, part10, uid)[0] == 0
        assert a_store(receiver, part10, uid)[0] == 0
        assert len(receiver.stored()) == 1
        assert len(receiver.rows.wait_for(2)) == 2


# Objects that must not pass


def test_a_truncated_object_is_quarantined_and_refused(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        status, comment = peer.store(PET, uid, data_set_of(part10)[:-31])
        assert status == 0xC000
        assert "ends in the middle of PixelData" in comment
        assert len(comment) <= 64
        assert receiver.stored() == []
        (kept,) = receiver.stored(quarantined=True)
        (received,) = receiver.rows.wait_for(1)
        assert received.reason is not None
        assert kept.with_suffix(".json").exists()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_object_without_its_identifiers_is_quarantined_with_the_reason(tmp_path: Path, keyword: str) -> None:
    dataset = builders.pet()
    uid = str(dataset.SOPInstanceUID)
    delattr(dataset, keyword)
    data_set = _without_meta(dataset)
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        assert peer.store(PET, uid, data_set) == (0xA900, f"The object has no {keyword}.")
        assert len(receiver.stored(quarantined=True)) == 1


def _without_meta(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def test_an_identifier_with_letters_is_quarantined(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    damaged = data_set_of(part10).replace(uid[:-3].encode(), b"x" * (len(uid) - 3))
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        status, comment = peer.store(PET, uid, damaged)
        assert status == 0xA900
        assert "not a legal identifier" in comment


def test_another_instance_than_announced_is_quarantined(tmp_path: Path) -> None:
    _, part10 = pet_file()
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        status, comment = peer.store(PET, "1.2.3.4", data_set_of(part10))
        assert status == 0xA900
        assert comment.startswith("The SOP instance UID of the object")
        assert len(receiver.stored(quarantined=True)) == 1


def test_another_class_than_negotiated_is_quarantined(tmp_path: Path) -> None:
    dataset = builders.ct()
    part10 = builders.part10(dataset)
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        status, _ = peer.store(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), data_set_of(part10))
        assert status == 0xA900


def test_a_wrong_value_type_is_refused_and_the_association_goes_on(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    data_set = bytearray(data_set_of(part10))
    data_set[4:6] = b"\x01\x7f"
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        assert peer.store(PET, uid, bytes(data_set))[0] == 0xC000
        assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000


def test_an_unknown_operation_is_answered_after_its_data_set(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        find = simple_command(0x0020, data_set_type=0x0001)
        peer.sock.sendall(p_data(pdv(1, 3, find)) + p_data(pdv(1, 0, b"abc")) + p_data(pdv(1, 2, b"def")))
        command, status, _ = peer.read_response()
        assert (command.field, status) == (0x8020, 0x0211)


# Framing


@pytest.mark.parametrize("step", [1, 7, 100])
def test_bytes_may_come_in_any_pieces(tmp_path: Path, step: int) -> None:
    uid, part10 = pet_file()
    data_set = data_set_of(part10)
    stream = request_pdu([(PET, [EXPLICIT])]) + p_data(pdv(1, 3, store_command(PET, uid))) + p_data(pdv(1, 2, data_set))
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(stream), step):
            peer.sock.sendall(stream[start : start + step])
        assert peer.read_pdu()[0] == ACCEPT
        assert peer.read_response()[1] == 0x0000


def test_a_command_in_two_fragments_and_data_values_of_odd_sizes(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    data_set, command = data_set_of(part10), store_command(PET, uid)
    odd = [pdv(1, 0, data_set[:1]), pdv(1, 0, b""), pdv(1, 0, data_set[1:4]), pdv(1, 2, data_set[4:])]
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        peer.sock.sendall(p_data(pdv(1, 1, command[:11])) + p_data(pdv(1, 3, command[11:]), *odd[:2]) + p_data(*odd[2:]))
        assert peer.read_response()[1] == 0x0000
        assert receiver.stored()[0].stem == digest_of(part10)


def _length(kind: int, length: int) -> bytes:
    return struct.pack(">BxI", kind, length)


@pytest.mark.parametrize(
    ("garbage", "abort_reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),  # HTTP: unrecognized PDU
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 1),  # a TLS hello
        (_length(1, 0xFFFFFFFF), 6),  # a request of 4 GiB
        (p_data(pdv(1, 3, b"")), 2),  # data before the association
        (_length(1, 4) + b"\0\1\0\0", 6),  # a request that is too short
        (_length(1, 90) + b"\0\1\0\0" + b" " * 32 + bytes(32) + b"\x20\0\xff\xff" + bytes(18), 6),  # item beyond the request
    ],
)
def test_what_is_no_association_request_is_aborted_at_once(tmp_path: Path, garbage: bytes, abort_reason: int) -> None:
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer:
        peer.sock.sendall(garbage)
        kind, body = peer.read_pdu()
        assert (kind, body[3]) == (ABORT, abort_reason)
        assert peer.is_closed()


@pytest.mark.parametrize(
    "violation",
    [
        _length(4, 0xFFFFFFFF),  # a P-DATA of 4 GiB
        _length(4, 200_000),  # more than we advertised
        _length(9, 4),  # an unknown type
        request_pdu([(PET, [EXPLICIT])]),  # a second request
        p_data(struct.pack(">IBB", 1, 1, 3)),  # a data value shorter than its own header
        p_data(struct.pack(">IBB", 0xFFFFFFFF, 1, 3)),  # a data value beyond its PDU
        p_data(pdv(99, 3, simple_command(0x0030))),  # a context nobody agreed on
        p_data(pdv(1, 2, b"data")),  # a data set without a command
        p_data(pdv(1, 7, b"")),  # unknown control bits
        p_data(pdv(1, 3, b"\0\0\0")),  # a command that ends within an element
        p_data(pdv(1, 3, simple_command(0x8001))),  # an answer to nothing
        p_data(pdv(1, 1, bytes(100_000))),  # an endless command
        p_data(pdv(1, 3, store_command(PET, "1.2")), pdv(1, 3, simple_command(0x0030))),  # a command within a data set
        p_data(pdv(1, 3, store_command(PET, "1.2")), pdv(3, 2, b"x")),  # a data set on another context
    ],
)
def test_a_violation_is_aborted_and_others_go_on(tmp_path: Path, violation: bytes) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver, raw_peer(receiver) as good, raw_peer(receiver) as bad:
        good.associate()
        bad.associate()
        bad.sock.sendall(violation)
        assert bad.read_pdu()[0] == ABORT
        assert bad.is_closed()
        assert good.store(PET, uid, data_set_of(part10))[0] == 0x0000
        assert receiver.incoming == []


@pytest.mark.parametrize("object_bytes", [1000, 3 << 20])
@pytest.mark.parametrize("ending", ["abort", "close", "reset"])
def test_an_end_in_mid_object_leaves_nothing(tmp_path: Path, object_bytes: int, ending: str) -> None:
    with receiving(tmp_path) as receiver:
        with raw_peer(receiver) as peer:
            peer.associate()
            peer.sock.sendall(p_data(pdv(1, 3, store_command(PET, "1.2.3"))))
            for _ in range(0, object_bytes, 1000):
                peer.sock.sendall(p_data(pdv(1, 0, bytes(1000))))
            if ending == "abort":
                peer.sock.sendall(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
                assert peer.is_closed()
            elif ending == "reset":
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        receiver.stop()  # the loop has then seen all that was sent
        assert receiver.incoming == []
        assert receiver.stored() == []
        assert receiver.rows.received == []


# Time and numbers


def test_a_peer_that_asks_for_nothing_is_closed_in_time(tmp_path: Path) -> None:
    with receiving(tmp_path, request_timeout_secs=0.3) as receiver, raw_peer(receiver) as silent:
        started = time.monotonic()
        assert silent.is_closed()
        assert time.monotonic() - started < 5


def test_a_request_that_dribbles_is_closed_in_time(tmp_path: Path) -> None:
    with receiving(tmp_path, request_timeout_secs=0.4) as receiver, raw_peer(receiver) as slow:
        started = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):
            _dribble(slow, request_pdu([(PET, [EXPLICIT])]) * 100)
        assert time.monotonic() - started < 5


def _dribble(peer: RawPeer, data: bytes) -> None:
    for byte in data:
        peer.sock.sendall(bytes([byte]))
        threading.Event().wait(0.01)


def test_a_pdu_that_dribbles_is_aborted_and_idleness_is_not(tmp_path: Path) -> None:
    with receiving(tmp_path, pdu_timeout_secs=0.3) as receiver, raw_peer(receiver) as slow, raw_peer(receiver) as idle:
        slow.associate()
        idle.associate()
        slow.sock.sendall(_length(4, 50))
        assert slow.read_pdu()[0] == ABORT
        idle.sock.sendall(p_data(pdv(3, 3, simple_command(0x0030))))
        assert idle.read_response()[1] == 0


def test_an_idle_association_is_aborted(tmp_path: Path) -> None:
    with receiving(tmp_path, idle_timeout_secs=0.3) as receiver, raw_peer(receiver) as idle:
        idle.associate()
        assert idle.read_pdu()[0] == ABORT


def test_half_open_peers_cost_nobody_else_anything(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path) as receiver:
        silent = [receiver.connect() for _ in range(130)]
        try:
            assert a_store(receiver, part10, uid)[0] == 0x0000
        finally:
            for sock in silent:
                sock.close()


def test_beyond_the_limit_only_verification_is_served(tmp_path: Path) -> None:
    with receiving(tmp_path, max_associations=2) as receiver:
        with raw_peer(receiver) as one, raw_peer(receiver) as two, raw_peer(receiver) as three, raw_peer(receiver) as four:
            assert one.associate()[0] == ACCEPT
            assert two.associate()[0] == ACCEPT
            kind, body = three.associate()
            assert (kind, body[1:4]) == (REJECT, bytes([2, 3, 2]))  # transient, presentation, local limit exceeded
            assert four.associate((VERIFICATION, [EXPLICIT]))[0] == ACCEPT
        with raw_peer(receiver) as later:  # ended associations make room
            assert _eventually_accepted(receiver, later)


def _eventually_accepted(receiver: Receiving, peer: RawPeer) -> bool:
    deadline = time.monotonic() + 5
    kind = peer.associate()[0]
    while kind != ACCEPT and time.monotonic() < deadline:
        with raw_peer(receiver) as again:
            kind = again.associate()[0]
    return kind == ACCEPT


@pytest.mark.parametrize(
    ("settings", "titles", "answer"),
    [
        ({"check_called_ae": True}, {"called": "OTHER"}, bytes([1, 1, 7])),
        ({"calling_aes": ("SCANNER",)}, {"calling": "STRANGER"}, bytes([1, 1, 3])),
        ({"calling_aes": ("SCANNER",)}, {"calling": "SCANNER"}, None),
        ({}, {"called": "OTHER"}, None),
    ],
)
def test_titles_are_checked_only_when_configured(
    tmp_path: Path, settings: dict[str, Any], titles: dict[str, str], answer: bytes | None
) -> None:
    with receiving(tmp_path, **settings) as receiver, raw_peer(receiver) as peer:
        kind, body = peer.associate(**titles)
        assert (kind, body[1:4]) == (REJECT, answer) if answer else kind == ACCEPT


def test_eight_associations_at_once_lose_nothing(tmp_path: Path) -> None:
    per_peer, peers = 25, 8

    def send(receiver: Receiving, number: int) -> list[int]:
        with raw_peer(receiver) as peer:
            peer.associate()
            statuses = []
            for index in range(per_peer):
                uid, part10 = pet_file(SOPInstanceUID=f"1.2.{number + 1}.{index + 1}")
                statuses.append(peer.store(PET, uid, data_set_of(part10))[0])
            return statuses

    with receiving(tmp_path) as receiver, ThreadPoolExecutor(peers) as pool:
        results = list(pool.map(lambda number: send(receiver, number), range(peers)))
        assert results == [[0] * per_peer] * peers
        assert len(receiver.stored()) == per_peer * peers
        assert len(receiver.rows.wait_for(per_peer * peers)) == per_peer * peers


def test_a_large_object_is_streamed_and_kept(tmp_path: Path) -> None:
    dataset = builders.pet()
    dataset.Rows = dataset.Columns = 2048
    dataset.NumberOfFrames = 4
    dataset.PixelData = bytes(range(256)) * (2048 * 2048 * 2 * 4 // 256)
    part10 = builders.part10(dataset)
    with receiving(tmp_path) as receiver:
        assert a_store(receiver, part10, dataset.SOPInstanceUID, fragment_bytes=131_000)[0] == 0x0000
        (stored,) = receiver.stored()
        assert stored.stem == digest_of(part10)
        assert data_set_of(stored.read_bytes()) == data_set_of(part10)


def test_an_object_beyond_the_limit_is_refused_and_the_association_goes_on(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path, max_object_bytes=2 << 20) as receiver, raw_peer(receiver) as peer:
        peer.associate()
        status, comment = peer.store(PET, uid, bytes(3 << 20))
        assert status == 0xA700
        assert "larger than" in comment
        assert receiver.incoming == []
        assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000


# The disk and the ledger


def test_without_room_on_the_disk_the_sender_is_told_so_early(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    with receiving(tmp_path, reserve_bytes=1 << 60) as receiver:
        assert a_store(receiver, part10, uid) == (0xA700, "The spool's disk is nearly full.")
        assert receiver.incoming == []


def test_the_reserve_is_kept_while_a_large_object_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 3 MiB beside the reserve, told by what lies in the spool, in place of a disk of that size."""
    uid, part10 = pet_file()
    with receiving(tmp_path, reserve_bytes=64 << 20) as receiver, raw_peer(receiver) as peer:

        def statvfs(_: object) -> Any:
            used = sum(path.stat().st_size for path in tmp_path.rglob("*.part"))
            return SimpleNamespace(f_bavail=(64 << 20) + (3 << 20) - used, f_frsize=1)

        monkeypatch.setattr(os, "statvfs", statvfs)
        peer.associate()
        assert peer.store(PET, uid, bytes(8 << 20)) == (0xA700, "The spool's disk is nearly full.")
        assert receiver.incoming == []
        assert peer.store(PET, uid, data_set_of(part10))[0] == 0x0000


def test_a_ledger_that_cannot_be_written_stops_the_acknowledging(tmp_path: Path) -> None:
    rows = MemoryRows(is_down=True)
    uid, part10 = pet_file()
    with receiving(tmp_path, rows=rows) as receiver:
        assert a_store(receiver, part10, uid)[0] == 0x0000  # durable; its row is owed
        assert _until(lambda: a_store(receiver, part10, uid)[0] == 0xA700)
        rows.is_down = False
        assert _until(lambda: a_store(receiver, part10, uid)[0] == 0x0000)
        assert rows.wait_for(2)


def test_in_row_mode_the_answer_waits_for_the_row(tmp_path: Path) -> None:
    rows = MemoryRows(is_down=True)
    uid, part10 = pet_file()
    with receiving(tmp_path, rows=rows, acknowledge_after="row") as receiver:
        assert a_store(receiver, part10, uid)[0] == 0xA700  # never 0x0000 before the row
        rows.is_down = False
        assert _until(lambda: a_store(receiver, part10, uid)[0] == 0x0000)
        assert len(receiver.stored()) == 1


def _until(condition: Callable[[], bool], secs: float = 10.0) -> bool:
    deadline = time.monotonic() + secs
    while not (met := condition()) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return bool(met)


# Stopping


def test_a_stop_lets_a_half_received_object_finish(tmp_path: Path) -> None:
    uid, part10 = pet_file()
    data_set = data_set_of(part10)
    with receiving(tmp_path) as receiver, raw_peer(receiver) as peer, raw_peer(receiver) as idle:
        peer.associate()
        idle.associate()
        peer.sock.sendall(p_data(pdv(1, 3, store_command(PET, uid))) + p_data(pdv(1, 0, data_set[:100])))
        stopping = threading.Thread(target=receiver.stop)
        stopping.start()
        assert idle.read_pdu()[0] == ABORT  # the stop has begun
        peer.sock.sendall(p_data(pdv(1, 2, data_set[100:])))
        assert peer.read_response()[1] == 0x0000
        assert peer.read_pdu()[0] == ABORT
        stopping.join()
        assert len(receiver.stored()) == 1
        assert len(receiver.rows.received) == 1


@pytest.mark.needs("data")
def test_every_real_sample_is_stored_byte_for_byte(tmp_path: Path) -> None:
    files = [
        path
        for folder in ("pet", "ct", "nm", "rt", "sr", "seg", "sc")
        for path in sorted((data_directory() / folder).rglob("*.dcm"))
        if path.read_bytes()[128:132] == b"DICM" and path.name != "color-palette-pet.dcm"  # belongs to no patient
    ]
    assert len(files) > 30
    with receiving(tmp_path) as receiver:
        for path in files:
            part10 = path.read_bytes()
            header = read_header(path)
            abstract, uid = header.walk.text(0x00080016), header.walk.text(0x00080018)
            with raw_peer(receiver) as peer:
                peer.associate((abstract, [header.transfer_syntax_uid]))
                status, comment = peer.store(abstract, uid, data_set_of(part10), fragment_bytes=100_000)
            assert (path.name, status, comment) == (path.name, 0x0000, "")
            (stored,) = [kept for kept in receiver.stored() if kept.stem == digest_of(part10)]
            assert data_set_of(stored.read_bytes()) == data_set_of(part10)
