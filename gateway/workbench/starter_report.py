"""The ``example`` of a starter for structured reports: what the base's example tells of, as this report codes and counts it.

Numbers with their units and codes are taken from the report; UIDs, times, names and free text stay the base's invention. An item that
the report has not is left out.
"""

from __future__ import annotations

from typing import Any

from gateway.dicom.items import Item, Root
from gateway.dicom.paths import parse_path
from gateway.dicom.values import Invalid
from gateway.mapping.language import Mapping
from gateway.mapping.sr_example import SR
from gateway.model import JsonObject

_CONTENT = 0x0040A730
_NAME = tuple(map(parse_path, ("ConceptNameCodeSequence[0].CodeValue", "ConceptNameCodeSequence[0].CodingSchemeDesignator")))
_NUMBER = parse_path("MeasuredValueSequence[0].NumericValue")
_UNIT = parse_path("MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue")
_CODE = tuple(
    parse_path(f"ConceptCodeSequence[0].{keyword}") for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
)


def report_example(root: Root, base: Mapping) -> JsonObject:
    """``{sr: ...}`` for a report, nothing for what is none or is damaged."""
    tree = base.example.get(SR)
    if not isinstance(tree, dict):
        return {}
    try:
        return {SR: _taken(tree, root, base)}
    except Invalid:
        return {}


def _taken(tree: JsonObject, place: Root | Item, base: Mapping) -> JsonObject:
    found: JsonObject = {}
    children = place.opened(_CONTENT)
    for name, short in tree.items():
        words, _, number = name.partition(" #")
        code, scheme = words.split()
        names = base.codes.schemes.equals(scheme, code)
        same = [child for child in children if (_text(child, _NAME[1]), _text(child, _NAME[0])) in names]
        which = int(number) - 1 if number.isdigit() else 0
        if which < len(same):
            found[name] = _said(short, same[which])
            if "items" in short:
                found[name]["items"] = _taken(short["items"], same[which], base)
    return found


def _said(short: JsonObject, item: Item) -> dict[str, Any]:
    """The short form with the item's own number or code."""
    said = dict(short)
    number, unit = _text(item, _NUMBER), _text(item, _UNIT)
    code, scheme, meaning = (_text(item, path) for path in _CODE)
    if "num" in short and number:
        said |= {"num": number, "unit": unit or short.get("unit", "1")}
    if "code" in short and code and scheme:
        said |= {"code": f"{code} {scheme}", "meaning": meaning}
    return said


def _text(item: Item, path: Any) -> str:
    found = item.find(path)
    return found.text.strip() if found else ""
