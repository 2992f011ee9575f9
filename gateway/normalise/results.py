"""The ``results`` of a mapping, read from one object: each a JSON tree with the members of :mod:`gateway.nuclear.results`.

Read after the administrations, because a result may belong to one. A number that cannot be used leaves a result without a value and
with the reason (``absent``), so that a researcher sees that something was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from gateway.dicom import sr
from gateway.dicom.items import Item
from gateway.dicom.sr import SrPath
from gateway.dicom.values import Invalid
from gateway.mapping.rules import Guarded, ItemPath, Mapping, ResultRule
from gateway.mapping.sources import ITEM
from gateway.model import Issue, Json, JsonObject, Severity
from gateway.nuclear.plausible import implausible
from gateway.nuclear.results import KINDS, LABEL, OF, TELLING, WORDS
from gateway.nuclear.units import convert

if TYPE_CHECKING:
    from gateway.normalise.record import Reading

#: More results of one rule are not believed.
MOST_RESULTS = 5000
#: FHIR data-absent-reason of a value that was told and could not be used.
_UNUSABLE = "error"
#: The same of a value that is named and not given.
_UNKNOWN = "unknown"
_VALUE = f"{ITEM}.value"


def read_results(
    mapping: Mapping, document: Reading, administrations: list[tuple[int, Reading]], failures: list[str]
) -> list[JsonObject]:
    """All results of an object. ``administrations`` are the readings of its administrations, each with its place in the record.

    Issues and sources are added to ``document``.
    """
    found: list[JsonObject] = []
    for rule in mapping.results:
        places: list[tuple[int | None, Reading]] = [*administrations] if rule.of_administration else [(None, document)]
        read = [(place, tree) for place, reading in places for tree in _of(rule, reading, document, failures)]
        for index, (place, (tree, issues, sources)) in enumerate(read):
            label = f"results.{rule.name}" if len(read) == 1 else f"results.{rule.name}[{index}]"
            made = _finished(rule, tree, issues, label)
            document.issues += [Issue(field=f"{label}{one.field}", reason=one.reason, severity=one.severity) for one in issues]
            document.sources |= {f"{label}{name}": path for name, path in sources.items()}
            if made is not None:
                found.append(made | {LABEL: label} | ({OF: place} if place is not None else {}))
    return found


def _of(
    rule: ResultRule, reading: Reading, document: Reading, failures: list[str]
) -> Iterator[tuple[JsonObject, list[Issue], dict[str, str]]]:
    """What a rule reads at one place: members, issues and sources, both named from the member on (``.value``)."""
    if rule.when is not None and not reading.holds(rule.when):
        return
    if not rule.sources:
        yield reading.members(rule.fields, None, failures)
        return
    try:
        found = next((element for source in rule.sources if (element := reading.items_at(source))), None)
    except Invalid as error:
        document.issues.append(Issue(field=f"results.{rule.name}", reason=str(error)))
        return
    if found is None:
        return
    items = found.items
    if len(items) > MOST_RESULTS:
        reason = f"has {len(items):,} items; more than {MOST_RESULTS:,} are not believed"
        document.issues.append(Issue(field=f"results.{rule.name}", reason=reason))
        return
    for index, item in enumerate(items):
        tree, issues, sources = reading.members(rule.fields, item, failures)
        if "value" not in tree and not any(issue.field == ".value" for issue in issues) and _told_empty(rule, item):
            if "absent" not in tree:
                issues.append(Issue(field=".value", reason="is named without a number", severity=Severity.WARNING))
            tree.setdefault("absent", _UNKNOWN)
        place = found.path if len(items) == 1 else f"{found.path}[{index}]"
        yield tree, issues, {name: _placed(path, place) for name, path in sources.items()}


def _told_empty(rule: ResultRule, item: Item) -> bool:
    """True when the number that a rule wants of an item of a report is there but holds no measured value (PS3.3 C.18.1)."""
    wanted = (source for one in rule.fields if one.name == _VALUE for part in one.sources.values() for source in part)
    plain = (source.source if isinstance(source, Guarded) else source for source in wanted)
    return any(
        isinstance(source, ItemPath)
        and source.item == ITEM
        and isinstance(source.path, SrPath)
        and not source.path.attribute
        and sr.without_number(item, source.path)
        for source in plain
    )


def _placed(path: str, place: str) -> str:
    """Where something stands that was read below an item: the item's own place before it."""
    if path == ITEM or path.startswith((f"{ITEM}/", f"{ITEM} ")):
        return f"{place}{path[len(ITEM) :]}"
    return path


def _finished(rule: ResultRule, tree: JsonObject, issues: list[Issue], label: str) -> JsonObject | None:
    """A result with its kind and what the mapping knows of it; ``None`` when nothing is told."""
    tree = dict(tree)
    stated = tree.pop("value_stated", None)
    if stated is not None:
        tree["stated"] = stated
    _qualified(tree, issues)
    if not any(name in tree for name in TELLING):
        if not any(issue.field == ".value" and issue.severity is Severity.ERROR for issue in issues):
            return None
        tree["absent"] = _UNUSABLE
    kind = rule.kind or tree.pop("kind", None)
    if kind not in KINDS:
        issues.append(Issue(field=".kind", reason="is no kind of result that this gateway knows"))
        return None
    for name, words in WORDS.items():
        if name in tree and tree[name] not in words:
            issues.append(Issue(field=f".{name}", reason=f"is none of {', '.join(sorted(words))}"))
            del tree[name]
    made = _under(rule.fixed, tree) | {"kind": kind}
    for part in made.get("components", ()):
        if not part.keys() & {"value", "concept", "text"}:
            part.setdefault("absent", "unknown")
    made = _in_its_unit(made, issues)
    _never_negative(made, issues)
    _believable(made, issues, own_range=any(one.name == _VALUE and one.range is not None for one in rule.fields))
    return made


def _qualified(tree: JsonObject, issues: list[Issue]) -> None:
    """A number that its own document calls unusable (Numeric Value Qualifier, PS3.3 C.18.1) is withheld with the reason it gives."""
    unknown = any(issue.field == ".absent" for issue in issues)  # a qualifier, but none of CID 42
    if "value" in tree and ("absent" in tree or unknown):
        tree.setdefault("absent", _UNUSABLE)
        reason = f"is qualified by its document as no value that can be used ({tree['absent']}): withheld"
        issues.append(Issue(field=".value", reason=reason))
        del tree["value"]
        tree.pop("stated", None)


def _never_negative(made: JsonObject, issues: list[Issue]) -> None:
    """Withholds numbers below zero of what cannot be below zero: the value, and components that measure what the kind measures."""
    kind = KINDS[made["kind"]]
    if kind.signed:
        return
    if _below_zero(made.get("value")):
        issues.append(Issue(field=".value", reason=f"is below zero, which is no {kind.title.lower()}"))
        del made["value"]
        made.pop("stated", None)
        made["absent"] = _UNUSABLE
    for index, part in enumerate(made.get("components", ())):
        if kind.units and _below_zero(part.get("value")) and kind.unit_for(part["value"]["unit"]):
            reason = f"is below zero, which no part of a {kind.title.lower()} in this unit can be"
            issues.append(Issue(field=f".components[{index}].value", reason=reason))
            del part["value"]
            part["absent"] = _UNUSABLE


def _believable(made: JsonObject, issues: list[Issue], *, own_range: bool) -> None:
    """Withholds numbers that cannot be true of what they measure (:mod:`gateway.nuclear.plausible`); a mapping's own range counts first."""
    code = _code(made.get("code"))
    reason = implausible(made["value"], kind=made["kind"], code=code) if "value" in made and not own_range else None
    if reason:
        issues.append(Issue(field=".value", reason=f"{reason}: withheld"))
        del made["value"]
        made.pop("stated", None)
        made["absent"] = _UNUSABLE
    for name in ("mass", "volume"):
        reason = implausible(made[name], member=name) if isinstance(made.get(name), dict) else None
        if reason:
            issues.append(Issue(field=f".{name}", reason=f"{reason}: withheld"))
            del made[name]
    for index, part in enumerate(made.get("components", ())):
        reason = implausible(part["value"], kind=made["kind"], code=_code(part.get("code"))) if part.get("value") else None
        if reason:
            issues.append(Issue(field=f".components[{index}].value", reason=f"{reason}: withheld"))
            del part["value"]
            part.pop("value_stated", None)
            part["absent"] = _UNUSABLE


def _code(concept: Json) -> str | None:
    return str(concept.get("code")) if isinstance(concept, dict) and concept.get("code") else None


def _below_zero(quantity: Json) -> bool:
    return isinstance(quantity, dict) and Decimal(str(quantity["value"])) < 0


def _in_its_unit(made: JsonObject, issues: list[Issue]) -> JsonObject:
    """A value in a unit that its kind is not measured in is withheld. A rule with a fixed kind has been checked before."""
    kind, value = KINDS[made["kind"]], made.get("value")
    if not isinstance(value, dict):
        return made
    unit = kind.unit_for(value["unit"])
    if unit is None:
        issues.append(Issue(field=".value", reason=f"is in {value['unit']}, in which a {kind.title.lower()} is not measured"))
        del made["value"]
        made["absent"] = _UNUSABLE
    elif unit != value["unit"]:
        made["value"] = {"value": convert(value["value"], value["unit"], unit), "unit": unit}
        made.setdefault("stated", value)
        if made["stated"] == made["value"]:
            del made["stated"]
    return made


def _under(fixed: JsonObject, tree: JsonObject) -> JsonObject:
    """The members that were read, over those that the mapping set; names with points are members of members."""
    made: JsonObject = {}
    for name, value in fixed.items():
        _put(made, name.split("."), value)
    return _merged(made, tree)


def _merged(below: JsonObject, above: JsonObject) -> JsonObject:
    made = dict(below)
    for name, value in above.items():
        inner = made.get(name)
        if isinstance(inner, dict) and _is_group(inner) and _is_group(value):
            made[name] = _merged(inner, value)
        else:
            made[name] = value
    return made


def _is_group(value: Json) -> bool:
    return isinstance(value, dict) and not value.keys() & {"value", "unit", "text", "code"}


def _put(tree: JsonObject, keys: list[str], value: Json) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value
