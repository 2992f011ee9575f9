"""``isobridge mappings schema table``: the language of table adapters as JSON Schema (draft 2020-12), made from its definition.

An editor with a YAML language server completes and checks with it. It is looser than ``tables lint`` where words alone are not enough
to judge: patterns, names of sections and code tables, what a kind of fact needs, the operands of checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.nuclear.results import KINDS, WORDS
from gateway.tables import definition as language

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_SOURCES = ("column", "value", "filename", "line")
_TEXT: Schema = {"type": "string", "minLength": 1}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
#: Of a list of texts, as the compiler has it.
_MOST_WORDS = 500
_DELIMITER: Schema = {"enum": sorted(language.DELIMITERS)}
_SAYS = {
    "title": "What this table is, for people.",
    "unverified": "'true': nobody has compared it with a real export yet; the file is then named 'example_...'.",
    "match": "Which files it reads: by name, by the columns of the header, by words that stand inside.",
    "read": "How the file is written: format, signs, header, time zone.",
    "skip": "Rows that are no facts: those to which a condition applies.",
    "group_by": "Columns whose equal values make one group; 'table': the whole table is one group, e.g. one curve.",
    "patient": "Whose facts these are.",
    "device": "The camera or calibrator, for facts about a device.",
    "document": "The table itself: title, time, study, software.",
    "administration": "To which administration the facts belong; 'create: true' makes one that no other source tells of.",
    "common": "Members that all results share.",
    "results": "The facts: each with its kind and its members; a member of 'common' set to null is left out.",
    "checks": "What must hold between numbers of one row or group.",
    "status": "Whose names approve a result.",
    "tests": "What must come out of invented rows.",
}


def table_adapter_schema() -> Schema:
    """The schema of a file in ``mappings/tables`` or ``mappings/sites/tables``."""
    made = {
        "title": _TEXT,
        "unverified": _FLAG,
        "match": {**_closed(dict.fromkeys(language.MATCH_KEYS, _ref("texts"))), "minProperties": 1},
        "read": _read(),
        "skip": {"type": "array", "items": _condition()},
        "group_by": {"anyOf": [{"const": language.WHOLE_TABLE}, {"type": "array", "items": _TEXT}]},
        "patient": _members(language.PATIENT_MEMBERS),
        "device": _members(language.DEVICE_MEMBERS),
        "document": _members(language.DOCUMENT_MEMBERS),
        "administration": _members(language.ADMINISTRATION_MEMBERS, create=_FLAG),
        "common": _members(language.RESULT_MEMBERS),
        "results": {"type": "object", "additionalProperties": _result(), "minProperties": 1},
        "checks": {"type": "array", "items": {"oneOf": [_check(name) for name in language.CHECKS]}},
        "status": _closed({"approvers": {"type": "array", "items": _TEXT}}),
        "tests": {"type": "array", "items": _test(), "minItems": 1},
    }
    sections = {name: {**made[name], "description": _SAYS[name]} for name in language.SECTIONS}
    root = _closed(sections, *language.REQUIRED)
    title = "Isobridge table adapter: how the table of a dosimetry program becomes facts"
    return {"$schema": DRAFT, "title": title, **root, "$defs": {"texts": _texts(), "condition": _one_condition()}}


def _closed(properties: dict[str, Schema], *required: str) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _texts() -> Schema:
    return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": _MOST_WORDS}]}


def _condition() -> Schema:
    return _ref("condition")


def _one_condition() -> Schema:
    ways: dict[str, Schema] = dict.fromkeys(("equals", "in", "not_in"), _ref("texts"))
    found = _closed({"column": _TEXT, **ways, "matches": _TEXT, "exists": _FLAG}, "column")
    return {**found, "minProperties": 2, "maxProperties": 2}


def _read() -> Schema:
    header = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, _closed({"contains": _ref("texts")}, "contains")]}
    section = _closed({"starts": _TEXT, "ends": _TEXT, "columns": _ref("texts"), "delimiter": _DELIMITER}, "starts")
    encoding: Schema = {"enum": list(language.ENCODINGS)}
    found = _closed(
        {
            "format": {"enum": list(language.FORMATS)},
            "encoding": {"anyOf": [encoding, {"type": "array", "items": encoding, "minItems": 1}]},
            "delimiter": _DELIMITER,
            "sheet": {"type": ["string", "integer"]},
            "header": header,
            "sections": {"type": "object", "additionalProperties": section},
            "path": _ref("texts"),
            "formulas": {"enum": ["refuse", "cached"], "default": "refuse"},
            "decimal": {"enum": [".", ","]},
            "thousands": {"enum": sorted(language.THOUSANDS)},
            "timezone": {**_TEXT, "description": "'site', or the name of a zone, e.g. Europe/Brussels"},
        },
        "format",
    )
    of_report = {"if": {"properties": {"format": {"const": "report"}}}, "then": {"required": ["sections"]}}
    of_csv = {"if": {"properties": {"format": {"const": "csv"}}}, "then": {"required": ["delimiter"]}}
    return {**found, "allOf": [of_report, of_csv]}


def _members(known: Mapping[str, str], **more: Schema) -> Schema:
    """Members by name; those with a point in their name are written in groups: ``software: {name: ...}``."""
    made: dict[str, Schema] = {}
    groups: dict[str, dict[str, Schema]] = {}
    for name, type_ in known.items():
        group, point, inner = name.partition(".")
        if point:
            groups.setdefault(group, {})[inner] = _or_null(_value(name, type_))
        else:
            made[name] = _or_null(_value(name, type_))
    for group, inside in groups.items():
        whole = _closed(inside)
        made[group] = {"anyOf": [made[group], whole]} if group in made else whole
    named = {name: _or_null(_value(name, type_)) for name, type_ in known.items() if "." in name}
    return _closed({**made, **named, **more})


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _value(name: str, type_: str) -> Schema:
    """Where one member stands, and how it is read."""
    number: Schema = {"type": "integer"} if type_ == "integer" else _NUMBER
    word: Schema = {"enum": sorted(WORDS[name])} if name in WORDS else {"type": "string"}
    properties: dict[str, Schema] = {
        "column": _ref("texts"),
        "section": _TEXT,
        "value": number if type_ in ("Quantity", "decimal", "integer") else word,
        "filename": {"const": True},
        "line": _TEXT,
        "pattern": _TEXT,
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "range": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
        "list": _FLAG,
        "need": {"enum": ["must", "may"], "default": "may"},
    }
    if type_ == "Quantity":
        properties["unit"] = {"anyOf": [{"type": ["string", "integer"]}, _closed({"column": _TEXT}, "column")]}
    if type_ == "CodeableConcept":
        properties["codes"] = _TEXT
    if type_ == "dateTime":
        properties["format"] = _ref("texts")
    found = {**_closed(properties), "oneOf": [{"required": [source]} for source in _SOURCES]}
    return {**found, "dependentRequired": {"filename": ["pattern"]}}


def _result() -> Schema:
    when = {"anyOf": [_condition(), {"type": "array", "items": _condition()}]}
    points = _members(language.POINT_MEMBERS)
    return {
        **_members(language.RESULT_MEMBERS, kind={"enum": sorted(KINDS)}, section=_TEXT, when=when, points=points),
        "required": ["kind"],
    }


def _check(name: str) -> Schema:
    operands, _, says = language.CHECKS[name]
    share = {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"}
    more: dict[str, Schema] = {"within": share, "otherwise": {"enum": ["withhold", "flag"]}}
    return {
        **_closed({"check": {"const": name}, **dict.fromkeys(operands, _TEXT), **more}, "check", *operands),
        "description": says,
    }


def _test() -> Schema:
    level: Schema = {"type": "object"}
    expect: dict[str, Schema] = {
        **dict.fromkeys(("patient", "device", "administration", "document"), level),
        "results": {"type": "array", "items": level},
        "issues": {"type": "array", "items": {"type": "string"}},
        "rejected": _TEXT,
        "parts": {"type": "integer"},
    }
    expected = {**_closed(expect), "minProperties": 1}
    return _closed({"name": _TEXT, "file": _TEXT, "given": {}, "expect": expected}, "name", "given", "expect")
