"""Shows part of a resource: ``_summary`` and ``_elements`` (R4 search.html#summary). Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import Element

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}

_ALWAYS = frozenset({"resourceType", "id", "meta"})

Keep = Callable[[Element], bool]


def shaped(resource: JsonObject, summary: str | None, elements: Collection[str]) -> JsonObject:
    """The part asked for, tagged as a part. With neither ``summary`` nor ``elements`` the resource itself."""
    kind = resource["resourceType"]
    if elements:
        return _tagged(_top(resource, kind, lambda element: element.name.removesuffix("[x]") in elements))
    if summary == "true":
        return _tagged(_nested(resource, kind))
    if summary == "text":
        return _tagged(_top(resource, kind, lambda element: element.name == "text"))
    if summary == "data":
        return _tagged({key: value for key, value in resource.items() if key != "text"})
    return resource


def _top(resource: JsonObject, kind: str, keep: Keep) -> JsonObject:
    """What is asked for and, so that the rest stays valid, what is mandatory."""
    names = _names(kind, lambda element: element.minimum > 0 or keep(element))
    return {key: value for key, value in resource.items() if key in _ALWAYS or key.removeprefix("_") in names}


def _nested(node: JsonObject, kind: str) -> JsonObject:
    """Summary elements, also inside the groups of elements that a type defines itself."""
    names = _names(kind, lambda element: element.summary or element.minimum > 0)
    kept: dict[str, Any] = {}
    for key, value in node.items():
        child = names.get(key.removeprefix("_"))
        if key in _ALWAYS or (child and "." not in child):
            kept[key] = value
        elif child and isinstance(value, list):
            kept[key] = [_nested(item, child) for item in value]
        elif child:
            kept[key] = _nested(value, child)
    return kept


def _names(kind: str, keep: Keep) -> dict[str, str]:
    return {
        key: child for element in definitions.elements()[kind].values() if keep(element) for key, child in element.keys().items()
    }


def _tagged(resource: JsonObject) -> JsonObject:
    meta = dict(resource.get("meta", {}))
    meta["tag"] = [*meta.get("tag", ()), SUBSETTED]
    head: JsonObject = {key: resource[key] for key in ("resourceType", "id") if key in resource}
    return {**head, "meta": meta, **{key: value for key, value in resource.items() if key not in (*head, "meta")}}
