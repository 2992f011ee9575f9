"""What stands between a socket and the rest: framing with caps, so that no claim of a peer ever costs memory.

A PDU's type and length are judged from its first six bytes (PS3.8 9.3.1), before its body is buffered. One association
never holds more than one PDU and one read. Reasons are those of A-ABORT (PS3.8 table 9-26).
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from gateway.errors import Rejected

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

NOT_SPECIFIED, UNRECOGNIZED_PDU, UNEXPECTED_PDU = 0, 1, 2
UNEXPECTED_PARAMETER, INVALID_PARAMETER = 5, 6

_REQUEST_MOST_BYTES = 256 << 10
_SMALL_MOST_BYTES = 64
#: Some peers count the PDU's own six-byte header as part of the maximum.
_TOLERATED_BYTES = 6
_HEADER_BYTES = 6
_HEADER = Struct(">BxI")

#: What may come before the association is agreed, and how large its body may be.
BEFORE_ASSOCIATION: Mapping[int, int] = {ASSOCIATE_RQ: _REQUEST_MOST_BYTES, ABORT: _SMALL_MOST_BYTES}


def during_association(max_pdu_bytes: int) -> Mapping[int, int]:
    """What may come afterwards, given the maximum that we advertised."""
    return {
        P_DATA: max_pdu_bytes + _TOLERATED_BYTES,
        RELEASE_RQ: _SMALL_MOST_BYTES,
        RELEASE_RP: _SMALL_MOST_BYTES,
        ABORT: _SMALL_MOST_BYTES,
    }


class ProtocolViolation(Rejected):
    """The peer broke the upper layer protocol: answer A-ABORT, for which ``status`` is the reason, and close."""

    def __init__(self, reason: str, abort_reason: int) -> None:
        super().__init__(reason, status=abort_reason)


class Framer:
    """Cuts a byte stream into PDUs."""

    __slots__ = ("_buffer", "_start", "caps")

    def __init__(self, caps: Mapping[int, int]) -> None:
        self.caps = caps
        self._buffer: bytearray | memoryview = bytearray()
        self._start = 0

    @property
    def is_within_pdu(self) -> bool:
        """Some bytes of a PDU are here, others are still to come."""
        return self._start < len(self._buffer)

    def feed(self, piece: memoryview) -> None:
        """Take what was read. It is not copied: call ``keep`` before its room is used for anything else."""
        if self._start < len(self._buffer):
            # A new buffer each time: a view of the old one may still be in somebody's hands.
            rest = bytearray(self._buffer[self._start :])
            rest += piece
            self._buffer, self._start = rest, 0
        else:
            self._buffer, self._start = piece, 0

    def keep(self) -> None:
        """Copy what is left of the piece that was fed."""
        if isinstance(self._buffer, memoryview):
            self._buffer, self._start = bytearray(self._buffer[self._start :]), 0

    def next_pdu(self) -> tuple[int, memoryview] | None:
        """The next complete PDU: type and body, valid until the next ``feed`` or ``keep``. Raises :class:`ProtocolViolation`."""
        start, available = self._start + _HEADER_BYTES, len(self._buffer)
        if start > available:
            return None
        kind, length = _HEADER.unpack_from(self._buffer, self._start)
        most = self.caps.get(kind)
        if most is None:
            if ASSOCIATE_RQ <= kind <= ABORT:
                raise ProtocolViolation(f"A PDU of type {kind} came at the wrong time.", UNEXPECTED_PDU)
            raise ProtocolViolation("What came is not DICOM.", UNRECOGNIZED_PDU)
        if length > most:
            raise ProtocolViolation(f"A PDU claims {length:,} bytes, {most:,} are allowed.", INVALID_PARAMETER)
        if start + length > available:
            return None
        self._start = start + length
        return kind, memoryview(self._buffer)[start : start + length]


def abort_pdu(reason: int) -> bytes:
    """A-ABORT from the service provider (PS3.8 9.3.8); without a reason, from the service user."""
    source = 2 if reason else 0
    return bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason])
