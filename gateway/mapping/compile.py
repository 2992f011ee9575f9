"""Effective mapping files -> frozen rules. Complains about every mistake it meets, and goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TypeAlias

from gateway.mapping.codes import NUCLIDES_TABLE, Codes
from gateway.mapping.complaints import Complaint, did_you_mean, nearest
from gateway.mapping.dicom_section import compile_dicom
from gateway.mapping.fields import FieldCompiler
from gateway.mapping.files import Effective, Piece
from gateway.mapping.ignored import compile_ignored
from gateway.mapping.match_words import match_rules
from gateway.mapping.results import compile_results, kinds_problem
from gateway.mapping.rules import (
    LEVELS,
    FieldRef,
    FieldRule,
    Mapping,
    MappingTest,
    ResultRule,
)
from gateway.mapping.template import ResourceTemplate, read_template
from gateway.yamlfile import Place

_RESOURCE_KEYS = ("per", "identity", "resourceType")
_OPTIONAL_KEYS = ("kinds",)
PER = ("patient", "study", "series", "device", "administration", "document", "result")


#: Compiled resources by name and place of what they were written in: heirs share those of their bases.
Templates: TypeAlias = "dict[tuple[str, str, Place], ResourceTemplate]"


def compile_mapping(effective: Effective, codes: Codes, complaints: list[Complaint], templates: Templates) -> Mapping:
    """Compile one mapping; after any complaint the result must not be used. ``templates`` are those compiled for others already."""
    compiler = FieldCompiler(effective, codes, complaints)
    fields = compiler.fields()
    results = compile_results(effective, compiler, complaints)
    resources = {
        name: made for name, piece in effective.resources.items() if (made := _shared(name, piece, complaints, templates))
    }
    return Mapping(
        name=effective.name,
        version=_version(effective, fields, results, codes),
        lineage=effective.lineage,
        conditions=match_rules(effective, complaints),
        fields=_ordered(fields, effective, complaints),
        own_fields=tuple(name for name, node in (effective.own.get("fields") or {}).items() if node is not None),
        repeated=compiler.repeated,
        resources=resources,
        codes=codes,
        results=results,
        ignored=compile_ignored(effective, codes, complaints),
        dicom=compile_dicom(effective, compiler.sources, complaints),
        example=effective.example,
        tests=tuple(_tests(effective)),
        abstract=effective.abstract,
        priority=effective.priority,
        depth=effective.depth,
        shadow=effective.shadow,
        file=effective.document.name,
    )


def _ordered(fields: list[FieldRule], effective: Effective, complaints: list[Complaint]) -> tuple[FieldRule, ...]:
    """Level by level, each field after those that it refers to; a circle is a complaint."""
    by_name = {rule.name: rule for rule in fields}
    ordered: dict[str, FieldRule] = {}

    def visit(rule: FieldRule, path: tuple[str, ...]) -> None:
        if rule.name in path:
            piece = effective.fields[rule.name]
            complaints.append(piece.origin.complain(f"'{rule.name}' refers to itself: {' -> '.join((*path, rule.name))}"))
            return
        for source in rule.looked_at():
            if isinstance(source, FieldRef) and source.name in by_name and source.name not in ordered:
                visit(by_name[source.name], (*path, rule.name))
        ordered.setdefault(rule.name, rule)

    for rule in sorted(fields, key=lambda rule: LEVELS.index(rule.level)):
        visit(rule, ())
    return tuple(ordered.values())


def _shared(name: str, piece: Piece, complaints: list[Complaint], templates: Templates) -> ResourceTemplate | None:
    place = (name, piece.origin.document.name, piece.origin.place)
    made = templates.get(place) or _resource(name, piece, complaints)
    if made is not None:
        templates[place] = made
    return made


def _resource(name: str, piece: Piece, complaints: list[Complaint]) -> ResourceTemplate | None:
    node = piece.node
    if not isinstance(node, dict):
        complaints.append(piece.origin.complain("a resource is a mapping"))
        return None
    missing = [key for key in _RESOURCE_KEYS if key not in node]
    if missing:
        text = f"resource '{name}' has no {' and no '.join(missing)}; what is written here stands instead of a whole inherited resource"
        complaints.append(piece.origin.complain(f"{text}: copy that ('isobridge mappings show') and change the copy"))
        read_resource(name, piece, complaints)
        return None
    if node["per"] not in PER:
        hint = did_you_mean(str(node["per"]), PER)
        complaints.append(piece.origin.complain(f"'per' is one of {', '.join(PER)}, not '{node['per']}'{hint}", "per"))
    problem = kinds_problem(node)
    if problem:
        complaints.append(piece.origin.complain(problem, "kinds"))
    if not isinstance(node["identity"], list) or not node["identity"]:
        complaints.append(piece.origin.complain("'identity' is a list of texts", "identity"))
    return read_resource(name, piece, complaints)


def read_resource(name: str, piece: Piece, complaints: list[Complaint]) -> ResourceTemplate:
    """A resource as far as it can be read; with a complaint for each of its holes and verbs that is wrong."""
    node = piece.node
    parts = node.get("identity")
    identity = [read_template(str(part)) for part in (parts if isinstance(parts, list) else ())]
    body, errors = read_template({key: value for key, value in node.items() if key not in ("per", "identity", *_OPTIONAL_KEYS)})
    complaints += [piece.origin.complain(str(error), *error.place) for error in errors]
    for index, (_, wrong) in enumerate(identity):
        complaints += [piece.origin.complain(str(error), "identity", index, *error.place) for error in wrong]
    per, kinds = str(node.get("per")), node.get("kinds")
    return ResourceTemplate(
        name=name,
        per=per if per in PER else nearest(per, PER) or "",
        identity=tuple(template for template, _ in identity),
        body=body,
        resource_type=str(node.get("resourceType")),
        kinds=tuple(map(str, kinds)) if isinstance(kinds, list) else (),
    )


def _tests(effective: Effective) -> Iterable[MappingTest]:
    for index, node in enumerate(effective.own.get("tests") or []):
        if isinstance(node, dict):
            yield MappingTest(
                name=str(node.get("name", "")),
                given=node.get("given") or {},
                expect=node.get("expect") or {},
                where=effective.document.where(("tests", index)),
                record=node.get("record") or {},
            )


def _version(effective: Effective, fields: list[FieldRule], results: Iterable[ResultRule], codes: Codes) -> str:
    """A hash of all that decides what is read and published; of ``codes`` the designators, and the tables that its fields consult."""
    read = [*fields, *(rule for result in results for rule in result.fields)]
    tables = {table for rule in read for table in _tables(rule)}
    if tables:  # words are looked up without the nuclides that they mention
        tables.add(NUCLIDES_TABLE)
    content = {
        "let": {name: piece.node for name, piece in effective.let.items()},
        "for_each": {name: piece.node for name, piece in effective.for_each.items()},
        "fields": {name: piece.node for name, piece in effective.fields.items()},
        "resources": {name: piece.node for name, piece in effective.resources.items()},
        **({"results": {name: piece.node for name, piece in effective.results.items()}} if effective.results else {}),
        "codes": {name: codes.tables[name].digest for name in tables if name in codes.tables},
        "schemes": codes.schemes.digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _tables(rule: FieldRule) -> Iterable[str]:
    """The code tables that a field consults."""
    yield from (table for table in (rule.options.table, *rule.converter.reads_tables) if table)
    for item in rule.items:
        yield from _tables(item)
