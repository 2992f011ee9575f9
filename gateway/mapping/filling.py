"""What stands at the end of every path of a template: lookups, texts with holes, loops, and our JSON shapes as FHIR datatypes.

All are closures over what the template says, made once; each gives :data:`ABSENT` where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.mapping.traced import Node, Place, Render, Scope, Traced, Within, leaves
from gateway.model import Json
from gateway.nuclear.results import CANONICAL

UCUM = "http://unitsofmeasure.org"
#: Of a Quantity: number and unit as the source states them.
STATED = f"{CANONICAL}/StructureDefinition/stated-quantity"


class _Absent:
    """No value here: prune."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


def fhir_value(value: Json) -> Json:
    """Our JSON shapes as FHIR datatypes: quantity and concept; anything else as it is."""
    if isinstance(value, dict):
        keys = value.keys()
        if {"value", "unit"} <= keys <= {"value", "unit", "stated"}:
            quantity = {"value": value["value"], "unit": value["unit"], "system": UCUM, "code": value["unit"]}
            stated = value.get("stated")
            return {"extension": [{"url": STATED, "valueQuantity": fhir_value(stated)}], **quantity} if stated else quantity
        if "text" in keys and keys <= {"system", "code", "text"}:
            coding = {key: value[key] for key in ("system", "code") if key in value}
            return {"coding": [coding], "text": value["text"]} if coding else {"text": value["text"]}
    if isinstance(value, list):
        return [fhir_value(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Loop:
    """``for_each: variable in source``: one scope per item."""

    variable: str
    source: str
    look: Render

    def scopes(self, scope: Scope) -> Iterator[Scope]:
        items = self.look(scope)
        return ({**scope, self.variable: item} for item in (() if items is ABSENT else items))

    def within(self, within: Within, index: int) -> Within:
        name = (self.variable, f"{within.absolute(self.source)}[{index}]")
        return Within(within.element, (*within.names, name), within.conditions)


def entries(compiled: list[tuple[Loop | None, Node]], scope: Scope) -> Iterator[tuple[Loop | None, int, Node, Scope, Any]]:
    """What is left of a list: each entry with the loop, the number in it and the scope that made it."""
    for loop, one in compiled:
        for index, inner in enumerate((scope,) if loop is None else loop.scopes(scope)):
            rendered = one.render(inner)
            if rendered is not ABSENT:
                yield loop, index, one, inner, rendered


def constant(value: Any) -> Render:
    """Always this value."""
    return lambda scope: value


def literal(value: Any, line: Place) -> Node:
    """What the template says itself, on this line."""
    return filled(constant(value), line, ())


def filled(render: Render, line: Place, paths: tuple[str, ...]) -> Node:
    """What one line gives, and each leaf of it told apart: a quantity is a value, a unit, a system and a code."""

    def trace(scope: Scope, made: Any, within: Within) -> Iterator[Traced]:
        reads = tuple(within.absolute(path) for path in paths)
        for place, value in leaves(made):
            yield Traced(element=(*within.element, *place), value=value, line=line, reads=reads, conditions=within.conditions)

    return Node(render, trace)


def object_of(compiled: list[tuple[str, Render]], scope: Scope) -> Any:
    """The elements that have a value; absent when none has."""
    made = {}
    for key, render in compiled:
        value = render(scope)
        if value is not ABSENT:
            made[key] = value
    return made or ABSENT


def lookup(steps: tuple[str, ...]) -> Render:
    """The value at a path of the scope; what is empty is absent."""
    first, rest = steps[0], steps[1:]

    def look(scope: Scope) -> Any:
        value = scope.get(first, ABSENT)
        for step in rest:
            value = value.get(step, ABSENT) if isinstance(value, dict) else ABSENT
        return ABSENT if value is None or value == "" or value == [] or value == {} else value

    return look


def first_of(looks: list[Render]) -> Render:
    """The first that has a value."""
    return lambda scope: next((value for value in (look(scope) for look in looks) if value is not ABSENT), ABSENT)


def joined(literals: list[str], looks: list[Render]) -> Render:
    """Text with holes: literal, hole, literal, ... Absent as soon as one hole is."""

    def render(scope: Scope) -> Any:
        parts = [literals[0]]
        for look, literal in zip(looks, literals[1:], strict=True):
            value = look(scope)
            if value is ABSENT:
                return ABSENT
            parts += (str(value), literal)
        return "".join(parts)

    return render


def reference(name: str, loops: tuple[str, ...]) -> Render:
    """``@name``: of the innermost loop item that has it, else of the scope."""
    inner = loops[::-1]

    def render(scope: Scope) -> Any:
        for variable in inner:
            item = scope[variable]
            refs = item.get("refs") if isinstance(item, dict) else None
            if refs and name in refs:
                return refs[name]
        return scope.get("refs", {}).get(name, ABSENT)

    return render
