"""The segments of the journal as bytes: heads with their checksum, padded records, files of blocks that exist already.

A record is a head, what it tells beside the file (the particulars), then the complete Part 10 file, padded to whole pages.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from pathlib import Path
from struct import Struct

from gateway.spool.placing import QuarantineNote

PAGE_BYTES = 4096
ZERO_PAGE = bytes(PAGE_BYTES)
#: Magic, generation, checksum of all but the data set, lengths of the particulars, the Part 10 header and the data set.
HEAD = Struct("<8s16sIIIQ")
_CHECKSUM_AT, _CHECKED_FROM = 24, 28
_MAGIC = b"ISOBJRN1"


@dataclass(slots=True)
class Segment:
    descriptor: int
    size_bytes: int
    generation: bytes = b""
    end: int = 0
    pending: int = 0  #: records whose files do not stand yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    generation: bytes
    size_bytes: int
    header_bytes: int
    data_bytes: int
    name: str  #: where the file goes, below the spool directory
    transfer_syntax_uid: str
    note: QuarantineNote | None


class Draft:
    """What will be a record: particulars, Part 10 header, data set; ``size_bytes`` of it, and how many of them are padding."""

    __slots__ = ("data", "header", "padding_bytes", "size_bytes", "told")

    def __init__(self, told: bytes, header: bytes, data: bytearray) -> None:
        self.told, self.header, self.data = told, header, data
        bare_bytes = HEAD.size + len(told) + len(header) + len(data)
        self.size_bytes = padded(bare_bytes)
        self.padding_bytes = self.size_bytes - bare_bytes


def particulars(name: str, transfer_syntax_uid: str, note: QuarantineNote | None) -> bytes:
    """What a record must tell beside the file itself: JSON."""
    if note is None:
        return f"[{encode_basestring_ascii(name)}, {encode_basestring_ascii(transfer_syntax_uid)}, null]".encode()
    return json.dumps([name, transfer_syntax_uid, (note.reason, note.sender, note.received_at)]).encode()


def encode_head(generation: bytes, told: bytes, header: bytes, data_bytes: int) -> bytes:
    fields = (_MAGIC, generation, 0, len(told), len(header), data_bytes)
    checksum = _checksum(HEAD.pack(*fields), told + header)
    return HEAD.pack(_MAGIC, generation, checksum, *fields[3:]) + told


def _checksum(head: bytes, rest: bytes) -> int:
    """Over all that is not the data set, which its own digest proves."""
    return zlib.crc32(rest, zlib.crc32(head[_CHECKED_FROM:], zlib.crc32(head[:_CHECKSUM_AT])))


def read_head(segment: Segment, position: int) -> Head | None:
    """The head at ``position``, if a whole one stands there and its record fits."""
    encoded = os.pread(segment.descriptor, HEAD.size, position)
    if len(encoded) < HEAD.size:
        return None
    magic, generation, checksum, told_bytes, header_bytes, data_bytes = HEAD.unpack(encoded)
    if magic != _MAGIC or position + HEAD.size + told_bytes + header_bytes + data_bytes > segment.size_bytes:
        return None
    rest = os.pread(segment.descriptor, told_bytes + header_bytes, position + HEAD.size)
    if _checksum(encoded, rest) != checksum:
        return None
    name, syntax, note = json.loads(rest[:told_bytes])
    return Head(
        generation=generation,
        size_bytes=HEAD.size + told_bytes,
        header_bytes=header_bytes,
        data_bytes=data_bytes,
        name=name,
        transfer_syntax_uid=syntax,
        note=QuarantineNote(reason=note[0], sender=note[1], received_at=note[2]) if note else None,
    )


def padded(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def make_segment(path: Path, size_bytes: int) -> Segment:
    """A segment whose blocks exist and are written: overwriting them changes nothing in the file system's own tables."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size != size_bytes:
            os.ftruncate(descriptor, 0)
            zeros = bytes(1 << 20)
            for position in range(0, size_bytes, len(zeros)):
                write_all(descriptor, [zeros[: size_bytes - position]], position)
            os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return Segment(descriptor, size_bytes)


def wipe(segment: Segment) -> None:
    """Forget the chain: its first head goes."""
    if segment.size_bytes:
        write_all(segment.descriptor, [ZERO_PAGE], 0)
        os.fdatasync(segment.descriptor)


def write_all(descriptor: int, buffers: Sequence[bytes | bytearray], position: int) -> None:
    size = sum(map(len, buffers))
    written = os.pwritev(descriptor, buffers, position)
    if written < size:  # rare: a signal
        rest = memoryview(b"".join(buffers))[written:]
        while rest:
            count = os.pwrite(descriptor, rest, position + size - len(rest))
            rest = rest[count:]
