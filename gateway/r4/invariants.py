"""The rules of FHIR that a JSON schema says badly or not at all, each under its official name.

A resource is walked once, along the element tables, so every rule meets exactly the nodes of its type. Rules yield sentences that
never quote a value: a message may end in a log, and a value may be a name.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.r4 import definitions
from gateway.r4.definitions import PRIMITIVES
from gateway.r4.narrative import narrative
from gateway.r4.units import UCUM

Node = Mapping[str, Any]
Rule = Callable[[Node], Iterator[str]]
#: Where something stands, outermost first.
Place = tuple[str | int, ...]

MAX_DEPTH = 64
_DATES = frozenset({"date", "dateTime", "instant"})


@dataclass(frozen=True, slots=True)
class _Row:
    """What the walk needs to know about one JSON key."""

    kind: str
    many: bool
    choice: str  #: name of the choice this key belongs to, or empty
    primitive: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    rows: Mapping[str, _Row]
    required_choices: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(slots=True)
class _Walk:
    """One resource with what is contained in it: they share local references."""

    units: Collection[str]
    found: list[tuple[Place, str]] = field(default_factory=list)
    local_references: set[str] = field(default_factory=set)


def broken_invariants(resource: Node, *, units: Collection[str]) -> list[tuple[Place, str]]:
    """Every broken rule with its place. ``resource`` must be shaped like FHIR: the schema has been asked before."""
    walk = _Walk(units)
    _visit_resource(resource, (), walk)
    return walk.found


def _visit_resource(resource: Node, place: Place, walk: _Walk) -> None:
    kind = resource.get("resourceType", "")
    _visit(kind, resource, place, walk)
    contained = resource.get("contained", ())
    if contained and isinstance(contained, list):
        walk.found += [(place, message) for message in _contained(contained, walk.local_references)]
    known = {f"#{item.get('id')}" for item in contained} | {"#"}
    if not walk.local_references <= known:
        walk.found.append((place, "ref-1: a local reference (#...) points to nothing that is contained"))


def _visit(kind: str, node: Node, place: Place, walk: _Walk) -> None:
    plan = _plan(kind)
    if plan is None or len(place) > MAX_DEPTH:
        return
    chosen: dict[str, str] = {}
    for key, value in node.items():
        row = plan.rows.get(key)
        if row is None:
            continue
        if row.choice:
            _note_choice(row.choice, key.removeprefix("_"), chosen, place, walk)
        if row.primitive:
            _visit_primitive(row, key, node, place, walk)
        else:
            _visit_children(row, value, (*place, key), walk)
    walk.found += [(place, f"{choice}[x] is missing") for choice in plan.required_choices if choice not in chosen]
    if kind == "Reference" and node.get("reference", "").startswith("#"):
        walk.local_references.add(node["reference"])
    if kind in _QUANTITIES and node.get("system") == UCUM and node.get("code", "1") not in walk.units:
        walk.found.append(((*place, "code"), "is not one of the UCUM units this gateway publishes"))
    walk.found += [(place, message) for rule in plan.rules for message in rule(node)]


def _note_choice(choice: str, key: str, chosen: dict[str, str], place: Place, walk: _Walk) -> None:
    if chosen.setdefault(choice, key) != key:
        walk.found.append((place, f"only one {choice}[x] is allowed, but {chosen[choice]} and {key} are there"))


def _visit_primitive(row: _Row, key: str, node: Node, place: Place, walk: _Walk) -> None:
    value = node[key]
    if row.kind in _DATES and isinstance(value, str) and not _is_calendar_date(value):
        walk.found.append(((*place, key), "is a day that does not exist"))
    if not isinstance(value, list):
        return
    sibling = node.get(key[1:] if key.startswith("_") else f"_{key}", ())
    for index, item in enumerate(value):
        if item is None and (index >= len(sibling) or sibling[index] is None):
            walk.found.append(((*place, key, index), "is null"))


def _is_calendar_date(text: str) -> bool:
    if len(text) < len("2026-01-01"):
        return True
    try:
        dt.date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


def _visit_children(row: _Row, value: Any, place: Place, walk: _Walk) -> None:
    children = enumerate(value) if row.many else (("", value),)
    for index, child in children:
        where = (*place, index) if row.many else place
        if row.kind != "Resource":
            _visit(row.kind, child, where, walk)
        elif place[-1] == "contained":
            _visit(child.get("resourceType", ""), child, where, walk)
        else:
            inner = _Walk(walk.units)
            _visit_resource(child, where, inner)
            walk.found += inner.found


@lru_cache(maxsize=1024)
def _plan(kind: str) -> _Plan | None:
    elements = definitions.elements().get(kind)
    if elements is None:
        return None
    rows: dict[str, _Row] = {}
    for element in elements.values():
        choice = element.name[:-3] if element.is_choice else ""
        for key, child in element.keys().items():
            primitive = child in PRIMITIVES
            # Most keys are single primitives that no rule speaks of: they are not in the plan, which makes the walk quick.
            if not primitive or element.many or choice or child in _DATES:
                rows[key] = _Row(child, element.many, choice, primitive)
            if primitive:
                rows[f"_{key}"] = _Row("Element", element.many, choice, primitive)
    required = tuple(element.name[:-3] for element in elements.values() if element.is_choice and element.minimum)
    rules = RULES.get("Quantity" if kind in _QUANTITIES else kind, ())
    if kind in definitions.resource_types() and "contained" in elements:
        rules = (*rules, _dom)
    return _Plan(rows, required, rules)


_QUANTITIES = frozenset({"Quantity", "Age", "Duration", "Count", "Distance"})


def _has(node: Node, stem: str) -> bool:
    """Whether some choice of ``stem[x]`` is present."""
    return any(key.lstrip("_").startswith(stem) for key in node)


def _codings(concept: Node) -> set[tuple[str | None, str | None]]:
    return {(coding.get("system"), coding.get("code")) for coding in concept.get("coding", ())}


def _dom(node: Node) -> Iterator[str]:
    for item in node.get("contained", ()):
        meta = item.get("meta", {})
        if "contained" in item:
            yield "dom-2: a contained resource contains another one"
        if "versionId" in meta or "lastUpdated" in meta:
            yield "dom-4: a contained resource has a version or a time of change"
        if "security" in meta:
            yield "dom-5: a contained resource has a security label"


def _contained(contained: list[Node], references: set[str]) -> Iterator[str]:
    for item in contained:
        if f"#{item.get('id')}" not in references and not _refers_to_container(item):
            yield "dom-3: a contained resource is referred to from nowhere"


def _refers_to_container(node: Any) -> bool:
    if isinstance(node, list):
        return any(_refers_to_container(child) for child in node)
    if isinstance(node, dict):
        return node.get("reference") == "#" or any(_refers_to_container(child) for child in node.values())
    return False


def _extension(node: Node) -> Iterator[str]:
    if ("extension" in node) == _has(node, "value"):
        yield "ext-1: an extension has either a value or extensions, not both and not neither"


def _quantity(node: Node) -> Iterator[str]:
    if "code" in node and "system" not in node:
        yield "qty-3: a code for the unit needs its system"


def _period(node: Node) -> Iterator[str]:
    start, end = node.get("start"), node.get("end")
    if start and end and _is_after(start, end):
        yield "per-1: it ends before it starts"


def _is_after(start: str, end: str) -> bool:
    """As instants when both have a clock time (and so a zone); else by the part of the date that both have."""
    shared = min(len(start), len(end), 10)
    if min(len(start), len(end)) <= 10:
        return start[:shared] > end[:shared]
    try:
        return dt.datetime.fromisoformat(_no_leap(start)) > dt.datetime.fromisoformat(_no_leap(end))
    except ValueError:
        return False


def _no_leap(text: str) -> str:
    """Python has no second 60."""
    return re.sub(r"(?<=T\d\d:\d\d:)60", "59", text)


def _range(node: Node) -> Iterator[str]:
    low, high = node.get("low", {}), node.get("high", {})
    comparable = "value" in low and "value" in high and low.get("code") == high.get("code")
    if comparable and low["value"] > high["value"]:
        yield "rng-2: low is above high"


def _ratio(node: Node) -> Iterator[str]:
    if ("numerator" in node) != ("denominator" in node) or not ({"numerator", "extension"} & node.keys()):
        yield "rat-1: a ratio has both numerator and denominator"


def _attachment(node: Node) -> Iterator[str]:
    if "data" in node and "contentType" not in node:
        yield "att-1: data needs a content type"


def _contact_point(node: Node) -> Iterator[str]:
    if "value" in node and "system" not in node:
        yield "cpt-2: a value needs a system (phone, email, ...)"


def _observation(node: Node) -> Iterator[str]:
    has_value = _has(node, "value")
    if "dataAbsentReason" in node and has_value:
        yield "obs-6: dataAbsentReason is only for an observation without a value"
    codes = _codings(node.get("code", {}))
    if has_value and any(codes & _codings(part.get("code", {})) for part in node.get("component", ())):
        yield "obs-7: a component repeats the code of the observation, so there must be no value beside it"


def _reference_range(node: Node) -> Iterator[str]:
    if not {"low", "high", "text"} & node.keys():
        yield "obs-3: a reference range has a low, a high or a text"


def _patient_contact(node: Node) -> Iterator[str]:
    if not {"name", "telecom", "address", "organization"} & node.keys():
        yield "pat-1: a contact has a name, a telecom, an address or an organization"


def _dosage(node: Node) -> Iterator[str]:
    if "dose" not in node and not _has(node, "rate"):
        yield "mad-1: a dosage has a dose or a rate"


def _organization(node: Node) -> Iterator[str]:
    if "identifier" not in node and "name" not in node:
        yield "org-1: an organization has an identifier or a name"


def _bundle(node: Node) -> Iterator[str]:
    kind, entries = node.get("type"), node.get("entry", ())
    if "total" in node and kind not in ("searchset", "history"):
        yield "bdl-1: a total is only for searches and histories"
    if kind != "searchset" and any("search" in entry for entry in entries):
        yield "bdl-2: entry.search is only for searches"
    if any(("request" in entry) != (kind in ("batch", "transaction", "history")) for entry in entries):
        yield "bdl-3: entry.request belongs to batch, transaction and history, and only there"
    if any(("response" in entry) != (kind in ("batch-response", "transaction-response", "history")) for entry in entries):
        yield "bdl-4: entry.response belongs to responses and history, and only there"
    if kind != "history":
        urls = [
            (entry["fullUrl"], entry.get("resource", {}).get("meta", {}).get("versionId"))
            for entry in entries
            if "fullUrl" in entry
        ]
        if len(set(urls)) < len(urls):
            yield "bdl-7: two entries have the same fullUrl"


def _bundle_entry(node: Node) -> Iterator[str]:
    if not {"resource", "request", "response"} & node.keys():
        yield "bdl-5: an entry has a resource, a request or a response"
    if "/_history/" in node.get("fullUrl", ""):
        yield "bdl-8: a fullUrl names no version"


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Attachment": (_attachment,),
    "Bundle": (_bundle,),
    "Bundle.entry": (_bundle_entry,),
    "ContactPoint": (_contact_point,),
    "Extension": (_extension,),
    "MedicationAdministration.dosage": (_dosage,),
    "Narrative": (narrative,),
    "Observation": (_observation,),
    "Observation.referenceRange": (_reference_range,),
    "Organization": (_organization,),
    "Patient.contact": (_patient_contact,),
    "Period": (_period,),
    "Quantity": (_quantity,),
    "Range": (_range,),
    "Ratio": (_ratio,),
}
