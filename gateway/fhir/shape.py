"""What a profile is: elements with counts, types and units, named components, rules. And whether a resource fulfils it. Pure.

The table of our profiles stands in ``profiles``; shapes follow R4 profiling.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.model import JsonObject
from gateway.nuclear.results import CANONICAL

UCUM = "http://unitsofmeasure.org"
TIME_OFFSET = "http://hl7.org/fhir/StructureDefinition/observation-timeOffset"

Coding = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A component that a profile names. ``kind`` is the type of its value; ``values`` a ValueSet of ours that it is bound to."""

    name: str
    code: Coding
    kind: str
    title: str
    minimum: int = 0
    many: bool = False
    timed: bool = False  #: it carries the observation-timeOffset extension
    values: str | None = None
    absent: bool = False  #: a dataAbsentReason may stand instead of its value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that cardinalities cannot say: a FHIRPath expression for others, the same as a function for us."""

    key: str
    human: str
    expression: str
    holds: Callable[[JsonObject], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """An element of the top level with its least and greatest count (``*``), and the types that it may refer to."""

    name: str
    minimum: int
    maximum: str
    short: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an Observation of some kinds must hold."""

    name: str
    title: str
    purpose: str
    codes: tuple[Coding, ...]  #: one of these stands in Observation.code
    elements: tuple[Element, ...]
    value: tuple[str, ...] = ()  #: types that value[x] may have; none: it has no value of its own
    units: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def url(self) -> str:
        return f"{CANONICAL}/StructureDefinition/{self.name}"


def components(resource: JsonObject, code: Coding) -> list[JsonObject]:
    """The components with this code."""
    return [part for part in resource.get("component", ()) if code in codings(part.get("code"))]


def codings(concept: Any) -> list[Coding]:
    return [(one.get("system", ""), one.get("code", "")) for one in (concept or {}).get("coding", ())]


def lacks(resource: JsonObject, profile: Profile) -> Iterator[str]:
    """What keeps a resource from claiming a profile."""
    if not any(code in codings(resource.get("code")) for code in profile.codes):
        yield "code"
    for element in profile.elements:
        yield from _lacking_element(resource, element)
    yield from _lacking_value(resource, profile)
    for part in profile.parts:
        yield from _lacking_part(resource, part)
    yield from (rule.key for rule in profile.rules if not rule.holds(resource))


def _lacking_element(resource: JsonObject, element: Element) -> Iterator[str]:
    if element.name == "effective[x]":
        if "effectiveDateTime" not in resource:
            yield element.name
        return
    value = resource.get(element.name)
    found = value if isinstance(value, list) else [value] if value is not None else []
    if element.targets:
        found = [one for one in found if refers_to(one, element.targets)]
    if len(found) < element.minimum or (element.maximum != "*" and len(found) > int(element.maximum)):
        yield element.name


def refers_to(reference: JsonObject, types: tuple[str, ...]) -> bool:
    return str(reference.get("reference", "")).partition("/")[0] in types


def _lacking_value(resource: JsonObject, profile: Profile) -> Iterator[str]:
    names = [name for name in resource if name.startswith("value")]
    if any(name.removeprefix("value") not in {kind[0].upper() + kind[1:] for kind in profile.value} for name in names):
        yield "value[x]"
    quantity = resource.get("valueQuantity")
    if profile.units and quantity is not None and (quantity.get("system") != UCUM or quantity.get("code") not in profile.units):
        yield "value[x].code"


def _lacking_part(resource: JsonObject, part: Part) -> Iterator[str]:
    found = components(resource, part.code)
    if len(found) < part.minimum or (len(found) > 1 and not part.many):
        yield f"component:{part.name}"
    key = "value" + part.kind[0].upper() + part.kind[1:]
    for one in found:
        if key not in one and not (part.absent and "dataAbsentReason" in one):
            yield f"component:{part.name}.value[x]"
        if part.timed and not any(item.get("url") == TIME_OFFSET for item in one.get("extension", ())):
            yield f"component:{part.name}.extension"
