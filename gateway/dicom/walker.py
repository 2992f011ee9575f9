"""One strict, linear pass over an encoded data set: before any parser, and before anything is acknowledged.

A parser that forgives a wrong length hands on a shortened value without a word. So every length is checked here first:
each must fit into what holds it, and everything must end exactly where its length says (PS3.5 section 7). Values are
never decoded, pixel data is stepped over, never read. Caps on depth, on the number of elements and on inflated size
keep hostile objects cheap. All complaints are :class:`~gateway.errors.Rejected` with status 0xC000 (PS3.4 B.2.3, "cannot
understand"); they name elements, never values.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, NoReturn, TypeAlias

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag

from gateway.dicom.inflate import CANNOT_UNDERSTAND as CANNOT_UNDERSTAND
from gateway.dicom.inflate import Overflow, inflate
from gateway.dicom.layouts import Layouts
from gateway.errors import Rejected

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
#: GE's own syntax: big-endian pixels, all other elements implicit VR little endian.
GE_PRIVATE = "1.2.840.113619.5.2"

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = 0xFFFE
#: PS3.5 table 7.1-2: value representations with a 16-bit length ...
_SHORT_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
#: ... and table 7.1-1: those with two reserved bytes and a 32-bit length.
_LONG_NAMES = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
_SHORT = {vr.encode(): vr for vr in _SHORT_NAMES.split()}
_LONG = {vr.encode(): vr for vr in _LONG_NAMES.split()}
_SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
#: 0000 is for commands, 0002 for file headers (PS3.7, PS3.10); both sort before all that belongs into a data set.
_FOREIGN_GROUPS = (0x0000, 0x0002)
_BEFORE_DATA = 0x0003FFFF


class Element(NamedTuple):
    """Where one element's value lies in :attr:`Walk.buffer`.

    ``vr`` is empty where the encoding does not tell it (implicit VR), but ``SQ`` for everything that holds items.
    For an undefined length, ``length`` counts the content without the closing delimiter.
    """

    tag: int
    vr: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one object may cost us.

    A whole-body segmentation or a dynamic multi-frame PET honestly holds some 100,000 nested elements, so those have
    their own, higher cap. Inflated data may always reach ``inflate_always_bytes``; beyond that, ``inflate_ratio`` times
    what arrived, and never more than ``inflated_bytes``.
    """

    depth: int = 32
    elements: int = 100_000  #: at the top level
    nested_elements: int = 1_000_000
    inflated_bytes: int = 1 << 30
    inflate_always_bytes: int = 64 << 20
    inflate_ratio: int = 20

    def inflated_from(self, deflated_bytes: int) -> int:
        """How large a compressed object may become."""
        return min(self.inflated_bytes, max(self.inflate_always_bytes, self.inflate_ratio * deflated_bytes))


DEFAULT_LIMITS = Limits()


#: Sequences that proved sound: digest and encoding -> how many elements they hold. Holds no values.
_SOUND: dict[tuple[bytes, bool, bool, int], int] = {}
_SOUND_MOST = 4096
_REPEATS_MOST_BYTES = 8192
_LAYOUTS: Layouts[Element] = Layouts()


@dataclass(frozen=True, slots=True)
class Walk:
    """The top level of one data set whose lengths are all sound."""

    elements: dict[int, Element]
    buffer: Buffer  #: what the offsets count in: the data set as it came, or inflated
    transfer_syntax_uid: str
    is_implicit_vr: bool
    is_little_endian: bool

    def value(self, tag: int) -> bytes:
        """The value's bytes as received; empty when the element is absent or empty."""
        element = self.elements.get(tag)
        return b"" if element is None else bytes(self.buffer[element.offset : element.offset + element.length])

    def text(self, tag: int) -> str:
        """The value as ASCII without padding: for UIDs, code strings, dates. Not for names."""
        element = self.elements.get(tag)
        if element is None:
            return ""
        _, _, offset, length = element
        return str(self.buffer[offset : offset + length], "ascii", "replace").strip(" \0")


class _Encoding(NamedTuple):
    implicit: bool
    header: Struct  #: implicit: group, element, length; explicit: group, element, VR, short length
    long_length: Struct
    item: Struct


_IMPLICIT = _Encoding(True, Struct("<HHI"), Struct("<I"), Struct("<HHI"))
_EXPLICIT = _Encoding(False, Struct("<HH2sH"), Struct("<I"), Struct("<HHI"))
_EXPLICIT_BIG = _Encoding(False, Struct(">HH2sH"), Struct(">I"), Struct(">HHI"))


def walk(
    buffer: Buffer,
    transfer_syntax_uid: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: int = 0,
    overflow: Callable[[], Overflow] | None = None,
) -> Walk:
    """Check every length of the data set that fills ``buffer`` from ``start`` on; return its top level.

    Raises :class:`Rejected` (0xC000) with a sentence for people when anything does not fit. ``overflow`` makes the place for a compressed
    object that inflates beyond some megabytes; without one it is inflated in memory.
    """
    encoding = _encoding_of(transfer_syntax_uid)
    if transfer_syntax_uid == DEFLATED_LITTLE:
        with memoryview(buffer) as whole, whole[start:] as deflated:
            buffer, start = inflate(deflated, limits.inflated_from(len(deflated)), overflow), 0
    if isinstance(buffer, bytearray) and limits is DEFAULT_LIMITS and not start:  # an object in memory, as it came
        elements = _LAYOUTS.find(encoding.header.format, buffer)
        if elements is None:
            elements, is_in_order = _walked(buffer, start, encoding, limits)
            if is_in_order:  # else values were compared, and those of the next object may differ
                _LAYOUTS.learn(encoding.header.format, buffer, elements)
    else:
        elements, _ = _walked(buffer, start, encoding, limits)
    return Walk(elements, buffer, transfer_syntax_uid, encoding.implicit, encoding is not _EXPLICIT_BIG)


def _walked(buffer: Buffer, start: int, encoding: _Encoding, limits: Limits) -> tuple[dict[int, Element], bool]:
    """The top level, and whether each element stands behind all with lower tags, so that none stands there twice."""
    elements: dict[int, Element] = {}
    walker = _Walker(buffer, limits)
    if len(buffer) > start:
        walker.top(start, encoding, elements)
    return elements, walker.is_in_order


def name_of(tag: int) -> str:
    """The element's DICOM keyword, or its numbers when it has none."""
    keyword = keyword_for_tag(tag)
    kind = "private element " if tag >> 16 & 1 else "element "
    return keyword or f"{kind}({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _encoding_of(transfer_syntax_uid: str) -> _Encoding:
    if transfer_syntax_uid in (IMPLICIT_LITTLE, GE_PRIVATE):
        return _IMPLICIT
    # PS3.5 A.4: every encapsulated transfer syntax is explicit VR little endian.
    return _EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_BIG else _EXPLICIT


def _reject(reason: str) -> NoReturn:
    raise Rejected(reason, status=CANNOT_UNDERSTAND)


class _Walker:
    """The state of one pass: what is left of the caps."""

    __slots__ = ("buffer", "is_in_order", "limits", "nested_left", "size")

    def __init__(self, buffer: Buffer, limits: Limits) -> None:
        self.buffer = buffer
        self.limits = limits
        self.size = len(buffer)
        self.nested_left = limits.nested_elements
        self.is_in_order = True  #: of the top level

    def top(self, pos: int, encoding: _Encoding, elements: dict[int, Element]) -> None:
        """The data set itself: fill ``elements``. The hot loop: an ordinary element costs one pass through it."""
        buffer, end, unpack, implicit = self.buffer, self.size, encoding.header.unpack_from, encoding.implicit
        last, most, short, new = _BEFORE_DATA, self.limits.elements, _SHORT, tuple.__new__
        while pos < end:
            if pos + 8 > end:
                self._stray(pos, end)
            if implicit:
                group, number, length = unpack(buffer, pos)
                tag, start, vr = group << 16 | number, pos + 8, ""
                plain = length != _UNDEFINED and tag not in _SEQUENCES and group != _DELIMITERS
            else:
                group, number, raw_vr, length = unpack(buffer, pos)
                tag, start = group << 16 | number, pos + 8
                plain = raw_vr in short
                vr = short[raw_vr] if plain else ""
            if plain:
                pos = start + length
                if pos > end:
                    self._cut_short(tag, length, start, end)
            else:
                vr, start, length, pos = self._special(tag, pos, end, encoding, 0)
            if tag <= last:
                self._check_place(tag, Element(tag, vr, start, length), elements)
            elements[tag] = new(Element, (tag, vr, start, length))
            last = tag
            if len(elements) > most:
                _reject(f"The object has more than {most:,} elements; such objects are not accepted.")

    def _nested(self, pos: int, end: int, depth: int, encoding: _Encoding, delimited: bool) -> int:
        """One item's data set, of known length or up to its delimiter; returns the position behind it."""
        if depth > self.limits.depth:
            _reject(f"Sequences are nested more than {self.limits.depth} deep; such objects are not accepted.")
        buffer, short = self.buffer, _SHORT
        encoding = self._item_encoding(pos, end, encoding)
        unpack, implicit = encoding.header.unpack_from, encoding.implicit
        while pos < end:
            if pos + 8 > end:
                self._stray(pos, end)
            if implicit:
                group, number, length = unpack(buffer, pos)
                tag = group << 16 | number
                plain = length != _UNDEFINED and tag not in _SEQUENCES and group != _DELIMITERS
            else:
                group, number, raw_vr, length = unpack(buffer, pos)
                tag, plain = group << 16 | number, raw_vr in short
            if plain:
                start, pos = pos + 8, pos + 8 + length
                if pos > end:
                    self._cut_short(tag, length, start, end)
            elif tag == _ITEM_END and delimited:
                return pos + 8
            else:
                pos = self._special(tag, pos, end, encoding, depth)[3]
            self._count()
        if delimited:
            self._unclosed("An item of a sequence", end)
        return pos

    def _item_encoding(self, pos: int, end: int, encoding: _Encoding) -> _Encoding:
        """Implicit VR inside explicit VR: what was once UN (PS3.5 6.2.2) stays implicit under whatever VR it now has."""
        if encoding.implicit or encoding is _EXPLICIT_BIG or pos + 8 > end:
            return encoding
        first, second = bytes(self.buffer[pos + 4 : pos + 6])
        group = encoding.item.unpack_from(self.buffer, pos)[0]
        is_vr = 0x41 <= first <= 0x5A and 0x41 <= second <= 0x5A
        return encoding if is_vr or group == _DELIMITERS else _IMPLICIT

    def _special(self, tag: int, pos: int, end: int, encoding: _Encoding, depth: int) -> tuple[str, int, int, int]:
        """What is not an ordinary short element: VR, start, length of the content, and the position behind it."""
        if tag == 0 and not any(self.buffer[pos : pos + 8]):
            _reject("Zeros follow where an element was expected; padding outside an element is not allowed.")
        if tag >> 16 == _DELIMITERS:
            _reject("An item or delimiter stands where an element was expected; the object is damaged.")
        vr, start = "", pos + 8
        if encoding.implicit:
            length = encoding.item.unpack_from(self.buffer, pos)[2]
        else:
            vr, start = self._long_vr(tag, pos, end), pos + 12
            length = encoding.long_length.unpack_from(self.buffer, pos + 8)[0]
        stop = start + length
        if length != _UNDEFINED:
            if stop > end:
                self._cut_short(tag, length, start, end)
            if vr == "SQ" or (vr in ("", "UN") and tag in _SEQUENCES):
                vr = "SQ"
                self._sequence(tag, start, stop, depth, encoding)
            return vr, start, length, stop
        if vr in ("OB", "OW"):
            behind = self._fragments(tag, start, end, encoding)
        elif vr in ("", "SQ", "UN"):
            # PS3.5 6.2.2: UN of undefined length holds items in implicit VR little endian.
            behind = self._items(tag, start, end, depth, _IMPLICIT if vr == "UN" else encoding, delimited=True)
            vr = "SQ"
        else:
            _reject(f"The length of {name_of(tag)} is missing (undefined), which its type {vr} does not allow.")
        return vr, start, behind - 8 - start, behind

    def _sequence(self, tag: int, start: int, stop: int, depth: int, encoding: _Encoding) -> None:
        """A sequence of known length. The slices of a series repeat theirs byte for byte, so what proved sound is known again."""
        if depth or stop - start > _REPEATS_MOST_BYTES:
            self._items(tag, start, stop, depth, encoding, delimited=False)
            return
        digest = hashlib.blake2b(self.buffer[start:stop], digest_size=16).digest()
        key = (digest, encoding.implicit, encoding is _EXPLICIT_BIG, self.limits.depth)
        elements = _SOUND.get(key)
        if elements is not None:
            self._count(elements)
            return
        before = self.nested_left
        self._items(tag, start, stop, depth, encoding, delimited=False)
        if len(_SOUND) >= _SOUND_MOST:
            _SOUND.clear()
        _SOUND[key] = before - self.nested_left

    def _long_vr(self, tag: int, pos: int, end: int) -> str:
        if pos + 12 > end:
            self._stray(pos, end)
        raw = bytes(self.buffer[pos + 4 : pos + 6])
        vr = _LONG.get(raw)
        if vr is not None:
            return vr
        if raw.isalpha() and raw.isupper() and self.buffer[pos + 6] == self.buffer[pos + 7] == 0:
            return raw.decode("ascii")  # PS3.5 6.2, 7.1.2: a VR of the future has a 32-bit length
        _reject(f"{name_of(tag)} has no valid value type (VR); the object is damaged or not in its declared encoding.")

    def _items(self, tag: int, pos: int, end: int, depth: int, encoding: _Encoding, *, delimited: bool) -> int:
        """A sequence's items (PS3.5 7.5); returns the position behind the sequence and its delimiter."""
        while pos < end:
            if pos + 8 > end:
                self._stray(pos, end)
            group, number, length = encoding.item.unpack_from(self.buffer, pos)
            found, start = group << 16 | number, pos + 8
            self._count()
            if found == _ITEM and length == _UNDEFINED:
                pos = self._nested(start, end, depth + 1, encoding, delimited=True)
            elif found == _ITEM:
                pos = start + length
                if pos > end:
                    self._cut_short(tag, length, start, end)
                self._nested(start, pos, depth + 1, encoding, delimited=False)
            elif found == _SEQUENCE_END and delimited:
                return start
            else:
                _reject(f"{name_of(tag)} holds something that is not an item; the object is damaged.")
        if delimited:
            self._unclosed(name_of(tag), end)
        return pos

    def _fragments(self, tag: int, pos: int, end: int, encoding: _Encoding) -> int:
        """Encapsulated pixel data (PS3.5 A.4): the offset table and the fragments, each of known length."""
        while pos + 8 <= end:
            group, number, length = encoding.item.unpack_from(self.buffer, pos)
            found = group << 16 | number
            pos += 8
            if found == _SEQUENCE_END:
                return pos
            if found != _ITEM or length == _UNDEFINED:
                _reject(f"{name_of(tag)} holds something that is not a fragment; the object is damaged.")
            if pos + length > end:
                self._cut_short(tag, length, pos, end)
            pos += length
            self._count()
        self._unclosed(name_of(tag), end)

    def _count(self, elements: int = 1) -> None:
        self.nested_left -= elements
        if self.nested_left < 0:
            most = self.limits.nested_elements
            _reject(f"The object has more than {most:,} nested elements; such objects are not accepted.")

    def _check_place(self, tag: int, element: Element, elements: dict[int, Element]) -> None:
        """PS3.5 7.1: ascending order, each at most once. Disorder harms nobody; two values for one element do."""
        if tag >> 16 in _FOREIGN_GROUPS:
            _reject(f"{name_of(tag)} belongs to a command or a file header, not into the object itself.")
        self.is_in_order = False
        before = elements.get(tag)
        if before is not None and self._bytes(before) != self._bytes(element):
            _reject(f"{name_of(tag)} stands in the object twice, with different contents.")

    def _bytes(self, element: Element) -> bytes:
        return bytes(self.buffer[element.offset : element.offset + element.length])

    def _cut_short(self, tag: int, length: int, start: int, end: int) -> NoReturn:
        if end == self.size:
            _reject(
                f"The object ends in the middle of {name_of(tag)}: {end - start:,} of {length:,} bytes arrived; "
                "the transfer was cut short or the length is wrong."
            )
        _reject(f"The length of {name_of(tag)} ({length:,} bytes) is larger than the sequence item that holds it.")

    def _stray(self, pos: int, end: int) -> NoReturn:
        where = "after the last element of the object" if end == self.size else "at the end of a sequence item"
        _reject(f"{end - pos:,} stray bytes stand {where}; the object is damaged or was cut short.")

    def _unclosed(self, what: str, end: int) -> NoReturn:
        where = "The object" if end == self.size else "The sequence item around it"
        _reject(f"{what} is not closed. {where} ends too early; the transfer was cut short.")
