"""A real receiver on a real socket, and a peer that speaks DICOM byte by byte. For the tests of ``gateway.receive``."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification
from pynetdicom.presentation import PresentationContext

from gateway.dicom.reading import read_file_meta
from gateway.errors import Retryable
from gateway.model import Instance, Received
from gateway.receive import services
from gateway.receive.serving import run
from gateway.receive.settings import ReceiveSettings
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

WAIT_SECS = 20.0


@dataclass
class MemoryRows:
    """The ledger's place: remembers arrivals, and fails while it is told to."""

    received: list[Received] = field(default_factory=list)
    is_down: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def relocate(self, instance: Instance) -> None:
        raise NotImplementedError

    def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
        with self.changed:
            if self.is_down:
                raise Retryable("The ledger is locked.")
            self.received.extend(batch)
            self.changed.notify_all()
        return []

    def wait_for(self, count: int) -> list[Received]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= count, WAIT_SECS), f"{len(self.received)} of {count}"
            return list(self.received)


@dataclass
class Receiving:
    port: int
    files: SpoolFiles
    rows: MemoryRows
    events: list[tuple[str, dict[str, Any]]]
    stop: Any

    @property
    def incoming(self) -> list[Path]:
        """Half-received objects. The empty file that waits for the next one is none."""
        return [path for path in (self.files.directory / "incoming").iterdir() if path.stat().st_size]

    def stored(self, *, quarantined: bool = False) -> list[Path]:
        days = self.files.partitions(quarantined=quarantined)
        return [
            self.files.locate(day, digest, quarantined=quarantined)
            for day in days
            for digest in self.files.digests(day, quarantined=quarantined)
        ]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECS)


@contextmanager
def receiving(
    directory: Path, *, reserve_bytes: int = 0, rows: MemoryRows | None = None, journal_bytes: int = 0, **settings: Any
) -> Iterator[Receiving]:
    """Run the receiver in a thread until the block ends; its end must be clean. With a journal it is ready when the block begins."""
    files = SpoolFiles(directory, reserve_bytes=reserve_bytes)
    journal = Journal(files, capacity_bytes=journal_bytes, segment_bytes=journal_bytes // 4) if journal_bytes else None
    rows = rows or MemoryRows()
    events: list[tuple[str, dict[str, Any]]] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    lifeline_in, lifeline_out = os.pipe()
    failures: list[BaseException] = []

    def on_event(event: str, /, **fields: str | int | float) -> None:
        events.append((event, fields))

    def serve() -> None:
        try:
            run(
                [listener],
                ReceiveSettings(**{"drain_timeout_secs": 5, **settings}),
                files,
                rows,
                lifeline_fd=lifeline_in,
                journal=journal,
                on_event=on_event,
            )
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=serve, name="receiver")
    stopped = threading.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            os.close(lifeline_out)
            thread.join(WAIT_SECS)

    thread.start()
    deadline = time.monotonic() + WAIT_SECS
    while journal is not None and not journal.is_ready and time.monotonic() < deadline:
        thread.join(0.005)
    try:
        yield Receiving(port=listener.getsockname()[1], files=files, rows=rows, events=events, stop=stop)
    finally:
        stop()
        listener.close()
        os.close(lifeline_in)
    assert not thread.is_alive()
    assert not failures


def digest_of(part10: bytes) -> str:
    """What the spool must call this file."""
    meta, start = read_file_meta(part10)
    return hashlib.sha256(meta[0x00020010].rstrip(b"\0 ") + part10[start:]).hexdigest()


def data_set_of(part10: bytes) -> bytes:
    return part10[read_file_meta(part10)[1] :]


PET = "1.2.840.10008.5.1.4.1.1.128"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"


def request_pdu(contexts: Sequence[tuple[str, Sequence[str]]], *, calling: str = "RAW", called: str = "ISOBRIDGE") -> bytes:
    """An A-ASSOCIATE-RQ; the contexts get the ids 1, 3, 5, ..."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = []
    for index, (abstract, transfers) in enumerate(contexts):
        context = PresentationContext()
        context.context_id = 2 * index + 1
        context.abstract_syntax = abstract
        context.transfer_syntax = list(transfers)
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = 16382
    primitive.user_information = [maximum]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded


def store_command(sop_class: str, sop_instance: str, *, message_id: int = 1) -> bytes:
    """A C-STORE-RQ command set (PS3.7 table 9.3-1)."""
    elements = _uid(0x0002, sop_class) + struct.pack("<HHIH", 0, 0x0100, 2, 1) + struct.pack("<HHIH", 0, 0x0110, 2, message_id)
    elements += struct.pack("<HHIH", 0, 0x0700, 2, 0) + struct.pack("<HHIH", 0, 0x0800, 2, 1) + _uid(0x1000, sop_instance)
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def simple_command(field_: int, *, message_id: int = 1, data_set_type: int = 0x0101) -> bytes:
    elements = struct.pack("<HHIH", 0, 0x0100, 2, field_) + struct.pack("<HHIH", 0, 0x0110, 2, message_id)
    elements += struct.pack("<HHIH", 0, 0x0800, 2, data_set_type)
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return struct.pack("<HHI", 0, element, len(value)) + value


def pdv(context_id: int, control: int, fragment: bytes) -> bytes:
    return struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


class RawPeer:
    """A peer whose every byte the test decides."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def associate(self, *contexts: tuple[str, Sequence[str]], **titles: str) -> tuple[int, bytes]:
        self.sock.sendall(request_pdu(contexts or [(PET, [EXPLICIT]), (VERIFICATION, [EXPLICIT])], **titles))
        return self.read_pdu()

    def read_pdu(self) -> tuple[int, bytes]:
        header = self._exactly(6)
        kind, length = struct.unpack(">BxI", header)
        return kind, self._exactly(length)

    def read_response(self) -> tuple[services.Command, int, str]:
        """The next DIMSE response: command, status, error comment."""
        kind, body = self.read_pdu()
        assert kind == 4, f"PDU type {kind}"
        encoded = body[6:]
        values: dict[int, bytes] = {}
        pos = 0
        while pos < len(encoded):
            _, element, length = struct.unpack_from("<HHI", encoded, pos)
            values[element] = encoded[pos + 8 : pos + 8 + length]
            pos += 8 + length
        command = services.Command(
            field=int.from_bytes(values[0x0100], "little"),
            message_id=int.from_bytes(values[0x0120], "little"),
            has_data_set=int.from_bytes(values[0x0800], "little") != 0x0101,
            sop_class_uid=values.get(0x0002, b"").decode().rstrip("\0"),
            sop_instance_uid=values.get(0x1000, b"").decode().rstrip("\0"),
        )
        return command, int.from_bytes(values[0x0900], "little"), values.get(0x0902, b"").decode().rstrip()

    def store(self, sop_class: str, sop_instance: str, data_set: bytes, *, fragment_bytes: int = 16000) -> tuple[int, str]:
        """One C-STORE on context 1; returns status and error comment."""
        self.sock.sendall(p_data(pdv(1, 3, store_command(sop_class, sop_instance))))
        for start in range(0, max(len(data_set), 1), fragment_bytes):
            is_last = start + fragment_bytes >= len(data_set)
            self.sock.sendall(p_data(pdv(1, 2 if is_last else 0, data_set[start : start + fragment_bytes])))
        _, status, comment = self.read_response()
        return status, comment

    def is_closed(self) -> bool:
        """Reads on until the other side has closed; an A-ABORT before that is fine."""
        while True:
            try:
                if not self.sock.recv(4096):
                    return True
            except ConnectionResetError:
                return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise ConnectionError(f"closed after {len(data)} of {count} bytes")
            data += piece
        return data


@contextmanager
def raw_peer(receiver: Receiving) -> Iterator[RawPeer]:
    with receiver.connect() as sock:
        yield RawPeer(sock)


@contextmanager
def raw_peer_at(port: int) -> Iterator[RawPeer]:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECS) as sock:
        yield RawPeer(sock)
