"""The items of an encoded sequence, found without decoding what stands in them: for reading a few elements out of many items.

Works on what the strict walker found sound (:mod:`gateway.dicom.walker`), in every uncompressed encoding (PS3.5 section 7.5). Lengths are
trusted for that reason alone; what contradicts itself all the same raises :class:`ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = 0xFFFE
#: PS3.5 table 7.1-2: VRs with a 16-bit length in explicit encodings.
_SHORT_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
_SHORT = {vr.encode(): vr for vr in _SHORT_NAMES.split()}
_LITTLE, _BIG = Struct("<HHI").unpack_from, Struct(">HHI").unpack_from
_LONG_LITTLE, _LONG_BIG = Struct("<I").unpack_from, Struct(">I").unpack_from
_SHORT_LITTLE, _SHORT_BIG = Struct("<H").unpack_from, Struct(">H").unpack_from

#: To step over an element costs a small part of what it costs to read one: so many count as one step.
_STEPPED_OVER = 16
#: Told how many steps were taken; raises when it is enough.
Spend = Callable[[int], None]


#: One element: VR as written (empty where the encoding does not tell, ``SQ`` for what holds items), begin and end of its content, and
#: whether that is implicit VR. A plain tuple: there are very many, and the garbage collector need not look at them.
RawElement: TypeAlias = tuple[str, int, int, bool]


class RawItem:
    """One item: its elements by tag, still encoded."""

    __slots__ = ("_buffer", "elements", "little")

    def __init__(self, buffer: bytes, elements: dict[int, RawElement], little: bool) -> None:
        self._buffer = buffer
        self.elements = elements
        self.little = little

    def value(self, tag: int) -> bytes:
        """The bytes of an element; empty when it is absent."""
        found = self.elements.get(tag)
        return self._buffer[found[1] : found[2]] if found is not None else b""

    def items(self, tag: int, spend: Spend) -> list[RawItem]:
        """The items of a sequence in this item. Raises :class:`ValueError`."""
        _, start, stop, implicit = self.elements[tag]
        return _items(self._buffer, start, stop, implicit, self.little, spend)


def read_items(value: bytes, *, implicit: bool, little: bool, spend: Spend) -> list[RawItem]:
    """The items of a sequence whose content is ``value``. Raises :class:`ValueError`."""
    return _items(value, 0, len(value), implicit, little, spend)


def _items(buffer: bytes, pos: int, end: int, implicit: bool, little: bool, spend: Spend) -> list[RawItem]:
    found: list[RawItem] = []
    unpack = _LITTLE if little else _BIG
    while pos + 8 <= end:
        group, number, length = unpack(buffer, pos)
        tag, pos = group << 16 | number, pos + 8
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            raise ValueError("no item where one belongs")
        delimited = length == _UNDEFINED
        stop = end if delimited else pos + length
        if stop > end:
            raise ValueError("an item is longer than its sequence")
        elements: dict[int, RawElement] = {}
        behind = _elements(buffer, pos, stop, implicit, little, spend, elements)
        pos = behind if delimited else stop
        found.append(RawItem(buffer, elements, little))
    return found


def _elements(
    buffer: bytes, pos: int, end: int, implicit: bool, little: bool, spend: Spend, elements: dict[int, RawElement] | None
) -> int:
    """The elements of one item, up to its end or its delimiter; gives the position behind it."""
    implicit = implicit or _is_implicit(buffer, pos, end, little)
    unpack = _LITTLE if little else _BIG
    unpack_short = _SHORT_LITTLE if little else _SHORT_BIG
    unpack_long = _LONG_LITTLE if little else _LONG_BIG
    count = 0
    while pos + 8 <= end:
        group, number, length = unpack(buffer, pos)
        tag, start, vr = group << 16 | number, pos + 8, ""
        count += 1
        if tag == _ITEM_END:
            pos = start
            break
        if not implicit:
            raw_vr = buffer[pos + 4 : pos + 6]
            if raw_vr in _SHORT:
                vr, length = _SHORT[raw_vr], unpack_short(buffer, pos + 6)[0]
            else:
                vr, start = raw_vr.decode("ascii"), pos + 12
                length = unpack_long(buffer, pos + 8)[0]
        stop = pos = start + length
        inner = implicit
        if length == _UNDEFINED:
            # PS3.5 6.2.2: UN of undefined length holds items in implicit VR little endian.
            inner, vr = implicit or vr == "UN", "SQ"
            stop, pos = _skip(buffer, start, end, inner, little, spend)
        if pos > end:
            raise ValueError("an element is longer than its item")
        if elements is not None:
            elements[tag] = (vr, start, stop, inner)
    spend(1 + count // _STEPPED_OVER)
    return pos


def _skip(buffer: bytes, pos: int, end: int, implicit: bool, little: bool, spend: Spend) -> tuple[int, int]:
    """Where a sequence of undefined length ends: its content, and its delimiter."""
    unpack = _LITTLE if little else _BIG
    while pos + 8 <= end:
        group, number, length = unpack(buffer, pos)
        tag, start = group << 16 | number, pos + 8
        if tag == _SEQUENCE_END:
            return pos, start
        if tag != _ITEM:
            break
        pos = _elements(buffer, start, end, implicit, little, spend, None) if length == _UNDEFINED else start + length
    raise ValueError("a sequence does not end")


def _is_implicit(buffer: bytes, pos: int, end: int, little: bool) -> bool:
    """Implicit VR inside explicit VR, as the walker understands it: no VR where one belongs."""
    if not little or pos + 8 > end:
        return False
    first, second = buffer[pos + 4], buffer[pos + 5]
    group = _SHORT_LITTLE(buffer, pos)[0]
    return not (0x41 <= first <= 0x5A and 0x41 <= second <= 0x5A) and group != _DELIMITERS
