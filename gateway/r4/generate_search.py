"""Picks the official search parameters of the types we know and proves that each can be compiled. Used by the generator only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.r4.definitions import Elements
from gateway.r4.expression import branches, compile_expression

#: (type, code) of parameters left out, each for a reason.
LEFT_OUT = {
    ("Bundle", "composition"): "its value is the first entry itself, not a reference",
    ("Bundle", "message"): "its value is the first entry itself, not a reference",
    ("Location", "near"): "needs geography",
}

_INDEXABLE = {
    "token": "Coding CodeableConcept Identifier ContactPoint boolean code id string uri canonical oid",
    "reference": "Reference canonical uri",
    "string": "string markdown HumanName Address",
    "date": "date dateTime instant Period Timing",
    "number": "integer decimal positiveInt unsignedInt",
    "quantity": "Quantity Age Duration Count Distance Money Range SampledData",
    "uri": "uri url canonical oid",
}
#: Which FHIR types each search type can be indexed from (R4 search.html, "Search Parameter Types").
INDEXABLE: Mapping[str, frozenset[str]] = {name: frozenset(kinds.split()) for name, kinds in _INDEXABLE.items()}

#: Choices that a parameter passes over, because the search type has no meaning for them (a date search on an age).
PASSED_OVER: Mapping[str, frozenset[str]] = {
    "date": frozenset({"Age", "Range", "string"}),
    "token": frozenset({"Reference", "Quantity", "Range"}),
    "string": frozenset({"boolean"}),
}


def build_search(
    parameters: Iterable[Mapping[str, Any]], resources: Sequence[str], elements: Elements
) -> dict[str, list[dict[str, Any]]]:
    """Type -> its parameters, sorted by code; ``Resource`` holds those of every type."""
    official = list(parameters)
    by_url = {item["url"]: item["code"] for item in official}
    found: dict[str, list[dict[str, Any]]] = {}
    for base in ("Resource", *sorted(resources)):
        entries = [
            _entry(item, base, by_url)
            for item in official
            if base in item["base"] and "expression" in item and (base, item["code"]) not in LEFT_OUT
        ]
        for entry in entries:
            _prove(entry, base, elements)
        found[base] = sorted(entries, key=lambda entry: str(entry["code"]))
    return found


def _entry(item: Mapping[str, Any], base: str, by_url: Mapping[str, str]) -> dict[str, Any]:
    own = [branch for branch in branches(item["expression"]) if re.match(rf"\(?{base}\b", branch)]
    entry: dict[str, Any] = {"code": item["code"], "type": item["type"], "expression": " | ".join(own)}
    if targets := item.get("target"):
        entry["targets"] = sorted(targets)
    if components := item.get("component"):
        entry["components"] = [[by_url[part["definition"]], part["expression"]] for part in components]
    return entry


def _prove(entry: Mapping[str, Any], base: str, elements: Elements) -> None:
    if entry["type"] == "composite":
        return
    root = "Patient" if base == "Resource" else base
    extractors = compile_expression(entry["expression"], root=root, elements=elements)
    kinds = {extractor.kind for extractor in extractors}
    unknown = kinds - INDEXABLE[entry["type"]] - PASSED_OVER.get(entry["type"], frozenset())
    if unknown or not kinds & INDEXABLE[entry["type"]]:
        raise SystemExit(f"{base}.{entry['code']}: a {entry['type']} cannot be read from {sorted(unknown) or 'nothing'}")
