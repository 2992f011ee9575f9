"""The bulk data of a store request in JSON: where each part stands in its temporary file, and what one object takes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.dicom import json_model
from gateway.dicom.json_model import PIXEL_DATA
from gateway.dicom.walker import EXPLICIT_LITTLE
from gateway.errors import Rejected, Retryable
from gateway.model import JsonObject
from gateway.receive import status
from gateway.web.frame_syntax import is_video, syntax_of

#: Locations and types of all parts are kept in memory while the message comes.
_NAMES_MOST_LETTERS = 16 << 20
#: A part may serve several objects (the same palette, the same document); all they take stays below what came and this much.
_SHARED_MOST_BYTES = 64 << 20
#: What a fragment costs beside its bytes: its item header.
_FRAGMENT_BYTES = 8
_PIECE_BYTES = 512 * 1024
_BEGIN_BYTES = 64 * 1024

#: Not of the data set: some clients tell the encoding of what they compressed by one of these.
_TRANSFER_SYNTAX_UID, _AVAILABLE_SYNTAX = "00020010", "00083002"


@dataclass(slots=True, kw_only=True)
class _Part:
    """One part: its place in the temporary file, and what it says of itself."""

    start: int
    size_bytes: int
    content_type: str


class BulkParts:
    """All bulk data of a message, by Content-Location. ``begin`` a part, ``grow`` it; then objects take of it."""

    def __init__(self) -> None:
        self._by_location: dict[str, list[_Part]] = {}
        self._pixels: dict[str, list[_Part]] = {}
        self._last = _Part(start=0, size_bytes=0, content_type="")
        self._names = 0
        self._came = self._taken = 0

    def begin(self, location: str, content_type: str) -> None:
        """Raises :class:`Rejected` (413) when the names of the parts come to too much."""
        self._names += len(location) + len(content_type)
        if self._names > _NAMES_MOST_LETTERS:
            raise Rejected("the headers of all parts together are too long", status=413)
        self._last = _Part(start=self._came, size_bytes=0, content_type=content_type)
        self._by_location.setdefault(location, []).append(self._last)

    def grow(self, count: int) -> None:
        self._last.size_bytes += count
        self._came += count

    def take(self, count: int) -> None:
        """An object is about to hold so many bytes. Raises :class:`Rejected`: one part must not become thousands of files."""
        self._taken += count
        if self._taken > self._came + _SHARED_MOST_BYTES:
            reason = "The objects of the message share its bulk data so often that they would be far larger than the message."
            raise Rejected(reason, status=status.CANNOT_UNDERSTAND)

    def first(self, uri: str) -> list[_Part]:
        """The part of this location, alone; nothing when none came."""
        return self._by_location.get(uri.strip(), [])[:1]

    def pixels(self, uri: str) -> list[_Part]:
        """All parts that hold pixels: several of one location, or one for each ``<location>/frames/<number>``."""
        uri = uri.strip()
        if uri not in self._pixels:
            found = list(self._by_location.get(uri, ()))
            if not found:
                while frame := self._by_location.get(f"{uri}/frames/{len(found) + 1}"):
                    found.append(frame[0])
            self._pixels[uri] = found
        return self._pixels[uri]


class _Bulk:
    """A value (:class:`~gateway.dicom.json_model.Bulk`)."""

    def __init__(self, descriptor: int, parts: Sequence[_Part], *, is_compressed: bool) -> None:
        self._descriptor = descriptor
        self._parts = parts
        self.fragments = [part.size_bytes for part in parts] if is_compressed else []
        self.size_bytes = sum(part.size_bytes for part in parts)

    def pieces(self, fragment: int | None = None) -> Iterator[bytes]:
        for part in self._parts if fragment is None else [self._parts[fragment]]:
            position, end = part.start, part.start + part.size_bytes
            while position < end:
                piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - position), position)
                if not piece:
                    raise Retryable("A temporary file of the spool is shorter than it was.")
                yield piece
                position += len(piece)


class Source:
    """The bulk data of one object (:class:`~gateway.dicom.json_model.BulkSource`), and the encoding that its pixel data asks for."""

    def __init__(self, descriptor: int, parts: BulkParts, dataset: JsonObject) -> None:
        """Raises :class:`Rejected` when the encoding is not clear, or frames are missing."""
        self._descriptor = descriptor
        self._parts = parts
        element = dataset.get(f"{PIXEL_DATA:08X}")
        uri = element.get("BulkDataURI") if isinstance(element, dict) else None
        self._pixels = parts.pixels(uri) if isinstance(uri, str) else []
        self.transfer_syntax_uid = EXPLICIT_LITTLE
        if self._pixels:
            hints = (json_model.text_of(dataset, _TRANSFER_SYNTAX_UID), json_model.text_of(dataset, _AVAILABLE_SYNTAX))
            first = self._pixels[0]
            begin = os.pread(descriptor, min(first.size_bytes, _BEGIN_BYTES), first.start)
            self.transfer_syntax_uid = syntax_of(first.content_type, begin, hints)
        self._is_compressed = self.transfer_syntax_uid != EXPLICIT_LITTLE
        if self._is_compressed and not is_video(self.transfer_syntax_uid):
            _check_frames(dataset, len(self._pixels))

    def find(self, uri: str, *, is_image: bool) -> _Bulk | None:
        parts, is_compressed = (
            (self._pixels, self._is_compressed) if is_image and self._pixels else (self._parts.first(uri), False)
        )
        if not parts:
            return None
        self._parts.take(len(parts) * _FRAGMENT_BYTES)
        found = _Bulk(self._descriptor, parts, is_compressed=is_compressed)
        self._parts.take(found.size_bytes)
        return found


def _check_frames(dataset: JsonObject, parts: int) -> None:
    element = dataset.get("00280008")
    values = element.get("Value") if isinstance(element, dict) else None
    try:
        told = values[0] if isinstance(values, list) and values else None
        frames = 1 if told is None else json_model.whole_number(told)
    except (ValueError, TypeError, ArithmeticError):
        raise Rejected("NumberOfFrames is no number.", status=status.CANNOT_UNDERSTAND) from None
    if parts != frames:
        reason = f"Compressed pixel data of {frames} frame(s) came in {parts} part(s); each frame is a part of its own."
        raise Rejected(reason, status=status.CANNOT_UNDERSTAND)
