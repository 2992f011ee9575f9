"""The ``example`` and ``given`` of a mapping file -> a real DICOM file in memory, so that tests go through the same door as scanners.

Written as Part 10, Explicit VR Little Endian. Values are written as they stand, wrong ones too: that is what tests are for.
"""

from __future__ import annotations

import copy
import struct
from decimal import Decimal
from typing import Any

from pydicom._uid_dict import UID_dictionary

from gateway.dicom.paths import Path, Step, parse_path, vr_of
from gateway.dicom.reading import python_encodings
from gateway.mapping import sr_example
from gateway.model import Json, JsonObject

_LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "UV": "<Q", "SV": "<q", "FL": "<f", "FD": "<d"}
_KEYWORD_UIDS = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[4]}
_PRIVATE_BLOCK = 0x10


def merged(example: JsonObject, given: JsonObject) -> JsonObject:
    """The example with differences: keys are paths, ``null`` removes, one index past the end adds an item."""
    result = copy.deepcopy(example)
    for path, value in given.items():
        if sr_example.is_sr(path):
            sr_example.put(result, path, value)
        else:
            _put(result, _names(parse_path(path)), value)
    return result


def encode(tree: JsonObject) -> bytes:
    """A whole Part 10 file."""
    meta = _element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    length = _element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + length + meta + _dataset(sr_example.expanded(tree), "")


def _dataset(tree: JsonObject, charset: str) -> bytes:
    charset = str(tree.get("SpecificCharacterSet", charset))
    elements: dict[int, bytes] = {}
    for name, value in tree.items():
        step = parse_path(name).steps[0]
        tag = step.tag
        if step.creator is not None:
            creator = step.tag & 0xFFFF0000 | _PRIVATE_BLOCK
            elements[creator] = _element(creator, "LO", _padded(step.creator.encode()))
            tag = step.tag & 0xFFFF0000 | _PRIVATE_BLOCK << 8 | step.tag & 0xFF
        elements[tag] = _encoded(tag, step, value, charset)
    return b"".join(elements[tag] for tag in sorted(elements))


def _encoded(tag: int, step: Step, value: Json, charset: str) -> bytes:
    vr = vr_of(tag) if step.creator is None else "LO"
    if vr == "SQ":
        items = [_dataset(item, charset) for item in value or []]
        return _element(tag, vr, b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items))
    values = value if isinstance(value, list) else [value]
    if vr in _NUMBERS:
        convert = float if vr in ("FL", "FD") else int
        return _element(tag, vr, b"".join(struct.pack(_NUMBERS[vr], convert(one)) for one in values))
    text = "\\".join(_text(one, vr) for one in values)
    encoded = text.encode(python_encodings(charset.encode())[0], "replace")
    return _element(tag, vr, _padded(encoded, b"\0" if vr == "UI" else b" "))


def _text(value: Any, vr: str) -> str:
    if value is None:
        return ""
    if vr == "UI":
        return _KEYWORD_UIDS.get(str(value), str(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _padded(value: bytes, pad: bytes = b" ") -> bytes:
    return value + pad if len(value) % 2 else value


def _element(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    length = b"\0\0" + struct.pack("<I", len(value)) if vr in _LONG_VRS else struct.pack("<H", len(value))
    return head + length + value


def _names(path: Path) -> list[tuple[str, int | None]]:
    """The steps of a path as they were written, without their indexes."""
    names = []
    rest = path.text
    for step in path.steps:
        written = rest.partition("]")[0] + "]" if rest.startswith("(") else rest.partition(".")[0]
        rest = rest[len(written) :].removeprefix(".")
        name = written if written.startswith("(") else written.partition("[")[0]
        names.append((name, step.index))
    return names


def _put(tree: JsonObject, names: list[tuple[str, int | None]], value: Json) -> None:
    (name, index), rest = names[0], names[1:]
    if index is None:
        if value is None:
            tree.pop(name, None)
        else:
            tree[name] = value
        return
    items = tree.setdefault(name, [])
    if index == len(items):
        items.append({} if rest else value)
    elif not rest:
        items[index] = value
    if rest:
        _put(items[index], rest, value)
