"""Structured reports in the ``example`` and ``given`` of a mapping file: short forms -> DICOM content items.

::

    example:
      sr:
        113502 DCM:                                        # a container
          items:
            113507 DCM: {num: "350", unit: MBq}
            349358000 SCT: {code: 35321007 SCT, meaning: FDG, items: {...}}
    given:
      sr/113502 DCM/113507 DCM: {unit: mCi}                # changes one word; null removes the item

A second item with the same concept name is written with a number behind it: ``113502 DCM #2``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from gateway.model import JsonObject

SR = "sr"
#: Short form -> value type and the attribute that holds the value (PS3.3 table C.17.3-1).
_PLAIN = {
    "text": ("TEXT", "TextValue"),
    "uid": ("UIDREF", "UID"),
    "datetime": ("DATETIME", "DateTime"),
    "name": ("PNAME", "PersonName"),
}
_KEYS = frozenset([*_PLAIN, "num", "unit", "code", "meaning", "items", "attributes"])


def is_sr(path: str) -> bool:
    """True for the keys of ``example`` and ``given`` that this module reads."""
    return path == SR or path.startswith(f"{SR}/")


def put(tree: JsonObject, path: str, value: Any) -> None:
    """Apply one difference: an item is changed word by word, added when it is new, removed by ``None``."""
    if path == SR:
        tree[SR] = copy.deepcopy(value or {})
        return
    *parents, last = path.split("/")[1:]
    items = tree.setdefault(SR, {})
    for name in parents:
        items = items.setdefault(name, {}).setdefault("items", {})
    if value is None:
        items.pop(last, None)
    else:
        items[last] = {**items.get(last, {}), **copy.deepcopy(value)}


def expanded(tree: JsonObject) -> JsonObject:
    """The tree with its short form written out as a Content Sequence."""
    if SR not in tree:
        return tree
    plain = {name: value for name, value in tree.items() if name != SR}
    return {**plain, "ValueType": "CONTAINER", "ContentSequence": [_item(*pair) for pair in tree[SR].items()]}


def problems(value: Any) -> Iterable[str]:
    """What is wrong with a mapping of short forms."""
    if not isinstance(value, dict):
        yield "content items are given as a mapping of concept names"
        return
    for name, short in value.items():
        yield from item_problems(name, short)


def item_problems(name: str, short: Any) -> Iterable[str]:
    """What is wrong with one short form; a part of one is allowed."""
    if len(name.partition(" #")[0].split()) != 2:
        yield f"'{name}' is not a concept name: write code and scheme, as in 113507 DCM"
    if not isinstance(short, dict):
        yield f"'{name}' is a mapping such as {{num: ..., unit: ...}}"
        return
    yield from (f"unknown key '{key}'" for key in short if key not in _KEYS)
    if "code" in short and len(str(short["code"]).split()) != 2:
        yield f"'{short['code']}' is not a code: write code and scheme, as in 35321007 SCT"
    yield from problems(short.get("items", {}))


def _item(name: str, short: JsonObject) -> JsonObject:
    concept = _coded(name.partition(" #")[0], "")
    item: JsonObject = {"RelationshipType": "CONTAINS", "ConceptNameCodeSequence": [concept], **_value(short)}
    if short.get("items"):
        item["ContentSequence"] = [_item(*pair) for pair in short["items"].items()]
    return {**item, **short.get("attributes", {})}


def _value(short: JsonObject) -> JsonObject:
    for key, (value_type, keyword) in _PLAIN.items():
        if key in short:
            return {"ValueType": value_type, keyword: short[key]}
    if "num" in short:
        unit = _coded(f"{short.get('unit', '1')} UCUM", "")
        return {
            "ValueType": "NUM",
            "MeasuredValueSequence": [{"NumericValue": short["num"], "MeasurementUnitsCodeSequence": [unit]}],
        }
    if "code" in short:
        return {"ValueType": "CODE", "ConceptCodeSequence": [_coded(str(short["code"]), str(short.get("meaning", "")))]}
    return {"ValueType": "CONTAINER"}


def _coded(words: str, meaning: str) -> JsonObject:
    code, scheme = words.split()
    return {"CodeValue": code, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning or code}
