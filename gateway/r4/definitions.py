"""The official R4 definitions that this package carries, read from the generated files beside this module.

``elements.json`` tells for every type which elements it has, in which order and of which types; ``search_params.json`` holds
the official search parameters. Both are written by :mod:`gateway.r4.generate` and committed; nothing else is read at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.model import JsonObject

_HERE = FilePath(__file__).parent

OWN_PARAMETER_URL = "http://isobridge.org/fhir/SearchParameter/"

#: FHIR's primitive types (R4 datatypes.html): JSON scalars. All other types are objects.
_PRIMITIVES = """
base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string time
unsignedInt uri url uuid xhtml
"""
PRIMITIVES = frozenset(_PRIMITIVES.split())


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type. ``name`` is FHIR's (``value[x]`` for a choice); only a choice has more than one type."""

    name: str
    types: tuple[str, ...]
    minimum: int
    many: bool
    summary: bool
    targets: tuple[str, ...] = ()  #: resource types a Reference may point to; empty: any

    @property
    def is_choice(self) -> bool:
        return self.name.endswith("[x]")

    def keys(self) -> dict[str, str]:
        """The JSON keys this element can have, each with its type: ``{"valueQuantity": "Quantity", ...}``."""
        if not self.is_choice:
            return {self.name: self.types[0]}
        stem = self.name[:-3]
        return {stem + kind[0].upper() + kind[1:]: kind for kind in self.types}


#: Type name (``Observation``, ``Observation.component``, ``Quantity``) -> its elements by FHIR name, in the official order.
Elements = Mapping[str, Mapping[str, Element]]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """An official search parameter as it applies to one resource type."""

    code: str
    type: str  #: token, reference, string, date, quantity, number, uri, composite
    expression: str  #: FHIRPath, only the branches that start at this resource type
    targets: tuple[str, ...] = ()
    components: tuple[tuple[str, str], ...] = ()  #: of a composite: (code of the parameter, expression relative to the focus)
    definition: str = ""  #: canonical URL; empty for an official parameter


def elements_from(tree: Mapping[str, Any]) -> Elements:
    """Typed view of the ``types`` member of ``elements.json``."""
    return {name: {key: _element(key, raw) for key, raw in entry["elements"].items()} for name, entry in tree.items()}


def _element(name: str, raw: Mapping[str, Any]) -> Element:
    return Element(
        name=name,
        types=tuple(raw["types"]),
        minimum=raw.get("min", 0),
        many=raw.get("many", False),
        summary=raw.get("summary", False),
        targets=tuple(raw.get("targets", ())),
    )


@lru_cache(maxsize=1)
def elements() -> Elements:
    return MappingProxyType(dict(elements_from(_load("elements.json")["types"])))


@lru_cache(maxsize=1)
def resource_types() -> frozenset[str]:
    """The resource types this gateway knows."""
    return frozenset(name for name, entry in _load("elements.json")["types"].items() if entry["kind"] == "resource")


@lru_cache(maxsize=1)
def search_parameters() -> Mapping[str, Mapping[str, SearchParameter]]:
    """Resource type -> code -> parameter, those of all resources (``_id``, ``_lastUpdated``, ...) included."""
    raw = _load("search_params.json")["types"]
    common = [_parameter(entry) for entry in raw["Resource"]]
    own = own_search_parameters()
    return {
        kind: {item.code: item for item in (*common, *(_parameter(entry) for entry in entries), *_own(kind, own.values()))}
        for kind, entries in raw.items()
        if kind != "Resource"
    }


@lru_cache(maxsize=1)
def own_search_parameters() -> Mapping[str, JsonObject]:
    """Id -> SearchParameter resource, for what a nuclear medicine department asks and R4 has no parameter for."""
    entries = msgspec.json.decode((_HERE / "own_search_parameters.json").read_bytes())
    return {f"isobridge-{entry['code']}": _declared(entry) for entry in entries}


def _declared(entry: Mapping[str, Any]) -> JsonObject:
    logical_id = f"isobridge-{entry['code']}"
    return {
        "resourceType": "SearchParameter",
        "id": logical_id,
        "url": OWN_PARAMETER_URL + logical_id,
        "name": f"Isobridge{entry['name']}",
        "status": "active",
        "description": entry["description"],
        "code": entry["code"],
        "base": entry["base"],
        "type": entry["type"],
        "expression": entry["expression"],
        "xpathUsage": "normal",
    }


def _own(kind: str, declared: Iterable[JsonObject]) -> Iterator[SearchParameter]:
    """The branches of our own parameters that start at this type."""
    for item in declared:
        if kind in item["base"]:
            own = [branch for branch in item["expression"].split(" | ") if branch.startswith(f"{kind}.")]
            yield SearchParameter(item["code"], item["type"], " | ".join(own), definition=item["url"])


def _parameter(raw: Mapping[str, Any]) -> SearchParameter:
    return SearchParameter(
        code=raw["code"],
        type=raw["type"],
        expression=raw["expression"],
        targets=tuple(raw.get("targets", ())),
        components=tuple((code, expression) for code, expression in raw.get("components", ())),
    )


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The strict JSON Schema (draft 2020-12), with one ``$defs`` entry per type."""
    return _load("schema.json")


def _load(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode((_HERE / name).read_bytes())
    return tree
