"""Data sets that say everything but their values alike: what one walk found is true of the next.

A walk is decided by the bytes that it looks at, which are all but the values of ordinary elements, and by the size of the whole. The
slices of a series agree in these again and again: ten thousand slices have a handful of layouts. So a data set that equals
a known sound one in every one of those bytes needs no walk of its own; comparing them takes a twentieth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Generic, TypeVar

#: Beyond these a layout is not worth its memory. Together they bound what all layouts take to some megabytes.
_ELEMENTS_MOST = 512
_LOOKED_AT_MOST_BYTES = 16 << 10
_LAYOUTS_MOST = 64
_ALIKE_MOST = 4
_SEEN_MOST = 4096
_UNDEFINED = b"\xff\xff\xff\xff"

#: An element: tag, VR, offset and length of its value.
_E = TypeVar("_E", bound=tuple[int, str, int, int])
#: Encoding and size of a data set.
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Layout(Generic[_E]):
    looked_at: Struct  #: takes out of a data set what a walk looks at
    bytes_there: tuple[bytes, ...]
    elements: Mapping[int, _E]


class Layouts(Generic[_E]):
    """The layouts seen lately. Never wrong, only forgetful; may be used from several threads."""

    def __init__(self) -> None:
        self._known: dict[_Key, list[_Layout[_E]]] = {}
        self._seen: set[_Key] = set()
        self._count = 0

    def find(self, encoding: str, data: bytes | bytearray) -> dict[int, _E] | None:
        """The top level of ``data``, if a sound data set with the same layout was learnt."""
        for layout in self._known.get((encoding, len(data)), ()):
            if layout.looked_at.unpack_from(data) == layout.bytes_there:
                return dict(layout.elements)
        return None

    def learn(self, encoding: str, data: bytes | bytearray, elements: Mapping[int, _E]) -> None:
        """Remember the layout of a sound data set, as soon as the second one of its size comes."""
        key = encoding, len(data)
        if key not in self._seen:
            if len(self._seen) >= _SEEN_MOST:
                self._seen.clear()
            self._seen.add(key)
            return
        layout = _layout(data, elements)
        if layout is None or len(self._known.get(key, ())) >= _ALIKE_MOST:
            return
        if self._count >= _LAYOUTS_MOST:
            self._known.clear()
            self._count = 0
        self._known.setdefault(key, []).append(layout)
        self._count += 1


def _layout(data: bytes | bytearray, elements: Mapping[int, _E]) -> _Layout[_E] | None:
    """None for what is too large to remember, out of order, or holds fragments, whose own headers a walk looks at."""
    if len(elements) > _ELEMENTS_MOST:
        return None
    fields: list[str] = []
    since = looked_at_bytes = 0  # ``since``: from here on a walk looks at every byte
    for _, vr, offset, length in elements.values():
        if offset < since + 8:
            return None
        if vr == "SQ":
            continue  # its items are looked at too
        if offset - since >= 12 and data[offset - 4 : offset] == _UNDEFINED:
            return None
        fields.append(f"{offset - since}s{length}x")
        looked_at_bytes += offset - since
        since = offset + length
    fields.append(f"{len(data) - since}s")
    if looked_at_bytes + len(data) - since > _LOOKED_AT_MOST_BYTES:
        return None
    looked_at = Struct("".join(fields))
    return _Layout(looked_at, looked_at.unpack_from(data), dict(elements))
