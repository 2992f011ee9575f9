"""Objects that are compressed as a whole (Deflated Explicit VR Little Endian, PS3.5 A.5): inflated piece by piece, not without end.

A few kilobytes may become a gigabyte. So nothing is inflated beyond what is allowed, and what is large goes to a place that is not memory.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from typing import Protocol, TypeAlias

from gateway.errors import Rejected

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"

#: PS3.4 B.2.3: Cannot understand.
CANNOT_UNDERSTAND = 0xC000

_DEFLATED_PIECE_BYTES, _INFLATED_PIECE_BYTES = 64 << 10, 1 << 20
_INFLATED_IN_MEMORY_BYTES = 16 << 20


class Overflow(Protocol):
    """Where inflated data goes that is too large for memory."""

    def write(self, piece: bytes) -> None: ...

    def buffer(self) -> Buffer:
        """All that was written."""


def inflate(deflated: memoryview, allowed: int, overflow: Callable[[], Overflow] | None = None) -> Buffer:
    """PS3.5 A.5: the whole data set is one raw deflate stream, padded to an even length.

    Raises :class:`Rejected` (0xC000) when it is damaged, or would become larger than ``allowed`` bytes.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated, size, checksum, taken = _Inflated(overflow), 0, 0, 0
    while taken < len(deflated) and not stream.eof:
        piece = deflated[taken : taken + _DEFLATED_PIECE_BYTES]
        grown = _decompress(stream, piece)
        taken += len(piece) - len(stream.unconsumed_tail) - len(stream.unused_data)
        size, checksum = size + len(grown), zlib.crc32(grown, checksum)
        if size > allowed:
            raise _rejected(f"The compressed object would grow beyond {allowed:,} bytes; such objects are not accepted.")
        inflated.add(grown)
    if not stream.eof:
        raise _rejected("The compressed object ends too early; the transfer was cut short.")
    # Some writers close with the trailer of gzip (RFC 1952): checksum and size. It is welcome when it is right.
    trailer = checksum.to_bytes(4, "little") + size.to_bytes(8, "little")[:4]
    left = len(deflated) - taken
    if (left > _DEFLATED_PIECE_BYTES or bytes(deflated[taken:]).strip(b"\0")) and bytes(deflated[taken : taken + 8]) != trailer:
        raise _rejected(f"{left:,} bytes follow the end of the compressed object.")
    return inflated.buffer()


def _rejected(reason: str) -> Rejected:
    return Rejected(reason, status=CANNOT_UNDERSTAND)


def _decompress(stream: zlib._Decompress, piece: memoryview) -> bytes:
    try:
        return stream.decompress(piece, _INFLATED_PIECE_BYTES)
    except zlib.error as error:
        raise _rejected("The compressed (deflated) object is damaged.") from error


class _Inflated:
    """What has been inflated: in memory, and when it grows, where ``overflow`` says."""

    __slots__ = ("_memory", "_overflow", "_place")

    def __init__(self, overflow: Callable[[], Overflow] | None) -> None:
        self._memory = bytearray()
        self._overflow = overflow
        self._place: Overflow | None = None

    def add(self, piece: bytes) -> None:
        if self._place is None and self._overflow is not None and len(self._memory) > _INFLATED_IN_MEMORY_BYTES:
            self._place = self._overflow()
            self._place.write(bytes(self._memory))
            self._memory = bytearray()
        if self._place is not None:
            self._place.write(piece)
        else:
            self._memory += piece

    def buffer(self) -> Buffer:
        return bytes(self._memory) if self._place is None else self._place.buffer()
