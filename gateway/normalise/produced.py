"""A normalised object as a file that need not exist: new bytes, and stretches of the spool file, which is read when it is sent."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One element that differs from what was received."""

    path: str  #: e.g. ``RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose``
    before: str  #: for people; may hold patient data, so it goes to no log. Empty: it was absent or empty
    after: str  #: empty: removed
    rule: str  #: ``charset``, ``identity``, ``reference``, ``instance uid`` or the rule's place, ``pet_image.yaml:41:3``


@dataclass(frozen=True, kw_only=True)
class Coerced:
    """One normalised object, ready to be written any number of times: new bytes, and stretches of the file that stays where it is."""

    path: Path
    changes: tuple[Change, ...]  #: empty: the object goes out byte for byte as it was received
    problems: tuple[str, ...]  #: what could not be done, in words without patient data
    sop_instance_uid: str  #: a new one only when a number changed
    transfer_syntax_uid: str
    segments: Sequence[bytes | tuple[int, int]]  #: bytes, or (begin, end) in the file
    header_bytes: int  #: preamble and file meta; the data set follows

    @property
    def names_patient(self) -> bool:
        """It says itself to whom a person gave it."""
        return any(change.rule == "identity" for change in self.changes)

    @property
    def size_bytes(self) -> int:
        return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.segments)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of transfer syntax and data set, as :class:`gateway.model.Instance` has it."""
        digest, left = hashlib.sha256(self.transfer_syntax_uid.encode()), self.header_bytes
        for chunk in self.chunks():
            digest.update(memoryview(chunk)[left:])
            left = max(0, left - len(chunk))
        return digest.hexdigest()

    @cached_property
    def md5(self) -> str:
        """Of the whole file, as archives tell it."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The file, piece by piece, at most a mebibyte each where it is copied. Raises :class:`OSError` when the spool file is gone."""
        with self.path.open("rb", buffering=0) as file:
            for part in self.segments:
                if isinstance(part, bytes):
                    yield part
                    continue
                file.seek(part[0])
                left = part[1] - part[0]
                while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                    left -= len(chunk)
                    yield chunk

    def write_to(self, stream: BinaryIO) -> None:
        """Write the whole Part 10 file."""
        for chunk in self.chunks():
            stream.write(chunk)

    def open(self) -> BinaryIO:
        """The same as a stream that can be read and rewound, for HTTP clients."""
        return cast(BinaryIO, io.BufferedReader(_Stream(self)))


class _Stream(io.RawIOBase):
    """Reads a :class:`Coerced`; rewinds to its beginning and tells its size, which is all that an upload asks for."""

    def __init__(self, coerced: Coerced) -> None:
        self._coerced = coerced
        self._size = coerced.size_bytes
        self._position = 0
        self._chunks = coerced.chunks()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        if target == 0:
            self._chunks, self._rest = self._coerced.chunks(), memoryview(b"")
        elif target not in (self._position, self._size):
            raise io.UnsupportedOperation("only to the beginning")
        self._position = target
        return target

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        if not len(self._rest):
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count
