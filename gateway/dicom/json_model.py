"""From the DICOM JSON Model (PS3.18 annex F) to an encoded data set: explicit VR little endian (PS3.5 A.2), written piece by piece.

Text leaves as UTF-8, whatever (0008,0005) said. Bulk data is fetched where it is needed and never held: see :class:`Bulk`. What the model
does not allow is :class:`~gateway.errors.Rejected` (0xC000); the reason names elements, never values. The walker proves the result.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from decimal import Decimal
from struct import Struct
from typing import NoReturn, Protocol

from gateway.dicom.walker import CANNOT_UNDERSTAND, name_of
from gateway.errors import Rejected
from gateway.model import Json, JsonObject

PIXEL_DATA = 0x7FE00010
_CHARACTER_SET = 0x00080005
_DEPTH_MOST = 32
_KEY = re.compile(r"[0-9A-Fa-f]{8}")
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_ITEM = Struct("<HHI")
_LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_TEXTS = frozenset(["AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
_ONE_TEXT = frozenset(["LT", "ST", "UR", "UT"])
_NUMBERS = {"FL": "f", "FD": "d", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BYTES = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
#: PS3.5 table 6.2-1.
_DS_MOST = 16
#: A value with a 16-bit length.
_SHORT_MOST = 0xFFFE
_UNDEFINED = 0xFFFFFFFF
#: Bulk data inside sequences waits in memory, all that one object has: icons, waveforms' small companions.
_NESTED_MOST_BYTES = 8 << 20


class Bulk(Protocol):
    """A value that stands elsewhere."""

    @property
    def fragments(self) -> list[int]:
        """The sizes of the compressed frames; empty for a plain value."""

    @property
    def size_bytes(self) -> int:
        """Of the whole."""

    def pieces(self, fragment: int | None = None) -> Iterator[bytes]:
        """The bytes of one fragment, or of all."""


class BulkSource(Protocol):
    """Finds bulk data by its BulkDataURI."""

    def find(self, uri: str, *, is_image: bool) -> Bulk | None:
        """None: it did not come. ``is_image``: the pixel data of the object itself, not of an icon within it."""


def encode(dataset: JsonObject, bulk: BulkSource) -> Iterator[bytes]:
    """The data set, in pieces. Raises :class:`Rejected` (0xC000)."""
    writer = _Writer(bulk)
    elements = _elements(dataset)
    elements[_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    for tag in sorted(elements):
        if tag >> 16 > 0x0002:
            yield from writer.element(tag, elements[tag], 0)


def text_of(dataset: JsonObject, key: str) -> str:
    """The first value of an element that holds text, or nothing."""
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _elements(dataset: Json) -> dict[int, Json]:
    if not isinstance(dataset, dict):
        _reject("A data set in JSON is an object of elements.")
    if not all(_KEY.fullmatch(key) for key in dataset):
        _reject("An element in JSON is named by eight hexadecimal digits.")
    return {int(key, 16): value for key, value in dataset.items()}


class _Writer:
    def __init__(self, bulk: BulkSource) -> None:
        self._bulk = bulk
        self._nested_bytes = 0  #: of bulk data inside sequences so far

    def element(self, tag: int, element: Json, depth: int) -> Iterator[bytes]:
        vr = element.get("vr") if isinstance(element, dict) else None
        if not isinstance(vr, str) or vr not in _KNOWN:
            _reject(f"{name_of(tag)} has no valid vr.")
        uri = element.get("BulkDataURI")
        if uri is not None:
            yield from self._from_bulk(tag, vr, uri, depth)
        elif vr == "SQ":
            items = b"".join(self._item(tag, item, depth) for item in _list(tag, element))
            yield _headed(tag, vr, items)
        else:
            yield _headed(tag, vr, _plain(tag, vr, element))

    def _item(self, tag: int, item: Json, depth: int) -> bytes:
        if depth >= _DEPTH_MOST:
            _reject(f"{name_of(tag)} is nested more than {_DEPTH_MOST} deep; such objects are not accepted.")
        elements = _elements(item or {})
        elements.pop(_CHARACTER_SET, None)
        body = b"".join(piece for inner in sorted(elements) for piece in self.element(inner, elements[inner], depth + 1))
        return _ITEM.pack(0xFFFE, 0xE000, len(body)) + body

    def _from_bulk(self, tag: int, vr: str, uri: Json, depth: int) -> Iterator[bytes]:
        is_image = tag == PIXEL_DATA and not depth
        found = self._bulk.find(uri, is_image=is_image) if isinstance(uri, str) and vr != "SQ" else None
        if found is None:
            _reject(f"The bulk data of {name_of(tag)} did not come with the message.")
        if found.fragments:
            yield from _encapsulated(tag, found)
            return
        self._nested_bytes += found.size_bytes if depth else 0
        if self._nested_bytes > _NESTED_MOST_BYTES:
            _reject(f"The bulk data inside sequences, as of {name_of(tag)}, is more than {_NESTED_MOST_BYTES >> 20} MiB.")
        padding = found.size_bytes % 2
        yield _header(tag, vr, found.size_bytes + padding)
        yield from found.pieces()
        yield b"\0" * padding if vr in _BYTES or vr == "UI" else b" " * padding


_KNOWN = _LONG_VRS | _TEXTS | _NUMBERS.keys() | {"AT", "DS", "IS", "PN", "SQ"}


def _encapsulated(tag: int, found: Bulk) -> Iterator[bytes]:
    """PS3.5 A.4: an empty offset table, one fragment for each frame."""
    yield _LONG.pack(tag >> 16, tag & 0xFFFF, b"OB", 0, _UNDEFINED) + _ITEM.pack(0xFFFE, 0xE000, 0)
    for number, size in enumerate(found.fragments):
        padding = size % 2
        yield _ITEM.pack(0xFFFE, 0xE000, size + padding)
        yield from found.pieces(number)
        yield b"\0" * padding
    yield _ITEM.pack(0xFFFE, 0xE0DD, 0)


def _plain(tag: int, vr: str, element: JsonObject) -> bytes:
    """A value that stands in the JSON itself, padded to an even length."""
    try:
        if vr in _BYTES:
            value = base64.b64decode(element.get("InlineBinary", ""), validate=True)
            return value + b"\0" * (len(value) % 2)
        values = _list(tag, element)
        if vr in _NUMBERS:
            whole = vr not in ("FL", "FD")
            numbers = [whole_number(given) if whole else float(given) for given in values if given is not None]
            return struct.pack(f"<{len(numbers)}{_NUMBERS[vr]}", *numbers)
        if vr == "AT":
            return b"".join(Struct("<HH").pack(int(text[:4], 16), int(text[4:], 16)) for text in values)
        texts = [_text(vr, given) for given in values]
    except (ValueError, TypeError, AttributeError, ArithmeticError, struct.error, binascii.Error):
        _reject(f"The value of {name_of(tag)} is not one of its type {vr}.")
    if len(texts) > 1 and vr in _ONE_TEXT:
        _reject(f"{name_of(tag)} may have one value only.")
    encoded = "\\".join(texts).encode("utf-8", "replace")
    return encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)


def _text(vr: str, given: Json) -> str:
    if given is None:
        return ""
    if vr == "PN":
        return "=".join(given.get(group) or "" for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    if vr == "IS":
        return given if isinstance(given, str) else str(whole_number(given))
    if vr == "DS":
        return given if isinstance(given, str) else _decimal(given)
    if not isinstance(given, str):
        raise TypeError("a text is expected")
    return given


def whole_number(given: Json) -> int:
    """A number or a text as an integer. Raises ``ValueError``, ``TypeError`` or ``ArithmeticError``."""
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal | str):
        raise TypeError("a whole number is expected")
    number = Decimal(given)
    # No integer of DICOM has more than 20 digits; one with a huge exponent would take hours and all memory.
    if not number.is_finite() or number.adjusted() > 20 or number != int(number):
        raise ValueError("a whole number is expected")
    return int(number)


def _decimal(given: Json) -> str:
    """A number as a decimal string: its own digits, fewer only where they do not fit."""
    if isinstance(given, bool) or not isinstance(given, int | float | Decimal):
        raise TypeError("a number is expected")
    text = str(given)
    digits = _DS_MOST
    while len(text) > _DS_MOST:
        digits -= 1
        text = f"{Decimal(given):.{digits}g}"
    return text


def _list(tag: int, element: JsonObject) -> list[Json]:
    values = element.get("Value", [])
    if not isinstance(values, list):
        _reject(f"The Value of {name_of(tag)} is not a list.")
    return values


def _headed(tag: int, vr: str, value: bytes) -> bytes:
    return _header(tag, vr, len(value)) + value


def _header(tag: int, vr: str, length: int) -> bytes:
    if length >= _UNDEFINED or (vr not in _LONG_VRS and length > _SHORT_MOST):
        _reject(f"The value of {name_of(tag)} is too long for its type {vr}.")
    group, number = tag >> 16, tag & 0xFFFF
    if vr in _LONG_VRS:
        return _LONG.pack(group, number, vr.encode(), 0, length)
    return _SHORT.pack(group, number, vr.encode(), length)


def _reject(reason: str) -> NoReturn:
    raise Rejected(reason, status=CANNOT_UNDERSTAND)
