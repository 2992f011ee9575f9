"""YAML -> :class:`~gateway.tables.rules.Adapter`, with every complaint and its line. Declarative: there is nothing to evaluate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.nuclear.results import KINDS, Link
from gateway.tables import definition
from gateway.tables.compile_read import Where, compile_match, compile_read, conditions, texts
from gateway.tables.compile_values import Values
from gateway.tables.rules import Adapter, AdapterTest, CheckRule, PointsRule, ResultRule, StatusRule, ValueRule
from gateway.yamlfile import Document

_PERCENT = Decimal(100)


def compile_adapter(name: str, document: Document, codes: Codes, complaints: list[Complaint]) -> Adapter | None:
    """One file. ``None`` when it is so wrong that nothing can be said about the rest."""
    data = document.data
    if not isinstance(data, dict):
        complaints.append(complain(document, (), "an adapter holds sections such as 'match', 'read' and 'results'"))
        return None
    before = len(complaints)
    complaints += _shape(document)
    if len(complaints) > before:
        return None
    return _Compiler(name, document, codes, complaints).adapter()


def _shape(document: Document) -> Iterable[Complaint]:
    data = document.data
    words: dict[Any, str] = {dict: "a mapping of keys", list: "a list", str: "a text", bool: "true or false"}
    for section, node in data.items():
        wanted = definition.SECTIONS.get(section)
        if wanted is None:
            yield complain(document, (section,), f"unknown section '{section}'{did_you_mean(section, definition.SECTIONS)}")
        elif not isinstance(node, wanted):
            yield complain(document, (section,), f"'{section}' must be {words.get(wanted, 'a list of columns')}")
    for section in definition.REQUIRED:
        if section not in data:
            yield complain(document, (), f"'{section}' is missing")


@dataclass
class _Compiler:
    name: str
    document: Document
    codes: Codes
    complaints: list[Complaint]

    def adapter(self) -> Adapter:
        data = self.document.data
        where = Where(self.document, self.complaints)
        read = compile_read(data["read"], where.at("read"))
        values = Values(self.codes, read, [section.name for section in read.sections])
        if not data["results"]:
            where.at("results").say("an adapter without results reads nothing")
        common = values.members(data.get("common") or {}, definition.RESULT_MEMBERS, where.at("common"))
        results = self._results(data["results"], common, values, where.at("results"))
        administration = self._administration(data.get("administration") or {}, values, where.at("administration"))
        node = data.get("administration") or {}
        adapter = Adapter(
            name=self.name,
            title=data["title"],
            version=_version(data, self.codes, values),
            unverified=bool(data.get("unverified")),
            match=compile_match(data["match"], where.at("match")),
            read=read,
            skip=conditions(data.get("skip"), where.at("skip")),
            group_by=self._group_by(data.get("group_by"), where.at("group_by")),
            is_one_group=data.get("group_by") == definition.WHOLE_TABLE,
            patient=values.members(data.get("patient") or {}, definition.PATIENT_MEMBERS, where.at("patient")),
            device=values.members(data.get("device") or {}, definition.DEVICE_MEMBERS, where.at("device")),
            document=values.members(data.get("document") or {}, definition.DOCUMENT_MEMBERS, where.at("document")),
            administration=administration,
            creates_administration=node.get("create") is True,
            needs_administration=any(KINDS[rule.kind].administration is Link.REQUIRED for rule in results),
            results=results,
            checks=self._checks(data.get("checks") or [], results, where.at("checks")),
            status=self._status(data.get("status") or {}, where.at("status")),
            tests=tuple(self._tests(data["tests"], where.at("tests"))),
        )
        self._check_name(adapter, where)
        return adapter

    def _check_name(self, adapter: Adapter, where: Where) -> None:
        if adapter.unverified and not self.name.startswith("example_"):
            where.at("unverified").say("an adapter that nobody verified is an example: name its file 'example_....yaml'")
        if adapter.creates_administration and not {"started_at", "activity"} <= {rule.name for rule in adapter.administration}:
            where.at("administration").say("an administration that a table creates needs 'started_at' and 'activity'")

    def _group_by(self, node: Any, where: Where) -> tuple[str, ...]:
        if isinstance(node, str):
            if node != definition.WHOLE_TABLE:
                where.say("'group_by' is a list of columns, or 'table' where the whole table is one group")
            return ()
        return texts(node, where)

    def _administration(self, node: dict[str, Any], values: Values, where: Where) -> tuple[ValueRule, ...]:
        create = node.get("create", False)
        if not isinstance(create, bool):
            where.at("create").say("'create' is true or false")
        rest = {key: value for key, value in node.items() if key != "create"}
        return values.members(rest, definition.ADMINISTRATION_MEMBERS, where)

    def _results(
        self, nodes: dict[str, Any], common: tuple[ValueRule, ...], values: Values, where: Where
    ) -> tuple[ResultRule, ...]:
        made = []
        for name, node in nodes.items():
            here = where.at(name)
            if not isinstance(node, dict):
                here.say("a result is a mapping: 'kind', 'value', ...")
                continue
            kind = node.get("kind")
            if kind not in KINDS:
                here.at("kind").say(f"'kind' is one of the kinds of dosimetry facts{did_you_mean(str(kind), KINDS)}")
                continue
            rule = self._result(name, node, kind, common, values, here)
            made.append(rule)
            told = {member.name for member in rule.members}
            if KINDS[kind].region and "region" not in told:
                here.say(f"a fact of kind {kind} needs a 'region'")
            if not told & {"value", "concept", "text"} and rule.points is None:
                here.say("a result needs a 'value', a 'concept', a 'text' or 'points'")
        return tuple(made)

    def _result(
        self, name: str, node: dict[str, Any], kind: str, common: tuple[ValueRule, ...], values: Values, where: Where
    ) -> ResultRule:
        taken = {key for key in node if node[key] is None}
        rest = {key: value for key, value in node.items() if key not in (*definition.RESULT_KEYS, "points") and value is not None}
        own = values.members(rest, definition.RESULT_MEMBERS, where, kind=kind)
        names = {member.name for member in own} | taken
        points = node.get("points")
        section = node.get("section", "")
        if section and section not in values.sections:
            where.at("section").say(f"there is no section '{section}'{did_you_mean(str(section), values.sections)}")
        return ResultRule(
            name=name,
            kind=kind,
            section=section,
            when=conditions(node.get("when"), where.at("when")),
            members=(*own, *(member for member in common if member.name not in names)),
            points=PointsRule(members=values.members(points, definition.POINT_MEMBERS, where.at("points"), kind=kind))
            if points is not None
            else None,
        )

    def _checks(self, nodes: list[Any], results: tuple[ResultRule, ...], where: Where) -> tuple[CheckRule, ...]:
        known = {result.name for result in results} | {f"{r.name}.{m.name}" for r in results for m in r.members}
        known |= {"administration.activity"}
        made = []
        for index, node in enumerate(nodes):
            here = where.at(index)
            if not isinstance(node, dict) or node.get("check") not in definition.CHECKS:
                name = str(node.get("check")) if isinstance(node, dict) else ""
                here.say(f"'check' is one of {', '.join(definition.CHECKS)}{did_you_mean(name, definition.CHECKS)}")
                continue
            operands, failing, _ = definition.CHECKS[node["check"]]
            for key in node:
                if key not in ("check", *operands, *definition.CHECK_KEYS):
                    here.at(key).say(f"the check '{node['check']}' knows no '{key}'{did_you_mean(key, operands)}")
            for key in operands:
                if key not in node:
                    here.say(f"the check '{node['check']}' needs '{key}'")
                elif node[key] not in known:
                    here.at(key).say(f"there is no result '{node[key]}'{did_you_mean(str(node[key]), known)}")
            otherwise = node.get("otherwise", failing)
            if otherwise not in ("withhold", "flag"):
                here.at("otherwise").say("'otherwise' is 'withhold' or 'flag'")
            made.append(
                CheckRule(
                    name=node["check"],
                    operands=tuple((key, str(node.get(key))) for key in operands),
                    within=self._share(node.get("within", "2 %"), here.at("within")),
                    failing=otherwise,
                )
            )
        return tuple(made)

    def _share(self, node: Any, where: Where) -> Decimal:
        text = str(node)
        number = text.removesuffix("%").strip()
        if not text.endswith("%") or not number.replace(".", "", 1).isdigit() or Decimal(number) > 20:
            where.say("'within' is a share in percent up to 20, e.g. '2 %'")
            return Decimal("0.02")
        return Decimal(number) / _PERCENT

    def _status(self, node: dict[str, Any], where: Where) -> StatusRule:
        for key in node:
            if key not in definition.STATUS_KEYS:
                where.at(key).say(f"unknown key '{key}'{did_you_mean(key, definition.STATUS_KEYS)}")
        names = node.get("approvers") or []
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            where.at("approvers").say("'approvers' is a list of names, each a text")
            names = []
        return StatusRule(approvers=frozenset(names))

    def _tests(self, nodes: list[Any], where: Where) -> Iterable[AdapterTest]:
        names: set[str] = set()
        if not nodes:
            where.say("an adapter without a test is not believed")
        for index, node in enumerate(nodes):
            here = where.at(index)
            if not isinstance(node, dict) or not isinstance(node.get("name"), str) or "given" not in node:
                here.say("a test needs 'name', 'given' and 'expect'")
                continue
            for key in node:
                if key not in definition.TEST_KEYS:
                    here.at(key).say(f"unknown key '{key}'{did_you_mean(key, definition.TEST_KEYS)}")
            if node["name"] in names:
                here.say(f"two tests are named '{node['name']}'")
            names.add(node["name"])
            expect = node.get("expect")
            if not isinstance(expect, dict) or not any(value not in (None, [], {}) for value in expect.values()):
                here.at("expect").say("a test that expects nothing proves nothing")
                continue
            for key in expect:
                if key not in definition.EXPECT_KEYS:
                    here.at("expect").at(key).say(f"unknown key '{key}'{did_you_mean(key, definition.EXPECT_KEYS)}")
            yield AdapterTest(
                name=node["name"],
                given=node["given"],
                filename=str(node.get("file", "")),
                expect=expect,
                where=self.document.where(("tests", index)),
            )


def _version(data: dict[str, Any], codes: Codes, values: Values) -> str:
    """Changes with everything that decides the facts; comments and tests do not."""
    content = {
        "adapter": {key: value for key, value in data.items() if key not in ("tests", "title")},
        "codes": {name: codes.tables[name].digest for name in sorted(values.tables) if name in codes.tables},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]
