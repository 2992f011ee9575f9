"""The ``fields`` of a mapping file -> rules: every word checked against converters, keywords, units, code tables and other fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, did_you_mean, nearest
from gateway.mapping.conversion import Converter, Kind, Options
from gateway.mapping.field_words import (
    KEYS,
    as_range,
    meant_converter,
    misspelt_source,
    options_problems,
    part_problems,
    spec_problems,
)
from gateway.mapping.files import Effective, Origin, Piece
from gateway.mapping.reads import Siblings, SourceCompiler, is_source
from gateway.mapping.registry import LIST
from gateway.mapping.rules import LEVELS, REPEATED, FieldRule, Need, Source
from gateway.mapping.sources import ITEM

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
        #: ``for_each`` is there, with a mistake that is told already, or may stand where nothing could be read.
        self.may_repeat = bool(effective.for_each) or effective.lacks

    def fields(self) -> list[FieldRule]:
        compiled = [self._field(name, piece) for name, piece in self._effective.fields.items()]
        return [rule for rule in compiled if rule]

    def members(self, reader: str, nodes: dict[str, Any], origin: Origin) -> list[FieldRule]:
        """The fields of a result, named ``item.<member>``. ``reader`` is a field name that stands for what they may read."""
        return self._below(reader, nodes, origin, 0)

    def _field(self, name: str, piece: Piece) -> FieldRule | None:
        if name in LEVELS and isinstance(piece.node, dict) and piece.node and {*KEYS}.isdisjoint(piece.node):
            text = "the name of a field is written whole:"
            self._complaints += [piece.origin.complain(f"{text} '{name}.{key}: ...'", key) for key in piece.node]
            return None
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
        if level == REPEATED and self.repeated is None and not self.may_repeat:
            yield piece.origin.complain(f"'{REPEATED}' fields need 'for_each: {{{REPEATED}: ...Sequence}}'")

    def _rule(self, name: str, field: str, spec: Any, origin: Origin, inside: Siblings, depth: int) -> FieldRule | None:
        """One field, with mistakes as far as it can be understood: what else is wrong with it, and with what reads it, is told as well.

        ``field`` is the top-level field that it belongs to, which decides what it may read.
        """
        self._complaints += spec_problems(name, spec, origin)
        if not isinstance(spec, dict):
            return None
        spec, origin = origin.as_meant(spec, KEYS)
        when = self.sources.condition(field, spec["when"], origin, "when", inside=inside) if "when" in spec else None
        make = self._list if "for_each" in spec else self._plain
        rule = make(name, field, spec, origin, inside, depth)
        if rule is None:
            return None
        need = spec.get("need", "may")
        return FieldRule(
            name=name,
            converter=rule.converter,
            sources=rule.sources,
            options=rule.options,
            need=Need(need) if need in list(Need) else Need.MAY,
            range=rule.range,
            when=when,
            items=rule.items,
            where=origin.document.where(origin.place),
        )

    def _plain(
        self, name: str, field: str, spec: dict[str, Any], origin: Origin, inside: Siblings, depth: int
    ) -> FieldRule | None:
        converter = meant_converter(spec)
        sources = self._parts(field, spec["from"], converter, origin, inside) if "from" in spec else {}
        self._complaints += options_problems(spec, converter, self._codes, origin)
        if converter is None:
            return None
        limits = as_range(spec["range"]) if "range" in spec else None
        options = self._options(spec)
        return FieldRule(name=name, converter=converter, sources=sources, options=options, need=Need.MAY, range=limits)

    def _list(
        self, name: str, field: str, spec: dict[str, Any], origin: Origin, inside: Siblings, depth: int
    ) -> FieldRule | None:
        if depth > _DEEPEST_LIST:
            self._complaints.append(origin.complain(f"lists are at most {_DEEPEST_LIST} deep", "for_each"))
        place = origin.below("for_each")
        sources = self.sources.alternatives(field, spec["for_each"], LIST.parts["items"].kind, place, inside)
        fields = spec.get("fields")
        rules = self._below(field, fields if isinstance(fields, dict) else {}, origin, depth)
        options = Options(codes=self._codes)
        return FieldRule(
            name=name, converter=LIST, sources={"items": sources}, options=options, need=Need.MAY, items=tuple(rules)
        )

    def _below(self, field: str, nodes: dict[str, Any], origin: Origin, depth: int) -> list[FieldRule]:
        """The ``fields`` of an item; each may read those above it."""
        rules: list[FieldRule] = []
        above: set[str] = set()
        for key, node in nodes.items():
            below = origin.below("fields", key)
            if not all(_NAME.fullmatch(word) for word in key.split(".")):
                self._complaints.append(below.complain(f"'{key}' is not a field name: lower-case words with points"))
            rule = self._rule(f"{ITEM}.{key}", field, node, below, frozenset(above), depth + 1)
            above.add(key)
            if rule:
                rules.append(rule)
        return rules

    def _parts(
        self, field: str, node: Any, converter: Converter | None, origin: Origin, inside: Siblings
    ) -> dict[str, tuple[Source, ...]]:
        """The sources of each part. Of an unknown converter, and of an unknown part, what stands there is judged all the same."""
        given, below = node if isinstance(node, dict) and not is_source(node) else {"value": node}, origin.below("from")
        self._complaints += part_problems(given, converter, origin)
        source = misspelt_source(given, converter)
        if source is not None or given is not node:
            given = given if source is None else {"value": source}
            places = {"value": below}
        else:
            places = {part: below.below(part) for part in given}
        wanted = {part: converter.parts[part].kind for part in given if converter and part in converter.parts}
        return {
            part: self.sources.alternatives(field, one, wanted.get(part, self._kind(one)), places[part], inside)
            for part, one in given.items()
        }

    def _kind(self, node: Any) -> Kind:
        """What a part reads of which nobody says it: a field where the name of one stands, else elements."""
        words = node if isinstance(node, list) else [node]
        return Kind.FIELD if any(isinstance(word, str) and self.sources.is_field(word) for word in words) else Kind.ELEMENT

    def _options(self, spec: dict[str, Any]) -> Options:
        table, unit = spec.get("codes"), spec.get("unit")
        unit = unit if isinstance(unit, dict) else {}
        return Options(
            codes=self._codes,
            table=str(table) if table is not None else None,
            unit_in=unit.get("in"),
            unit_out=unit.get("out"),
            pinned=unit.get("pinned") is True,
        )
