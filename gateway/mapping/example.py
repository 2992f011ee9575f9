"""The ``example`` and ``given`` of a mapping file -> a real DICOM file in memory, so that tests go through the same door as scanners.

Written as Part 10, Explicit VR Little Endian. Values are written as they stand, wrong ones too: that is what tests are for. Besides
elements there are ``arrival: {calling_ae, called_ae, received_at, door}``, how the object came, and ``meta: {Keyword: value}``, its
file header; both are changed word by word. Each private creator gets a block of its own, in the order in which they are written.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import tag_for_keyword

from gateway.dicom.paths import ALL, TEXT_VRS, Path, Step, parse_path, private_vr, vr_of
from gateway.dicom.reading import Header, header_of, python_encodings
from gateway.mapping import sr_example
from gateway.mapping.complaints import did_you_mean
from gateway.mapping.sources import ARRIVAL as ARRIVAL_FACTS
from gateway.model import Came, Json, JsonObject

_LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "UV": "<Q", "SV": "<q", "FL": "<f", "FD": "<d"}
_KEYWORD_UIDS = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[4]}
_PRIVATE_BLOCK = 0x10
#: What stands beside the elements.
ARRIVAL, META = "arrival", "meta"
WORDS = (ARRIVAL, META)
_META_GROUP = 0x0002


def merged(example: JsonObject, given: JsonObject) -> JsonObject:
    """The example with differences: keys are paths, ``null`` removes, one index past the end adds an item."""
    result = copy.deepcopy(example)
    for path, value in given.items():
        if path in WORDS:
            changed = {**result.get(path, {}), **(value or {})}
            result[path] = {name: one for name, one in changed.items() if one is not None} if value is not None else {}
        elif sr_example.is_sr(path):
            sr_example.put(result, path, value)
        else:
            _put(result, _names(parse_path(path)), value)
    return result


def opened(tree: JsonObject) -> Header:
    """The example as the gateway has it in hand: an opened file, and what the ledger knows of its arrival."""
    header = header_of(encode(tree))
    arrival = tree.get(ARRIVAL, {})
    told = {name: str(arrival.get(name, "")) for name in ("received_at", "door")}
    header.came = Came(calling_ae=header.came.calling_ae, called_ae=header.came.called_ae, **told)
    return header


def encode(tree: JsonObject) -> bytes:
    """A whole Part 10 file."""
    arrival = tree.get(ARRIVAL, {})
    titles = {
        "SourceApplicationEntityTitle": arrival.get("calling_ae"),
        "SendingApplicationEntityTitle": arrival.get("calling_ae"),
        "ReceivingApplicationEntityTitle": arrival.get("called_ae"),
    }
    meta_tree = {name: title for name, title in titles.items() if title} | tree.get(META, {})
    meta = _dataset({"TransferSyntaxUID": "1.2.840.10008.1.2.1", **meta_tree}, "")
    length = _element(0x00020000, "UL", struct.pack("<I", len(meta)))
    elements = {name: value for name, value in tree.items() if name not in WORDS}
    return b"\0" * 128 + b"DICM" + length + meta + _dataset(sr_example.expanded(elements), "")


def _dataset(tree: JsonObject, charset: str) -> bytes:
    charset = str(tree.get("SpecificCharacterSet", charset))
    elements: dict[int, bytes] = {}
    blocks: dict[tuple[int, str], int] = {}
    for name, value in tree.items():
        step = parse_path(name).steps[0]
        tag = step.tag
        if step.creator is not None:
            group = step.tag & 0xFFFF0000
            block = blocks.setdefault((group, step.creator), _PRIVATE_BLOCK + sum(other == group for other, _ in blocks))
            elements[group | block] = _element(group | block, "LO", _padded(step.creator.encode()))
            tag = group | block << 8 | step.tag & 0xFF
        elements[tag] = _encoded(tag, step, value, charset)
    return b"".join(elements[tag] for tag in sorted(elements))


def _encoded(tag: int, step: Step, value: Json, charset: str) -> bytes:
    vr = vr_of(tag) if step.creator is None else _private_vr(tag, step.creator, value)
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


def _private_vr(tag: int, creator: str, value: Json) -> str:
    """What pydicom knows of the element, if that can be written; else a sequence for items, text for anything else."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "SQ"
    vr = private_vr(tag, creator)
    return vr if vr in _NUMBERS or vr in TEXT_VRS else "LO"


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
    if index == ALL:
        for place, item in enumerate(items):
            if rest:
                _put(item, rest, value)
            else:
                items[place] = value
        return
    if index == len(items):
        items.append({} if rest else value)
    elif not rest:
        items[index] = value
    if rest:
        _put(items[index], rest, value)


def word_problems(word: str, value: Any) -> Iterable[str]:
    """What is wrong with ``arrival`` or ``meta`` in an example."""
    if not isinstance(value, dict):
        yield f"'{word}' is a mapping of words"
        return
    for name in value:
        if word == ARRIVAL and name not in ARRIVAL_FACTS:
            yield f"'{name}' is none of {', '.join(ARRIVAL_FACTS)}{did_you_mean(name, ARRIVAL_FACTS)}"
        elif word == META and (tag_for_keyword(name) or 0) >> 16 != _META_GROUP:
            yield f"'{name}' is not an element of the file header (group 0002)"
