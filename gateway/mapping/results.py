"""The ``results`` of a mapping file -> rules, every word checked against the table of kinds (:mod:`gateway.nuclear.results`).

::

    results:
      organ_dose:
        kind: organ-absorbed-dose
        of: administration                                # once per item of 'for_each', bound to that administration
        for_each: {sr: [$administration, 113517 DCM]}     # once per item: $item
        when: {...}
        set: {target_definition: whole-organ}             # members that the mapping knows
        fields:
          value: {from: {sr: [$item, 113518 DCM]}, as: quantity, unit: {out: Gy}}
          region: {from: {sr: [$item, 363698007 SCT]}, as: concept, codes: organs}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gateway.mapping.complaints import Complaint, did_you_mean, nearest
from gateway.mapping.conversion import Kind
from gateway.mapping.files import Effective, Origin, Piece
from gateway.mapping.rules import REPEATED, FieldRule, ResultRule
from gateway.mapping.scopes import gives
from gateway.mapping.sources import ITEM, ItemPath
from gateway.nuclear.results import KINDS, MEMBERS, WORDS

if TYPE_CHECKING:
    from gateway.mapping.fields import FieldCompiler

RESULT_KEYS = ("kind", "of", "for_each", "when", "set", "fields")
#: What a result that is no part of an administration may read: anything that a document holds.
_READER = "document.result"
#: FHIR types that may stand for another one.
_FITS = {
    "string": ("string", "code", "dateTime", "date"),
    "code": ("code", "string"),
    "dateTime": ("dateTime", "date"),
    "decimal": ("decimal", "integer", "unsignedInt"),
    "integer": ("integer", "unsignedInt"),
}
_WHOLES = {"Quantity": ("value", "unit"), "CodeableConcept": ("text",)}


def compile_results(effective: Effective, compiler: FieldCompiler, complaints: list[Complaint]) -> tuple[ResultRule, ...]:
    """Compile all results of a mapping, in the order in which they are written."""
    made = [_Compiler(piece, compiler, complaints).rule(name) for name, piece in effective.results.items()]
    return tuple(rule for rule in made if rule)


def kinds_problem(node: dict[str, Any]) -> str | None:
    """What is wrong with the ``kinds`` of a resource template, or ``None``."""
    if "kinds" not in node:
        return None
    kinds = node["kinds"]
    if node.get("per") != "result":
        return "'kinds' goes with 'per: result'"
    if not isinstance(kinds, list) or not kinds:
        return "'kinds' is a list of kinds of results"
    wrong = next((kind for kind in kinds if kind not in KINDS), None)
    return f"'{wrong}' is not a kind of result{did_you_mean(str(wrong), KINDS)}" if wrong else None


class _Compiler:
    def __init__(self, piece: Piece, compiler: FieldCompiler, complaints: list[Complaint]) -> None:
        self._node, self._origin = piece.node, piece.origin
        self._fields = compiler
        self._complaints = complaints

    def rule(self, name: str) -> ResultRule | None:
        before = len(self._complaints)
        self._complaints += self._problems(name)
        if not isinstance(self._node, dict):
            return None
        node = self._node
        bound = node.get("of") == REPEATED
        reader = f"{REPEATED}.result" if bound else _READER
        sources = (
            self._fields.sources.alternatives(reader, node["for_each"], Kind.ELEMENT, self._at("for_each"))
            if "for_each" in node
            else ()
        )
        inside: frozenset[str] | None = frozenset() if "for_each" in node else None
        when = self._fields.sources.condition(reader, node["when"], self._origin, "when") if "when" in node else None
        rules = self._fields.members(reader, node.get("fields") or {}, self._origin)
        self._complaints += self._member_problems(rules, per_item=inside is not None)
        if len(self._complaints) > before:
            return None
        return ResultRule(
            name=name,
            kind=node.get("kind"),
            fields=tuple(rules),
            fixed=node.get("set") or {},
            of_administration=bound,
            sources=sources,
            when=when,
            where=self._origin.document.where(self._origin.place),
        )

    def _at(self, key: str) -> Origin:
        return Origin(self._origin.document, (*self._origin.place, key))

    def _problems(self, name: str) -> Iterable[Complaint]:
        node = self._node
        if not isinstance(node, dict):
            yield self._origin.complain("a result is a mapping with 'kind' and 'fields'")
            return
        for key in node:
            if key not in RESULT_KEYS:
                yield self._origin.complain(f"unknown key '{key}'{did_you_mean(key, RESULT_KEYS)}", key)
        node, self._origin = self._origin.as_meant(node, RESULT_KEYS)
        for key in ("set", "fields"):
            if not isinstance(node.get(key, {}), dict):
                yield self._origin.complain(f"'{key}' is a mapping of members", key)
        self._node = node = {key: value for key, value in node.items() if isinstance(value, dict) or key not in ("set", "fields")}
        yield from self._kind_problems(name)
        if node.get("of", REPEATED) != REPEATED:
            yield self._origin.complain(f"a result is 'of: {REPEATED}', or of the document as a whole", "of")
        elif "of" in node and self._fields.repeated is None and not self._fields.may_repeat:
            yield self._origin.complain(f"'of: {REPEATED}' needs 'for_each: {{{REPEATED}: ...}}'", "of")
        for member, value in (node.get("set") or {}).items():
            yield from self._set_problems(member, value)

    def _kind_problems(self, name: str) -> Iterable[Complaint]:
        kind = self._node.get("kind")
        if kind is None and "kind" not in (self._node.get("fields") or {}):
            yield self._origin.complain(f"result '{name}' has no 'kind'")
        elif kind is not None and kind not in KINDS:
            yield self._origin.complain(f"'{kind}' is not a kind of result{did_you_mean(str(kind), KINDS)}", "kind")

    def _set_problems(self, member: str, value: Any) -> Iterable[Complaint]:
        wanted = MEMBERS.get(member)
        if wanted is None:
            yield self._origin.complain(f"a result has no member '{member}'{did_you_mean(member, MEMBERS)}", "set", member)
        elif member in WORDS and value not in WORDS[member]:
            words = ", ".join(sorted(WORDS[member]))
            yield self._origin.complain(f"'{member}' is one of {words}", "set", member)
        elif wanted in _WHOLES and not (isinstance(value, dict) and all(key in value for key in _WHOLES[wanted])):
            yield self._origin.complain(f"'{member}' is a mapping with {' and '.join(_WHOLES[wanted])}", "set", member)

    def _member_problems(self, rules: Iterable[FieldRule], *, per_item: bool) -> Iterable[Complaint]:
        """Members that do not exist, hold something else, or are measured in a unit that is not the kind's."""
        for rule in rules:
            member = rule.name.partition(".")[2]
            yield from self._one(member, rule)
            if not per_item and any(isinstance(seen, ItemPath) and seen.item == ITEM for seen in _own(rule)):
                yield self._origin.complain(f"'${ITEM}' needs 'for_each'", "fields", member)

    def _one(self, member: str, rule: FieldRule) -> Iterable[Complaint]:
        place = ("fields", member)
        if rule.items:
            inner = {name for name in MEMBERS if name.startswith(f"{member}[].")}
            if not inner:
                yield self._origin.complain(f"a result has no list '{member}'{did_you_mean(member, MEMBERS)}", *place)
                return
            for one in rule.items:
                yield from self._typed(f"{member}[].{one.name.partition('.')[2]}", one, place)
            return
        yield from self._typed(member, rule, place)
        written = str(self._node.get("kind"))
        kind = KINDS.get(nearest(written, KINDS) or written)  # of a misspelt one that which is meant
        out = rule.options.unit_out
        if member == "value" and kind and kind.units and out is not None and out not in kind.units:
            yield self._origin.complain(f"'{kind.name}' is published in {' or '.join(kind.units)}, not in {out}", *place, "unit")

    def _typed(self, member: str, rule: FieldRule, place: tuple[str, ...]) -> Iterable[Complaint]:
        wanted = MEMBERS.get(member)
        if wanted is None:
            yield self._origin.complain(f"a result has no member '{member}'{did_you_mean(member, MEMBERS)}", *place)
            return
        hole = gives(rule.converter.name, rule.converter.result)
        found = "list" if hole.many else hole.type
        if found is not None and found != wanted and found not in _FITS.get(wanted, ()):
            yield self._origin.complain(f"'{rule.converter.name}' gives no {wanted}, which '{member}' is", *place, "as")


def _own(rule: FieldRule) -> Iterable[object]:
    """The sources of a member itself, not of its items: those have an item of their own."""
    if rule.items:
        return rule.sources["items"]
    return rule.looked_at()
