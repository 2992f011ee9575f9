"""What is wrong with the words of one field: its keys, converter, parts, units, code table and range. All of it, not only the first."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, as_meant, did_you_mean, nearest
from gateway.mapping.conversion import Converter
from gateway.mapping.files import Origin
from gateway.mapping.reads import FORMS, is_source
from gateway.mapping.registry import CONVERTERS
from gateway.mapping.rules import Need
from gateway.nuclear import units

#: The keys of a field, and of one that makes a list by its own ``for_each``.
FIELD_KEYS = ("from", "as", "codes", "unit", "need", "range", "when")
LIST_KEYS = ("for_each", "fields", "need", "when")
UNIT_KEYS = ("in", "out", "pinned")
KEYS = tuple(dict.fromkeys((*FIELD_KEYS, *LIST_KEYS)))
#: Every word that is a part of some converter.
_PARTS = tuple(dict.fromkeys(part for converter in CONVERTERS.values() for part in converter.parts))


def spec_problems(name: str, spec: Any, origin: Origin) -> Iterable[Complaint]:
    """Of the keys of a field, and of what stands behind those that every converter has."""
    if not isinstance(spec, dict):
        yield origin.complain("a field is a mapping with 'from' and 'as'")
        return
    yield from _key_problems(name, spec, origin)
    spec, origin = origin.as_meant(spec, KEYS)
    if "as" in spec and str(spec["as"]) not in CONVERTERS:
        yield origin.complain(f"unknown converter '{spec['as']}'{did_you_mean(str(spec['as']), CONVERTERS)}", "as")
    if spec.get("need", "may") not in list(Need):
        yield origin.complain(f"'need' is one of {', '.join(Need)}, not '{spec['need']}'", "need")
    if "for_each" in spec and not (isinstance(spec.get("fields", {}), dict) and spec.get("fields", True)):
        yield origin.complain("'fields' is a mapping of fields, at least one", "fields")
    if "range" in spec and as_range(spec["range"]) is None:
        yield origin.complain("'range' is [lowest, highest], two numbers in the published unit", "range")
    converter = meant_converter(spec)
    if "range" in spec and converter and not converter.has_range:
        yield origin.complain(f"'{converter.name}' makes no number that a 'range' could be asked of", "range")


def _key_problems(name: str, spec: dict[str, Any], origin: Origin) -> Iterable[Complaint]:
    known = LIST_KEYS if "for_each" in spec else FIELD_KEYS
    for key in spec:
        if key in known:
            continue
        if key in KEYS and "for_each" in spec:
            yield origin.complain(f"a field with 'for_each' makes a list: '{key}' belongs to one of its 'fields'", key)
        elif key == "fields":
            yield origin.complain("'fields' needs 'for_each'", key)
        else:
            yield origin.complain(f"unknown key '{key}'{did_you_mean(key, KEYS)}", key)
    meant = as_meant(spec, KEYS)
    for key in ("for_each", "fields") if "for_each" in {*spec, *meant} else ("from", "as"):
        if key not in spec and key not in meant:
            yield origin.complain(f"'{name}' has no '{key}'")


def as_range(node: Any) -> tuple[Decimal, Decimal] | None:
    """``[lowest, highest]``; ``None`` when it is none."""
    numbers = (
        [one for one in node if isinstance(one, int | Decimal) and not isinstance(one, bool)] if isinstance(node, list) else []
    )
    if len(numbers) != 2 or len(node) != 2 or numbers[0] > numbers[1]:
        return None
    return Decimal(numbers[0]), Decimal(numbers[1])


def meant_converter(spec: dict[str, Any]) -> Converter | None:
    """The converter of a field; of an unknown one that which was meant, when the parts fit it."""
    word = str(spec.get("as"))
    if word in CONVERTERS or "as" not in spec:
        return CONVERTERS.get(word)
    guess = CONVERTERS.get(nearest(word, CONVERTERS) or "")
    given = _parts_of(spec["from"]) if "from" in spec else None
    if guess is None or given is None:
        return guess
    needed = {part for part, wanted in guess.parts.items() if wanted.required}
    return guess if needed <= given <= guess.parts.keys() else None


def _parts_of(node: Any) -> set[str]:
    return set(node) if isinstance(node, dict) and not is_source(node) else {"value"}


def part_problems(given: dict[str, Any], converter: Converter | None, origin: Origin) -> Iterable[Complaint]:
    """Parts that the converter has not, and those that it lacks."""
    known = tuple(converter.parts) if converter else _PARTS
    source = misspelt_source(given, converter)
    unknown = [part for part in given if part not in known and not (source and part in source)]
    for part in unknown:
        hint = did_you_mean(part, [*known, *FORMS])
        if converter:
            yield origin.complain(f"'{converter.name}' has no part '{part}'{hint}; its parts: {', '.join(known)}", "from", part)
        else:
            yield origin.complain(f"no converter has a part '{part}'{hint}", "from", part)
    if converter is None or source:
        return
    meant = as_meant(given, known)
    if len(unknown) > len(meant):  # one of them may stand for what is missing
        return
    for part, wanted in converter.parts.items():
        if wanted.required and part not in given and part not in meant:
            yield origin.complain(f"'{converter.name}' needs the part '{part}'", "from")


def misspelt_source(given: dict[str, Any], converter: Converter | None) -> dict[str, Any] | None:
    """What was meant as one source, and is none because its form is misspelt; ``None`` for parts."""
    known = tuple(converter.parts) if converter else _PARTS
    unknown = [part for part in given if part not in known]
    meant = {part: form for part in unknown if (form := nearest(part, [*known, *FORMS])) in FORMS}
    if not meant or any(part in known for part in given):
        return None
    written, form = next(iter(meant.items()))
    return {str(form) if part == written else part: node for part, node in given.items()}


def options_problems(spec: dict[str, Any], converter: Converter | None, codes: Codes, origin: Origin) -> Iterable[Complaint]:
    """Of code table and unit. Where the converter is not known only words are judged, not whether they belong there."""
    table = str(spec["codes"]) if spec.get("codes") is not None else None
    if converter and converter.takes_codes and table is None:
        yield origin.complain(f"'{converter.name}' needs 'codes'")
    if converter and converter.takes_codes is False and table is not None:
        yield origin.complain(f"'{converter.name}' takes no 'codes'", "codes")
    elif table is not None and table not in codes.tables:
        yield origin.complain(f"there is no code table '{table}'{did_you_mean(str(table), codes.tables)}", "codes")
    for needed in converter.reads_tables if converter else ():
        if needed not in codes.tables:
            yield origin.complain(f"'{converter.name if converter else ''}' needs the code table codes/{needed}.yaml")
    if converter and not converter.takes_unit:
        if spec.get("unit") is not None:
            yield origin.complain(f"'{converter.name}' takes no 'unit'", "unit")
        return
    unit, carried = spec.get("unit"), _carry_units(spec.get("from"))
    if isinstance(unit, dict):
        yield from _unit_words(unit, carried, origin.below("unit"))
    if converter and "from" in spec:
        yield from _unit_form(unit, carried, converter, origin)


def _carry_units(node: Any) -> bool:
    """True when every source is a report's content item: its numbers bring their own unit."""
    value = node.get("value") if isinstance(node, dict) and not is_source(node) else node
    sources = value if isinstance(value, list) else [value]
    return bool(sources) and all(isinstance(one, dict) and "sr" in one and one.get("attribute") is None for one in sources)


def _unit_form(unit: Any, carried: bool, converter: Converter, origin: Origin) -> Iterable[Complaint]:
    """Whether a unit has the keys that it must have."""
    meant = as_meant(unit, UNIT_KEYS) if isinstance(unit, dict) else {}
    if isinstance(unit, dict) and any(key not in UNIT_KEYS and key not in meant.values() for key in unit):
        return  # told already; it may stand for what is missing
    keys = {key for key in UNIT_KEYS if isinstance(unit, dict) and key in {*unit, *meant}}
    if carried and keys != {"out"}:
        yield origin.complain(f"'{converter.name}' needs 'unit: {{out: ...}}': a report's number brings its unit along", "unit")
    elif not carried and keys - {"pinned"} != {"in", "out"}:
        yield origin.complain(f"'{converter.name}' needs 'unit: {{in: ..., out: ...}}'", "unit")


def _unit_words(unit: dict[str, Any], carried: bool, origin: Origin) -> Iterable[Complaint]:
    """Keys and words of a unit, each by itself. ``origin`` is the unit's own."""
    for key in unit:
        if key not in UNIT_KEYS:
            yield origin.complain(f"unknown key '{key}' in a unit{did_you_mean(key, UNIT_KEYS)}", key)
    unit, origin = origin.as_meant(unit, UNIT_KEYS)
    if not isinstance(unit.get("pinned", True), bool):
        yield origin.complain("'pinned' is true or false", "pinned")
    for key in ("in", "out"):
        name = unit.get(key)
        if key in unit and units.dimension(str(name)) is None:
            yield origin.complain(f"unknown unit '{name}'{did_you_mean(str(name), units.KNOWN)}", key)
    known = [found for key in ("in", "out") if key in unit and (found := units.dimension(str(unit[key])))]
    if not carried and len(known) == 2 and known[0] != known[1]:
        yield origin.complain(f"{unit['in']} cannot become {unit['out']}")
