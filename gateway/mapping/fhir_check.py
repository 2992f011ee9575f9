"""A resource template against FHIR R4 (4.0.1), before any object arrives.

The template is walked beside the official element tables (:mod:`gateway.r4.definitions`): element names, lists, types of literals
and of what holes bring, required elements, choices, required codes, reference targets. A finding names the place in the template.
What only a filled-in resource can show, such as an invariant over values, is checked when the resource is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from gateway.mapping.complaints import did_you_mean, nearest
from gateway.r4 import definitions
from gateway.r4.definitions import PRIMITIVES, Element
from gateway.yamlfile import Place

_HOLE = re.compile(r"(?<!\$)\$\{[^{}]*\}")
_REFERENCE = re.compile(r"@([a-z_]\w*)")
_VERBS = ("for_each", "if", "unless")
_QUANTITIES = frozenset({"Quantity", "Age", "Count", "Distance", "Duration"})
_TEXTS = frozenset({"string", "markdown", "code", "uri", "url", "canonical", "id", "oid", "uuid", "base64Binary"})
_WHOLE = frozenset({"integer", "unsignedInt", "positiveInt"})
#: What a hole brings (a FHIR type) -> the types of elements in which it may stand.
_ACCEPTED: dict[str, frozenset[str]] = {
    **dict.fromkeys(("string", "code", "uri", "id"), _TEXTS),
    "integer": _WHOLE | {"decimal"},
    "unsignedInt": _WHOLE | {"decimal"},
    "decimal": frozenset({"decimal"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date", "dateTime"}) | {"string"},
    "dateTime": frozenset({"dateTime", "instant", "string"}),
    "time": frozenset({"time", "string"}),
    "Quantity": _QUANTITIES,
    "CodeableConcept": frozenset({"CodeableConcept"}),
}
_INSTEAD = {
    "object": "; write the name of what is meant inside it",
    "Quantity": "; write the hole with '.value' or '.unit' behind it",
    "CodeableConcept": "; write the hole with '.code', '.system' or '.text' behind it",
    "HumanName": "; write the hole with '.family', '.given', '.prefix', '.suffix' or '.text' behind it",
}
#: Profiles that these resources are known to be written for. Another one is not wrong, but nothing here can check it.
KNOWN_PROFILES = (
    "http://hl7.org/fhir/StructureDefinition/",
    "http://hl7.org/fhir/uv/radiation-dose-summary/StructureDefinition/",
)


@dataclass(frozen=True, slots=True)
class Hole:
    """What a hole brings: a FHIR type, as a list or alone. ``None``: not known."""

    type: str | None
    many: bool = False
    target: str | None = None  #: of a text that is a reference: the resource type it points to


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at a place in the template."""

    place: Place
    text: str
    warning: bool = False
    lacks: bool = False  #: something that must be there is not


def check_template(node: Any, holes: Mapping[Place, Hole], resources: Mapping[str, str]) -> Iterable[Finding]:
    """What is wrong with a resource template (without ``per`` and ``identity``).

    ``holes`` says what each lone hole brings; ``resources`` gives the resource type behind each name of a reference (``@patient``).
    """
    kind = str(node.get("resourceType"))
    types = definitions.resource_types()
    if kind not in types:
        yield Finding(("resourceType",), f"'{kind}' is not a resource type of this gateway{did_you_mean(kind, types)}")
        kind = nearest(kind, types) or ""
        if not kind:
            return
    body = {key: value for key, value in node.items() if key not in ("per", "identity", "resourceType", "kinds")}
    yield from _Walk(holes, resources).object(kind, body, ())


class _Walk:
    def __init__(self, holes: Mapping[Place, Hole], resources: Mapping[str, str]) -> None:
        self._holes = holes
        self._resources = resources

    def object(self, kind: str, node: dict[str, Any], place: Place) -> Iterator[Finding]:
        """An object of a type: its keys, what it lacks, and its choices."""
        if kind == "Resource":
            yield from self._contained(node, place)
            return
        keys = _keys(kind)
        for key, value in node.items():
            if key in _VERBS:
                continue
            if key not in keys:
                yield Finding((*place, key), _unknown(kind, key))
                meant = nearest(key, keys)
                if meant is None or meant in node or f"{key}[x]" in definitions.elements()[kind]:
                    continue
            else:
                meant = key
            element, type_ = keys[meant]
            yield from self._element(kind, meant, element, type_, value, (*place, key))
        yield from _missing(kind, node, place)
        yield from _choices(kind, node, place)
        if kind == "Meta":
            yield from _profiles(node.get("profile"), (*place, "profile"))

    def _contained(self, node: dict[str, Any], place: Place) -> Iterator[Finding]:
        type_ = str(node.get("resourceType"))
        if type_ not in definitions.resource_types():
            yield Finding(place, "a resource inside another needs its 'resourceType'")
            return
        yield from self.object(type_, {key: value for key, value in node.items() if key != "resourceType"}, place)

    def _element(self, parent: str, key: str, element: Element, kind: str, node: Any, place: Place) -> Iterator[Finding]:
        node, place = _said(node, place)
        if node is None:
            return
        hole = self._lone_hole(node, place)
        if element.many:
            if isinstance(node, list):
                for index, item in enumerate(node):
                    yield from self._value(parent, key, element, kind, *_said(item, (*place, index)))
            elif hole is None:
                yield Finding(place, f"FHIR has a list in '{key}': write [ ... ] around it, or a line with '-'")
            elif hole.type is not None and not hole.many:
                yield Finding(place, f"FHIR has a list in '{key}', and this hole brings one value: write [ ... ] around it")
            else:
                yield from _unfit(hole, key, kind, place)
        elif isinstance(node, list):
            yield Finding(place, f"'{key}' occurs once in FHIR, so no list belongs here")
        elif hole is not None and hole.many:
            yield Finding(place, f"'{key}' occurs once in FHIR, and this hole brings a list")
        else:
            yield from self._value(parent, key, element, kind, node, place)

    def _value(self, parent: str, key: str, element: Element, kind: str, node: Any, place: Place) -> Iterator[Finding]:
        """One value, not a list: a hole, a literal or an object."""
        if node is None:
            return
        hole = self._lone_hole(node, place)
        if hole is not None and not hole.many:
            yield from _unfit(hole, key, kind, place)
        elif hole is not None or isinstance(node, list):
            yield Finding(place, f"a list inside the list '{key}': FHIR has none")
        elif kind in PRIMITIVES:
            yield from self._primitive(parent, key, kind, node, place)
        elif not isinstance(node, dict):
            yield Finding(place, _no_object(key, kind, node))
        else:
            yield from self.object(kind, node, place)
            if kind == "Reference":
                yield from self._target(key, element, node, place)

    def _primitive(self, parent: str, key: str, kind: str, node: Any, place: Place) -> Iterator[Finding]:
        if isinstance(node, dict):
            yield Finding(place, f"'{key}' is a {kind} in FHIR, no object")
        elif isinstance(node, str) and _REFERENCE.fullmatch(node):
            if parent != "Reference" or key != "reference":
                yield Finding(place, "'@name' stands only behind 'reference'")
        elif isinstance(node, str) and _HOLE.search(node):
            if kind not in _TEXTS and kind not in ("date", "dateTime", "instant", "time", "xhtml"):
                yield Finding(place, f"'{key}' is a {kind} in FHIR, and a hole inside text becomes text")
        elif not (isinstance(node, str) and "${" in node.replace("$${", "")):  # else a hole that is not closed, and told
            yield from _literal(parent, key, kind, node, place)

    def _target(self, key: str, element: Element, node: dict[str, Any], place: Place) -> Iterator[Finding]:
        """A reference must point to a type that the element allows."""
        text, place = _said(node.get("reference"), (*place, "reference"))
        if not isinstance(text, str) or not element.targets:
            return
        name = _REFERENCE.fullmatch(text)
        hole = self._lone_hole(text, place)
        if name:
            target = self._resources.get(name[1])
        elif hole:
            target = hole.target
        else:
            before = text.rpartition("/")[0].rpartition("/")[2]
            target = before if before in definitions.resource_types() else None
        if target is not None and target not in element.targets:
            yield Finding(place, f"'{key}' refers to {_either(element.targets)}, not to {target}")

    def _lone_hole(self, node: Any, place: Place) -> Hole | None:
        if isinstance(node, str) and (found := _HOLE.fullmatch(node)) and found:
            return self._holes.get(place, Hole(None))
        return None


def _said(node: Any, place: Place) -> tuple[Any, Place]:
    """``{if: path, is: value}`` says ``value``."""
    while isinstance(node, dict) and "is" in node and not node.keys() - {"is", *_VERBS}:
        node, place = node["is"], (*place, "is")
    return node, place


def _unfit(hole: Hole, key: str, kind: str, place: Place) -> Iterator[Finding]:
    if hole.type is None or kind in _ACCEPTED.get(hole.type, frozenset()):
        return
    yield Finding(place, f"'{key}' is a {kind} in FHIR, and this hole brings a {hole.type}{_INSTEAD.get(hole.type, '')}")


def _no_object(key: str, kind: str, node: Any) -> str:
    hint = ""
    if isinstance(node, str) and _REFERENCE.fullmatch(node):
        hint = f': write {{reference: "{node}"}}'
    elif kind == "CodeableConcept":
        hint = ": write {coding: [{system: ..., code: ...}], text: ...}"
    elif kind in _QUANTITIES:
        hint = ": write {value: ..., unit: ..., system: ..., code: ...}"
    return f"'{key}' is a {kind} in FHIR, an object with elements of its own{hint}"


def _literal(parent: str, key: str, kind: str, node: Any, place: Place) -> Iterator[Finding]:
    name = _definition(parent, key)
    text = node.replace("$${", "${") if isinstance(node, str) else node
    if _validator(name).is_valid(text):
        return
    codes = definitions.schema()["$defs"][name].get("enum")
    if codes:
        shown = ", ".join(codes) if len(codes) <= 12 else f"{len(codes)} codes"
        yield Finding(place, f"'{text}' is not one of the codes of '{key}' ({shown}){did_you_mean(str(text), codes)}")
    elif kind in _TEXTS and not isinstance(text, str):
        yield Finding(place, f"'{key}' is a {kind} in FHIR: put {str(text).lower()} in quotes")
    elif kind in (*_WHOLE, "decimal", "boolean") and isinstance(text, str):
        yield Finding(place, f"'{key}' is a {kind} in FHIR, and this is text: write it without quotes")
    else:
        yield Finding(place, f"this is not a {kind} of FHIR, which '{key}' wants")


def _missing(kind: str, node: dict[str, Any], place: Place) -> Iterator[Finding]:
    meant = {nearest(key, _keys(kind)) for key in node if key not in _keys(kind) and key not in _VERBS}
    for element in definitions.elements()[kind].values():
        if not element.minimum:
            continue
        names = element.keys()
        given = any(node.get(name) is not None or node.get(f"_{name}") is not None for name in names)
        if not given and meant.isdisjoint(names):  # else it is there, misspelt, and told
            shown = element.name if len(names) > 1 else next(iter(names))
            yield Finding(place, f"{kind} needs '{shown}', and no line fills it{_which(names)}", lacks=True)


def _which(names: Mapping[str, str]) -> str:
    return f" (one of {', '.join(names)})" if 1 < len(names) <= 8 else ""


def _choices(kind: str, node: dict[str, Any], place: Place) -> Iterator[Finding]:
    """Two forms of one choice: at most one of them may be without a condition."""
    for element in definitions.elements()[kind].values():
        if not element.is_choice:
            continue
        given = [key for key in list(element.keys()) if node.get(key) is not None]
        free = [key for key in given if not _conditional(node[key])]
        if len(free) > 1:
            text = f"{kind} has one '{element.name}', and here stand {' and '.join(free)}: give all but one 'if' or 'unless'"
            yield Finding((*place, free[1]), text)


def _conditional(node: Any) -> bool:
    return isinstance(node, dict) and ("if" in node or "unless" in node)


def _profiles(node: Any, place: Place) -> Iterator[Finding]:
    for index, url in enumerate(node if isinstance(node, list) else ()):
        if isinstance(url, str) and not _HOLE.search(url) and not url.startswith(KNOWN_PROFILES):
            yield Finding((*place, index), f"the profile '{url}' is not known here, so nothing checks it", warning=True)


def _unknown(kind: str, key: str) -> str:
    keys = _keys(kind)
    choice = definitions.elements()[kind].get(f"{key}[x]")
    if choice:
        names = list(choice.keys())
        shown = ", ".join(names) if len(names) <= 12 else f"{names[0]}, {names[1]}, ..."
        return f"'{key}' of {kind} is a choice: write {shown}"
    return f"'{key}' is not an element of {kind}{did_you_mean(key, [name for name in keys if not name.startswith('_')])}"


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


@lru_cache(maxsize=1024)
def _keys(kind: str) -> Mapping[str, tuple[Element, str]]:
    """JSON key -> element and type; with the ``_x`` siblings of primitives, which hold an Element."""
    found: dict[str, tuple[Element, str]] = {}
    for element in definitions.elements()[kind].values():
        for key, type_ in element.keys().items():
            found[key] = (element, type_)
            if type_ in PRIMITIVES and key != "id":
                found[f"_{key}"] = (element, "Element")
    return found


@lru_cache(maxsize=4096)
def _definition(parent: str, key: str) -> str:
    """The name of the schema definition that a primitive element's values must fit: its type, or its required codes."""
    node = definitions.schema()["$defs"][parent]["properties"][key]
    while "$ref" not in node:
        node = node["items"] if "items" in node else node["anyOf"][0]
    return str(node["$ref"]).removeprefix("#/$defs/")


@lru_cache(maxsize=512)
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/$defs/{name}", "$defs": {name: definitions.schema()["$defs"][name]}}
    return jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
