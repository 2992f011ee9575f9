"""The receiver's own connection and association on a line that is no socket: whatever a peer says, in any pieces, in microseconds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from gateway.receive.association import Association
from gateway.receive.connection import Connection
from gateway.receive.containment import Refusal, prepare
from gateway.receive.door import Door
from gateway.receive.serving import ignore_event
from gateway.receive.settings import ReceiveSettings
from gateway.receive.talk import State
from gateway.spool.files import SpoolFiles

_ROOM = memoryview(bytearray(256 << 10))


class Quiet:
    """The loop's place: nothing else is going on."""

    def __init__(self, directory: Path, **chosen: Any) -> None:
        self.settings = ReceiveSettings(**chosen)
        self.door = Door(SpoolFiles(directory, reserve_bytes=0), max_object_bytes=self.settings.max_object_bytes)
        self.on_event = ignore_event
        self.reason: str | None = None
        self.crowded: str | None = None
        self.open = self.from_peer = 0

    def open_associations(self) -> int:
        return self.open

    def associations_from(self, _peer: str) -> int:
        return self.from_peer

    def congestion(self) -> str | None:
        return self.crowded

    def refusal(self) -> str | None:
        return self.reason


class _Line:
    """A socket's place: what the peer sent, and what was said to it."""

    def __init__(self) -> None:
        self.coming = b""
        self.said = b""
        self.blocks = False

    def setsockopt(self, *_: object) -> None:
        """There is no socket."""

    def recv_into(self, room: memoryview) -> int:
        if not self.coming:
            raise BlockingIOError
        piece, self.coming = self.coming[: len(room)], self.coming[len(room) :]
        room[: len(piece)] = piece
        return len(piece)

    def send(self, data: bytearray) -> int:
        if self.blocks:
            raise BlockingIOError
        self.said += data
        return len(data)


class Talk:
    """One connection to a receiver that judges objects and keeps none."""

    def __init__(self, host: Quiet, peer: str = "192.0.2.1") -> None:
        self.host = host
        self._line = _Line()
        self.connection = Connection(cast("Any", self._line), peer, host)

    @property
    def blocks(self) -> bool:
        """The peer reads nothing."""
        return self._line.blocks

    @blocks.setter
    def blocks(self, blocks: bool) -> None:
        self._line.blocks = blocks

    @property
    def association(self) -> Association:
        return self.connection.association

    def say(self, sent: bytes, *, step: int = 0) -> None:
        """Send bytes in pieces of ``step``, or at once."""
        for start in range(0, len(sent), step or max(len(sent), 1)):
            self._line.coming = sent[start : start + step] if step else sent
            self.connection.read(_ROOM)
            self._advance()

    def _advance(self) -> None:
        while True:
            self.connection.advance()
            job = self.association.job
            if job is None:
                break
            prepared = prepare(self.host.door, job)
            if isinstance(prepared, Refusal):
                self.association.answer(prepared.code, prepared.reason)
            else:
                prepared.incoming.discard()
                self.association.answer(prepared.received.status, prepared.received.reason or "")
        self.connection.flush()

    def said(self) -> Iterator[tuple[int, bytes]]:
        """The PDUs that were said, type and body. Raises ``struct.error`` when what was said is no PDU."""
        data = self._line.said
        while data:
            kind, length = struct.unpack_from(">BxI", data)
            yield kind, data[6 : 6 + length]
            data = data[6 + length :]

    def hear(self) -> None:
        """Forget what was said."""
        self._line.said = b""

    def outcome(self) -> str | int:
        """How it stands, in the words of :mod:`tests.harness.corpus_wire`."""
        said = list(self.said())
        if self.association.state is State.WAITING:
            return "waiting"
        if self.association.state is State.ENDING:
            last = said[-1][0] if said else 7
            return {3: "rejected", 6: "released"}.get(last, "aborted")  # by us, or by the peer, who gets no answer
        statuses = [_status(body) for kind, body in said if kind == 4]
        return statuses[-1] if statuses else "open"


def _status(body: bytes) -> int:
    """Of a response (PS3.7 E.1): the element (0000,0900)."""
    place = body.index(struct.pack("<HHI", 0, 0x0900, 2))
    return int.from_bytes(body[place + 8 : place + 10], "little")
