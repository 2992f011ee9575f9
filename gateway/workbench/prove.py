"""What no test protects: every field and every line of a resource is dropped in turn; where no test then fails, it is named.

A rule without proof can be wrong for years. Examples are encoded and read once per test; a dropped line is rendered anew from the record
that is there, so that all shipped mappings are proven within seconds.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.dicom.reading import Header
from gateway.errors import Quarantined
from gateway.mapping.language import Mapping, Mappings
from gateway.mapping.rules import MappingTest, ResultRule
from gateway.mapping.template import ResourceTemplate, TemplateError, compile_template
from gateway.model import Json, JsonObject, Record
from gateway.workbench.origins import Origins
from gateway.workbench.selftest import (
    dicom_differences,
    given_record,
    quarantine_differences,
    read_example,
    read_record,
    record_differences,
    render_all,
    renderings,
    resource_differences,
)

#: Keys of a resource that no test can see dropped: without them it is none, and tests know no ids.
_NO_LINES = frozenset({"per", "identity", "resourceType", "kinds"})
_CHARSET = "charset"
#: What gathering finds among several headers: one example has none of it.
_NOT_GIVEN = (
    "administration.remarks",
    "administration.reconciled",
    "document.replaces",
    "document.url",
    "document.remarks",
    "result.parts",
)
#: What makes a literal more than words: a hole, a reference, a condition.
_VERBS = ("if", "unless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """A rule that could vanish unnoticed."""

    mapping: str
    what: str  #: ``field``, ``result``, ``element`` or ``dicom``
    name: str  #: ``series.lot``, ``study.series.uid``
    where: str  #: ``pet_common.yaml:43``

    def as_json(self) -> JsonObject:
        return {"mapping": self.mapping, "what": self.what, "name": self.name, "where": self.where}


def prove(mappings: Mappings, origins: Origins) -> list[Unproven]:
    """Everything that no test of its mapping, or of one that inherits it, protects; in the order of mappings and lines."""
    cases = {mapping.name: [_Case(mapping, test) for test in mapping.tests] for mapping in mappings}
    found: list[Unproven] = []
    for mapping in sorted(mappings, key=lambda mapping: mapping.name):
        heirs = [heir for heir in mappings if mapping.name in heir.lineage]
        heirs.sort(key=lambda heir: (heir is not mapping, heir.name))  # its own tests first
        found += _fields(mapping, heirs, cases, origins)
        found += _results(mapping, heirs, cases)
        found += _elements(mapping, heirs, cases, origins)
        found += _dicom(mapping, heirs, cases, origins)
    return found


def _own_fields(mapping: Mapping) -> list[str]:
    kept = {rule.name for rule in mapping.fields}
    return [name for name in mapping.own_fields if name in kept]  # one that is taken away has no rule to drop


def _fields(mapping: Mapping, heirs: Sequence[Mapping], cases: dict[str, list[_Case]], origins: Origins) -> Iterator[Unproven]:
    for name in _own_fields(mapping):
        where = origins.field(mapping.name, name)
        same = [heir for heir in heirs if origins.field(heir.name, name) == where]
        if not any(case.fails_without_field(name) for heir in same for case in _likely_first(cases[heir.name], name)):
            yield Unproven(mapping=mapping.name, what="field", name=name, where=where)


def _results(mapping: Mapping, heirs: Sequence[Mapping], cases: dict[str, list[_Case]]) -> Iterator[Unproven]:
    """Results, and each of their members, where they are written."""
    for result in mapping.results:
        if not result.where.partition(":")[0].endswith(f"{mapping.name}.yaml"):
            continue
        same = [heir for heir in heirs if any(one.where == result.where for one in heir.results)]
        members = [rule.name.partition(".")[2] for rule in result.fields]
        for name in (None, *members, *result.fixed):
            tried = (case for heir in same for case in _likely_first(cases[heir.name], name or result.name))
            if not any(case.fails_without_result(result.name, name) for case in tried):
                shown = f"results.{result.name}" + (f".{name}" if name else "")
                yield Unproven(mapping=mapping.name, what="result", name=shown, where=result.where.rpartition(":")[0])


def _without_member(result: ResultRule, member: str) -> ResultRule:
    kept = tuple(rule for rule in result.fields if rule.name.partition(".")[2] != member)
    fixed = {name: value for name, value in result.fixed.items() if name != member}
    return dataclasses.replace(result, fields=kept, fixed=fixed)


def _likely_first(cases: list[_Case], name: str) -> list[_Case]:
    """Tests that speak of a field are likely to protect it."""
    word = name.rpartition(".")[2]
    return sorted(cases, key=lambda case: word not in case.words)


def _elements(mapping: Mapping, heirs: Sequence[Mapping], cases: dict[str, list[_Case]], origins: Origins) -> Iterator[Unproven]:
    own = origins.effective(mapping.name).own.get("resources") or {}
    for name, node in own.items():
        if not isinstance(node, dict) or name not in mapping.resources:
            continue
        where = origins.resource(mapping.name, name)
        same = [heir for heir in heirs if origins.resource(heir.name, name) == where]
        given = {place for place, path in mapping.resources[name].body.paths if path.startswith(_NOT_GIVEN)}
        for place in _lines(node, ()):
            if place in given:
                continue
            without = _dropped(mapping.resources[name], node, place)
            if without and not any(case.fails_with(without) for heir in same for case in cases[heir.name]):
                shown = ".".join(str(step) for step in (name, *place))
                line = origins.resource(mapping.name, name, *place)
                yield Unproven(mapping=mapping.name, what="element", name=shown, where=line)


def _dicom(mapping: Mapping, heirs: Sequence[Mapping], cases: dict[str, list[_Case]], origins: Origins) -> Iterator[Unproven]:
    """The rules of the section ``dicom``, each where it is written. ``identity`` only matters once people have decided: not tested here."""
    own = [rule for rule in mapping.dicom.elements if rule.where.partition(":")[0].endswith(f"{mapping.name}.yaml")]
    for rule in own:
        same = [heir for heir in heirs if any(one.where == rule.where for one in heir.dicom.elements)]
        if not any(case.fails_without_dicom(rule.where) for heir in same for case in cases[heir.name]):
            yield Unproven(mapping=mapping.name, what="dicom", name=rule.target.text, where=rule.where.rpartition(":")[0])
    writes_charset = _CHARSET in (origins.effective(mapping.name).own.get("dicom") or {})
    if writes_charset and not any(case.fails_without_dicom(_CHARSET) for heir in heirs for case in cases[heir.name]):
        yield Unproven(mapping=mapping.name, what="dicom", name="charset", where=origins.dicom(mapping.name, "charset"))


def _lines(node: Json, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Every place that reads something or decides something. Fixed words beside them are dropped with the object they stand in."""
    pairs: Iterable[tuple[str | int, Json]] = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        if not place and key in _NO_LINES:
            continue
        if key in _VERBS:
            if not _says_twice(node, str(key)):
                yield (*place, key)
        elif isinstance(value, dict | list):
            yield from _lines(value, (*place, key))
        elif key != "is" and isinstance(value, str) and ("${" in value or value.startswith("@")):
            yield (*place, key)


def _says_twice(node: JsonObject, verb: str) -> bool:
    """``if: patient.name`` around nothing but parts of ``patient.name``: what is absent prunes anyway."""
    body = compile_template({key: value for key, value in node.items() if key not in (*_VERBS, "for_each", "is")})
    asked = node[verb]
    return verb == "if" and isinstance(asked, str) and all(f"{path}.".startswith(f"{asked}.") for _, path in body.paths)


def _dropped(template: ResourceTemplate, node: JsonObject, place: tuple[str | int, ...]) -> ResourceTemplate | None:
    """The template without one line; None when that would be no template any more."""
    body: Json = copy.deepcopy({key: value for key, value in node.items() if key not in ("per", "identity", "kinds")})
    inner = body
    for step in place[:-1]:
        inner = inner[step]
    # An entry of a list becomes nothing, so that the other entries keep their places.
    if isinstance(inner, list):
        inner[int(place[-1])] = None
    else:
        del inner[place[-1]]
    try:
        return dataclasses.replace(template, body=compile_template(body))
    except TemplateError:
        return None


class _Case:
    """One test, its object read once."""

    def __init__(self, mapping: Mapping, test: MappingTest) -> None:
        self.mapping, self.test = mapping, test
        self.words = repr(test.expect)
        self._header: Header | None = None
        self._record: Record | None = None
        self._scopes: dict[str, list[JsonObject]] | None = None

    def fails_without_field(self, name: str) -> bool:
        mapping = self.mapping
        return self._fails_under(dataclasses.replace(mapping, fields=tuple(rule for rule in mapping.fields if rule.name != name)))

    def fails_without_result(self, name: str, member: str | None) -> bool:
        """Without a result, or without one member of it."""
        kept = (
            _without_member(rule, member) if member and rule.name == name else rule
            for rule in self.mapping.results
            if member or rule.name != name
        )
        return self._fails_under(dataclasses.replace(self.mapping, results=tuple(kept)))

    def _fails_under(self, without: Mapping) -> bool:
        try:
            record = self._record_of(without)
        except Quarantined as error:
            return bool(list(quarantine_differences(error, self.test.expect)))
        if self.test.expect.get("outcome") == "quarantined":
            return True
        if any(True for _ in record_differences(record, self.test.expect)):
            return True
        made = render_all(without, record)
        names = dict.fromkeys((*self.test.expect.get("resources", {}), *made))
        return any(True for key in names for _ in resource_differences(key, made.get(key), self.test.expect))

    def fails_without_dicom(self, where: str) -> bool:
        if not self.test.expect.get("dicom"):
            return False
        rules = self.mapping.dicom
        kept = tuple(rule for rule in rules.elements if rule.where != where)
        dropped = dataclasses.replace(rules, elements=kept, utf8=rules.utf8 and where != _CHARSET)
        without = dataclasses.replace(self.mapping, dicom=dropped)
        record = self._record_of(self.mapping)
        return any(True for _ in dicom_differences(without, self.test, record))

    def fails_with(self, template: ResourceTemplate) -> bool:
        """Whether the test fails when one of its resources is made by this template instead."""
        if self._scopes is None:
            self._scopes = self._filled()
        before = self.mapping.resources[template.name].body
        for index, scope in enumerate(self._scopes.get(template.name, ())):
            name = f"{template.name}[{index}]" if index else template.name
            made = template.body.render(scope)
            if made != before.render(scope) and any(True for _ in resource_differences(name, made, self.test.expect)):
                return True
        return False

    def _filled(self) -> dict[str, list[JsonObject]]:
        try:
            record = self._record_of(self.mapping)
        except Quarantined:
            return {}
        found: dict[str, list[JsonObject]] = {}
        for template, scope in renderings(self.mapping, record):
            found.setdefault(template.name, []).append(scope)
        return found

    def _record_of(self, mapping: Mapping) -> Record:
        return given_record(mapping, self.test) if self.test.record else read_record(self._read(), mapping)

    def _read(self) -> Header:
        if self._header is None:
            self._header = read_example(self.mapping, self.test)
        return self._header
