"""The ``fields`` of a mapping file -> rules: every word checked against converters, keywords, units, code tables and other fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from gateway.dicom.sr import SrPath
from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, did_you_mean, nearest
from gateway.mapping.conversion import Converter, Options
from gateway.mapping.files import Effective, Origin, Piece
from gateway.mapping.reads import FORMS, Siblings, SourceCompiler, is_source
from gateway.mapping.registry import CONVERTERS, LIST
from gateway.mapping.rules import LEVELS, REPEATED, FieldRule, Need, Source
from gateway.mapping.sources import ITEM, ItemPath, RootPath, plain
from gateway.nuclear import units

#: The keys of a field, and of one that makes a list by its own ``for_each``.
FIELD_KEYS = ("from", "as", "codes", "unit", "need", "range", "when")
LIST_KEYS = ("for_each", "fields", "need", "when")
UNIT_KEYS = ("in", "out", "pinned")
_KEYS = tuple(dict.fromkeys((*FIELD_KEYS, *LIST_KEYS)))
_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Lists of lists of lists are for nobody to read.
_DEEPEST_LIST = 3


class FieldCompiler:
    """Compiles the ``fields`` of one mapping under its ``let`` and ``for_each``."""

    def __init__(self, effective: Effective, codes: Codes, complaints: list[Complaint]) -> None:
        self._effective = effective
        self._codes = codes
        self._complaints = complaints
        self.sources = SourceCompiler(effective, codes, complaints)
        self.repeated = self.sources.repeated

    def fields(self) -> list[FieldRule]:
        compiled = [self._field(name, piece) for name, piece in self._effective.fields.items()]
        return [rule for rule in compiled if rule]

    def members(self, reader: str, nodes: dict[str, Any], origin: Origin) -> list[FieldRule]:
        """The fields of a result, named ``item.<member>``. ``reader`` is a field name that stands for what they may read."""
        return self._below(reader, nodes, origin, 0)

    def _field(self, name: str, piece: Piece) -> FieldRule | None:
        problems = list(self._name_problems(name, piece))
        self._complaints += problems
        level, point, rest = name.partition(".")
        if level not in LEVELS:  # what it reads is judged as if the level were right
            level = nearest(level, LEVELS) or level
        meant = f"{level}{point}{rest}"
        rule = self._rule(name, meant, piece.node, piece.origin, None, 1)
        return None if problems else rule

    def _name_problems(self, name: str, piece: Piece) -> Iterable[Complaint]:
        level, *rest = name.split(".")
        if level not in LEVELS:
            yield piece.origin.complain(f"'{level}' is not a level{did_you_mean(level, LEVELS)}; levels: {', '.join(LEVELS)}")
        if not rest or not all(_NAME.fullmatch(word) for word in rest):
            yield piece.origin.complain(f"'{name}' is not a field name: lower-case words with points, as in series.pet.units")
        if level == REPEATED and self.repeated is None:
            yield piece.origin.complain(f"'{REPEATED}' fields need 'for_each: {{{REPEATED}: ...Sequence}}'")

    def _rule(self, name: str, field: str, spec: Any, origin: Origin, inside: Siblings, depth: int) -> FieldRule | None:
        """One field. ``field`` is the top-level field that it belongs to, which decides what it may read."""
        problems = list(_spec_problems(name, spec, origin))
        self._complaints += problems
        if problems:
            return None
        before = len(self._complaints)
        when = self.sources.condition(field, spec["when"], origin, "when", inside=inside) if "when" in spec else None
        make = self._list if "for_each" in spec else self._plain
        rule = make(name, field, spec, origin, inside, depth)
        if rule is None or len(self._complaints) > before:
            return None
        return FieldRule(
            name=name,
            converter=rule.converter,
            sources=rule.sources,
            options=rule.options,
            need=Need(spec.get("need", "may")),
            range=rule.range,
            when=when,
            items=rule.items,
            where=origin.document.where(origin.place),
        )

    def _plain(self, name: str, field: str, spec: dict[str, Any], origin: Origin, inside: Siblings, depth: int) -> FieldRule:
        converter = CONVERTERS[spec["as"]]
        sources = self._parts(field, spec["from"], converter, origin, inside)
        options = self._options(spec, converter, sources, origin)
        limits = _range(spec["range"]) if "range" in spec else None
        return FieldRule(name=name, converter=converter, sources=sources, options=options, need=Need.MAY, range=limits)

    def _list(
        self, name: str, field: str, spec: dict[str, Any], origin: Origin, inside: Siblings, depth: int
    ) -> FieldRule | None:
        if depth > _DEEPEST_LIST:
            self._complaints.append(origin.complain(f"lists are at most {_DEEPEST_LIST} deep", "for_each"))
            return None
        sources = self.sources.alternatives(field, spec["for_each"], LIST.parts["items"].kind, origin, inside)
        rules = self._below(field, spec["fields"], origin, depth)
        options = Options(codes=self._codes)
        return FieldRule(
            name=name, converter=LIST, sources={"items": sources}, options=options, need=Need.MAY, items=tuple(rules)
        )

    def _below(self, field: str, nodes: dict[str, Any], origin: Origin, depth: int) -> list[FieldRule]:
        """The ``fields`` of an item; each may read those above it."""
        rules: list[FieldRule] = []
        for key, node in nodes.items():
            below = Origin(origin.document, (*origin.place, "fields", key))
            if not all(_NAME.fullmatch(word) for word in key.split(".")):
                self._complaints.append(below.complain(f"'{key}' is not a field name: lower-case words with points"))
                continue
            siblings = frozenset(rule.name.partition(".")[2] for rule in rules)
            rule = self._rule(f"{ITEM}.{key}", field, node, below, siblings, depth + 1)
            if rule:
                rules.append(rule)
        return rules

    def _parts(
        self, field: str, node: Any, converter: Converter, origin: Origin, inside: Siblings
    ) -> dict[str, tuple[Source, ...]]:
        given = node if isinstance(node, dict) and not is_source(node) else {"value": node}
        for part in given:
            if part not in converter.parts:
                known = ", ".join(converter.parts)
                hint = did_you_mean(part, [*converter.parts, *FORMS])
                text = f"'{converter.name}' has no part '{part}'{hint}; its parts: {known}"
                self._complaints.append(origin.complain(text, "from", part))
        for part, wanted in converter.parts.items():
            if wanted.required and part not in given and given.keys() <= converter.parts.keys():
                self._complaints.append(origin.complain(f"'{converter.name}' needs the part '{part}'", "from"))
        below = Origin(origin.document, (*origin.place, "from"))
        places = {part: below if given is not node else Origin(origin.document, (*below.place, part)) for part in given}
        return {
            part: self.sources.alternatives(field, alternatives, converter.parts[part].kind, places[part], inside)
            for part, alternatives in given.items()
            if part in converter.parts
        }

    def _options(
        self, spec: dict[str, Any], converter: Converter, sources: dict[str, tuple[Source, ...]], origin: Origin
    ) -> Options:
        table, unit = spec.get("codes"), spec.get("unit")
        self._complaints += _options_problems(spec, converter, self._codes, sources, origin)
        unit = unit if isinstance(unit, dict) else {}
        pinned = unit.get("pinned") is True
        return Options(codes=self._codes, table=table, unit_in=unit.get("in"), unit_out=unit.get("out"), pinned=pinned)


def _spec_problems(name: str, spec: Any, origin: Origin) -> Iterable[Complaint]:
    if not isinstance(spec, dict):
        yield origin.complain("a field is a mapping with 'from' and 'as'")
        return
    yield from _key_problems(name, spec, origin)
    if "as" in spec and str(spec["as"]) not in CONVERTERS:
        yield origin.complain(f"unknown converter '{spec['as']}'{did_you_mean(str(spec['as']), CONVERTERS)}", "as")
    if spec.get("need", "may") not in list(Need):
        yield origin.complain(f"'need' is one of {', '.join(Need)}, not '{spec['need']}'", "need")
    if "for_each" in spec and not (isinstance(spec.get("fields", {}), dict) and spec.get("fields", True)):
        yield origin.complain("'fields' is a mapping of fields, at least one", "fields")
    if "range" in spec and _range(spec["range"]) is None:
        yield origin.complain("'range' is [lowest, highest], two numbers in the published unit", "range")
    elif "range" in spec and str(spec.get("as")) in CONVERTERS and not CONVERTERS[spec["as"]].has_range:
        yield origin.complain(f"'{spec['as']}' makes no number that a 'range' could be asked of", "range")


def _key_problems(name: str, spec: dict[str, Any], origin: Origin) -> Iterable[Complaint]:
    known = LIST_KEYS if "for_each" in spec else FIELD_KEYS
    for key in spec:
        if key in known:
            continue
        if key in _KEYS and "for_each" in spec:
            yield origin.complain(f"a field with 'for_each' makes a list: '{key}' belongs to one of its 'fields'", key)
        elif key == "fields":
            yield origin.complain("'fields' needs 'for_each'", key)
        else:
            yield origin.complain(f"unknown key '{key}'{did_you_mean(key, _KEYS)}", key)
    meant = {nearest(key, _KEYS) for key in spec if key not in _KEYS}
    for key in ("for_each", "fields") if "for_each" in spec else ("from", "as"):
        if key not in spec and key not in meant:
            yield origin.complain(f"'{name}' has no '{key}'")


def _range(node: Any) -> tuple[Decimal, Decimal] | None:
    numbers = (
        [one for one in node if isinstance(one, int | Decimal) and not isinstance(one, bool)] if isinstance(node, list) else []
    )
    if len(numbers) != 2 or len(node) != 2 or numbers[0] > numbers[1]:
        return None
    return Decimal(numbers[0]), Decimal(numbers[1])


def _options_problems(
    spec: dict[str, Any], converter: Converter, codes: Codes, sources: dict[str, tuple[Source, ...]], origin: Origin
) -> Iterable[Complaint]:
    table = str(spec["codes"]) if spec.get("codes") is not None else None
    if converter.takes_codes and table is None:
        yield origin.complain(f"'{converter.name}' needs 'codes'")
    if converter.takes_codes is False and table is not None:
        yield origin.complain(f"'{converter.name}' takes no 'codes'", "codes")
    elif table is not None and table not in codes.tables:
        yield origin.complain(f"there is no code table '{table}'{did_you_mean(str(table), codes.tables)}", "codes")
    for needed in converter.reads_tables:
        if needed not in codes.tables:
            yield origin.complain(f"'{converter.name}' needs the code table codes/{needed}.yaml")
    yield from _unit_problems(spec.get("unit"), converter, _carry_units(sources.get("value", ())), origin)


def _carry_units(sources: tuple[Source, ...]) -> bool:
    """True when every source is a report's content item: its numbers bring their own unit."""
    paths = [found.path if isinstance(found, RootPath | ItemPath) else None for found in map(plain, sources)]
    return bool(paths) and all(isinstance(path, SrPath) and path.attribute is None for path in paths)


def _unit_problems(unit: Any, converter: Converter, carried: bool, origin: Origin) -> Iterable[Complaint]:
    if not converter.takes_unit:
        if unit is not None:
            yield origin.complain(f"'{converter.name}' takes no 'unit'", "unit")
        return
    unknown = [key for key in unit if key not in UNIT_KEYS] if isinstance(unit, dict) else []
    if unknown:
        yield from (
            origin.complain(f"unknown key '{key}' in a unit{did_you_mean(key, UNIT_KEYS)}", "unit", key) for key in unknown
        )
    elif carried and (not isinstance(unit, dict) or set(unit) != {"out"}):
        yield origin.complain(f"'{converter.name}' needs 'unit: {{out: ...}}': a report's number brings its unit along", "unit")
    elif not carried and (not isinstance(unit, dict) or set(unit) - {"pinned"} != {"in", "out"}):
        yield origin.complain(f"'{converter.name}' needs 'unit: {{in: ..., out: ...}}'", "unit")
    else:
        yield from _wrong_units(unit, carried, origin)


def _wrong_units(unit: dict[str, Any], carried: bool, origin: Origin) -> Iterable[Complaint]:
    if not isinstance(unit.get("pinned", True), bool):
        yield origin.complain("'pinned' is true or false", "unit", "pinned")
    for key in ("in", "out"):
        name = unit.get(key)
        if key in unit and units.dimension(str(name)) is None:
            yield origin.complain(f"unknown unit '{name}'{did_you_mean(str(name), units.KNOWN)}", "unit", key)
    known = [found for key in ("in", "out") if key in unit and (found := units.dimension(str(unit[key])))]
    if not carried and len(known) == 2 and known[0] != known[1]:
        yield origin.complain(f"{unit['in']} cannot become {unit['out']}", "unit")
