"""Builds the strict JSON Schema from the element tables and the official value sets. Used by :mod:`gateway.r4.generate` only.

Stricter than the schema HL7 publishes: nothing unknown, nothing empty, required elements, required codes, reference targets. What
a schema says badly (choices, nulls, invariants) stands in :mod:`gateway.r4.invariants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.r4.definitions import PRIMITIVES, Element, Elements

MAX_ENUM = 400

#: Text without the control characters that FHIR forbids. The published regex also refuses the no-break space in many engines.
_TEXT = "^[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*[^\u0000-\u0020][^\u0000-\u0008\u000b\u000c\u000e-\u001f]*$"
_INT32 = 2_147_483_647
_OWN: Mapping[str, Mapping[str, Any]] = {
    "boolean": {"type": "boolean"},
    "decimal": {"type": "number"},
    "integer": {"type": "integer", "minimum": -_INT32 - 1, "maximum": _INT32},
    "unsignedInt": {"type": "integer", "minimum": 0, "maximum": _INT32},
    "positiveInt": {"type": "integer", "minimum": 1, "maximum": _INT32},
    "string": {"type": "string", "pattern": _TEXT},
    "markdown": {"type": "string", "pattern": _TEXT},
    "xhtml": {"type": "string", "pattern": "^\\s*<div"},
    "uri": {"type": "string", "pattern": "^[^\\s\u0000-\u001f]+$"},
    "url": {"type": "string", "pattern": "^[^\\s\u0000-\u001f]+$"},
    "canonical": {"type": "string", "pattern": "^[^\\s\u0000-\u001f]+$"},
    "uuid": {"type": "string", "pattern": "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
}
_ID = "[A-Za-z0-9.-]{1,64}"


@dataclass(frozen=True, slots=True)
class Primitive:
    """A primitive type and its published regex."""

    name: str
    regex: str | None


def build_schema(
    elements: Elements,
    bindings: Mapping[tuple[str, str], str],
    primitives: Iterable[Primitive],
    resources: Sequence[str],
    terminology: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """A schema with one definition per type; validate a resource against ``#/$defs/<resource type>``."""
    definitions: dict[str, Any] = {item.name: _primitive_schema(item) for item in primitives}
    expander = _Expander(terminology)
    for name, members in elements.items():
        definitions[name] = _type_schema(name, members, name in resources, _Context(bindings, expander, definitions))
    definitions["Resource"] = {
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"enum": list(resources)}},
        "allOf": [
            {"if": {"properties": {"resourceType": {"const": name}}, "required": ["resourceType"]}, "then": _ref(name)}
            for name in resources
        ],
    }
    return {"$defs": dict(sorted(definitions.items()))}


@dataclass(frozen=True, slots=True)
class _Context:
    bindings: Mapping[tuple[str, str], str]
    expander: _Expander
    definitions: dict[str, Any]


def _primitive_schema(primitive: Primitive) -> dict[str, Any]:
    if primitive.name in _OWN:
        return dict(_OWN[primitive.name])
    if primitive.regex is None:
        raise SystemExit(f"no regex is published for {primitive.name}")
    return {"type": "string", "pattern": f"^(?:{primitive.regex})$"}


def _type_schema(name: str, members: Mapping[str, Element], is_resource: bool, context: _Context) -> dict[str, Any]:
    properties: dict[str, Any] = {"resourceType": {"const": name}} if is_resource else {}
    required = ["resourceType"] if is_resource else []
    either: list[dict[str, Any]] = []
    for element in members.values():
        for key, kind in element.keys().items():
            properties[key] = _listed(_value_schema(name, element, kind, context), element.many, null=kind in PRIMITIVES)
            if _may_have_sibling(name, key, kind):
                properties[f"_{key}"] = _listed(_ref("Element"), element.many, null=True)
        if element.minimum and not element.is_choice:
            if _may_have_sibling(name, element.name, element.types[0]):
                either.append({"anyOf": [{"required": [element.name]}, {"required": [f"_{element.name}"]}]})
            else:
                required.append(element.name)
    built: dict[str, Any] = {"type": "object", "additionalProperties": False, "minProperties": 1, "properties": properties}
    if required:
        built["required"] = required
    if either:
        built["allOf"] = either
    return built


def _may_have_sibling(name: str, key: str, kind: str) -> bool:
    """Only primitives that are elements have an ``_x`` sibling; ids, extension URLs and narrative are attributes."""
    return kind in PRIMITIVES and kind != "xhtml" and key != "id" and (name, key) != ("Extension", "url")


def _listed(schema: dict[str, Any], many: bool, *, null: bool) -> dict[str, Any]:
    if not many:
        return schema
    # A null keeps the two lists of a primitive in step; a null with nothing beside it is refused by an invariant.
    return {"type": "array", "minItems": 1, "items": {"anyOf": [schema, {"type": "null"}]} if null else schema}


def _value_schema(parent: str, element: Element, kind: str, context: _Context) -> dict[str, Any]:
    if kind == "Reference" and element.targets:
        return _reference_schema(element.targets, context.definitions)
    url = context.bindings.get((parent, element.name))
    if url and kind in ("code", "CodeableConcept", "Coding"):
        codes = context.expander.expand(url)
        if codes and len(codes) < MAX_ENUM and kind == "code":
            name = "codes:" + url.rpartition("/")[2]
            context.definitions[name] = {"enum": sorted(codes)}
            return _ref(name)
    return _ref(kind)


def _reference_schema(targets: Sequence[str], definitions: dict[str, Any]) -> dict[str, Any]:
    name = f"Reference({','.join(targets)})"
    kinds = "|".join(targets)
    pattern = f"^(?:#.*|urn:\\S+|(?:\\S+/)?(?:{kinds})/{_ID}(?:/_history/{_ID})?|(?:{kinds})\\?\\S+)$"
    definitions[name] = {"allOf": [_ref("Reference"), {"properties": {"reference": {"pattern": pattern}}}]}
    return _ref(name)


def _ref(name: str) -> dict[str, Any]:
    # RFC 6901 and RFC 3986: the names of reference definitions hold characters that a JSON pointer in a URI must escape.
    escaped = name.replace("(", "%28").replace(")", "%29").replace(",", "%2C")
    return {"$ref": f"#/$defs/{escaped}"}


class _Expander:
    """Expands the value sets that are plain lists of codes. One that needs a terminology server expands to ``None``."""

    def __init__(self, terminology: Iterable[Mapping[str, Any]]) -> None:
        self._sets: dict[str, Mapping[str, Any]] = {}
        self._systems: dict[str, Mapping[str, Any]] = {}
        for resource in terminology:
            target = self._sets if resource["resourceType"] == "ValueSet" else self._systems
            target.setdefault(resource["url"], resource)

    def expand(self, url: str) -> set[str] | None:
        compose = self._sets.get(url, {}).get("compose")
        if not compose:
            return None
        found: set[str] = set()
        for part in compose["include"]:
            codes = self._part(part)
            if codes is None:
                return None
            found |= codes
        for part in compose.get("exclude", ()):
            found -= self._part(part) or set()
        return found

    def _part(self, part: Mapping[str, Any]) -> set[str] | None:
        if part.get("filter"):
            return None
        if "concept" in part:
            return {concept["code"] for concept in part["concept"]}
        if "system" in part:
            system = self._systems.get(part["system"], {})
            return set(_codes(system["concept"])) if system.get("content") == "complete" and "concept" in system else None
        expanded = [self.expand(url.split("|")[0]) for url in part.get("valueSet", ())]
        known = [codes for codes in expanded if codes is not None]
        return set.intersection(*known) if known and len(known) == len(expanded) else None


def _codes(concepts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _codes(concept.get("concept", ()))
