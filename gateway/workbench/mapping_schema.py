"""``isobridge mappings schema``: the mapping language as JSON Schema (draft 2020-12), made from its definition.

An editor with a YAML language server completes and checks with it. It is looser than ``mappings lint`` where one file is not enough
to judge: inheritance, names of fields and short names, FHIR.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gateway.mapping import definition as language
from gateway.mapping.conversion import Converter
from gateway.mapping.definition import Key, Shape
from gateway.mapping.path_words import keywords
from gateway.nuclear import units
from gateway.nuclear.results import KINDS, MEMBERS
from gateway.r4.definitions import resource_types

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_LEVELS = "|".join(language.LEVELS)
_FIELD = rf"^({_LEVELS})(\.[a-z][a-z0-9_]*)+$"
#: Where a field is read: that, or another field of the same item.
_FIELD_READ = rf"^({_LEVELS}|\$item)(\.[a-z][a-z0-9_]*)+$"
_TAG = r"\([0-9A-Fa-f]{3}[02468ACEace],[0-9A-Fa-f]{4}\)|\([0-9A-Fa-f]{3}[13579BDFbdf],xx[0-9A-Fa-f]{2}\)\[[^\]]+\]"
_INDEX = r"\[(\d+|\*)\]"
_STEP = rf"([A-Z][A-Za-z0-9]*|{_TAG})"
#: A path of several steps, of one step with an index, or of an element by its tag, or from a short name. A lone keyword is listed.
_INDEXED = rf"({_STEP}{_INDEX}\.)+{_STEP}({_INDEX})?|[A-Z][A-Za-z0-9]*{_INDEX}|({_TAG})({_INDEX})?"
_PATH = rf"^(\$[a-z][a-z0-9_]*(\.{_STEP}({_INDEX})?)*|{_INDEXED})$"
_NAME = r"^[a-z][a-z0-9_]*$"
_CONCEPT = r"^(\$[a-z][a-z0-9_]*|\S+ [A-Za-z0-9_-]+)$"
_MEMBERS = "|".join(sorted({name.partition("[]")[0].replace(".", r"\.") for name in MEMBERS}))
_MEMBER = rf"^({_MEMBERS})$"
#: Offered first where an editor completes the keys of ``match``.
_MATCHED = [
    "SOPClassUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "StationName",
    "InstitutionName",
    "ImageType",
    "SeriesDescription",
    "ProtocolName",
]


def mapping_schema() -> Schema:
    """The schema of a mapping file."""
    root = _object(language.SECTIONS)
    title = "Isobridge mapping: how one kind of DICOM object becomes FHIR"
    return {"$schema": DRAFT, "title": title, **root, "$defs": _definitions()}


def code_table_schema() -> Schema:
    """The schema of a file in ``codes``: a table of concepts, or ``scheme_systems.yaml``."""
    entry = {**_object(language.ENTRY_KEYS), "dependentRequired": {"system": ["code"], "code": ["system"]}}
    entry["properties"]["code"] = {**entry["properties"]["code"], "type": "string"}
    table = _object(language.TABLE_KEYS)
    table["properties"]["entries"] = {
        "type": "object",
        "additionalProperties": {"anyOf": [entry, {"type": "null"}]},
        "description": language.TABLE_KEYS[0].says,
    }
    schemes = _object(language.SCHEME_KEYS)
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    for name in ("systems", "snomed_rt_extra"):
        schemes["properties"][name] = {**words, "description": schemes["properties"][name]["description"]}
    used = {name: _definitions()[name] for name in ("text", "texts", "names", "number", "range")}
    choice = {"if": {"required": ["systems"]}, "then": schemes, "else": table}
    return {"$schema": DRAFT, "title": "Isobridge code table", "type": "object", **choice, "$defs": used}


def _object(keys: tuple[Key, ...], **more: Any) -> Schema:
    properties = {key.name: _property(key) for key in keys}
    required = [key.name for key in keys if key.required]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required, **more}


def _property(key: Key) -> Schema:
    return {**_shape(key.shape), "description": key.says.replace("`", "'")}


def _shape(shape: Shape) -> Schema:
    return {} if shape is Shape.ANYTHING else {"$ref": f"#/$defs/{shape.name.lower()}"}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


@cache
def _definitions() -> dict[str, Schema]:
    return {**_plain_shapes(), **_match(), **_reading(), **_conditions(), **_making(), **_proving()}


def _plain_shapes() -> dict[str, Schema]:
    text = {"type": "string", "minLength": 1}
    return {
        "text": text,
        "texts": _list_of(text, least=0),
        "names": {"anyOf": [text, _list_of(text)]},
        "whole": {"type": "integer"},
        "flag": {"type": "boolean"},
        "number": {"type": "number"},
        "template": {"type": ["string", "integer"]},
        "value": {"type": ["string", "number", "boolean"]},
        "values": _list_of(_ref("value")),
        "pattern": text,
        "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "keyword": {"enum": list(keywords())},
        "path": {"anyOf": [_ref("keyword"), {"type": "string", "pattern": _PATH}]},
        "field": {"type": "string", "pattern": _FIELD_READ},
        "scope_path": {"anyOf": [text, _list_of(text)]},
        "ucum": {"enum": sorted(units.KNOWN)},
        "need": {"enum": list(language.NEEDS), "default": "may"},
        "arrival": {"enum": list(language.ARRIVALS)},
        "per": {"enum": list(language.PER)},
        "outcome": {"enum": list(language.OUTCOMES)},
        "resource_type": {"enum": sorted(resource_types())},
        "table": text,
        "lets": {"type": "object", "propertyNames": {"pattern": _NAME}, "additionalProperties": _ref("path")},
    }


def _match() -> dict[str, Schema]:
    regex = {"type": "object", "properties": {"regex": _ref("pattern")}, "required": ["regex"], "additionalProperties": False}
    one = {"anyOf": [{"type": "string", "minLength": 1}, regex]}
    value = {"anyOf": [*one["anyOf"], _list_of(one)]}
    named = {key.name: {**_ref("match_value"), "description": key.says} for key in language.MATCH_KEYS}
    offered = {keyword: _ref("match_value") for keyword in _MATCHED}
    conditions = {
        "type": "object",
        "properties": {**offered, **named},
        "propertyNames": {"anyOf": [{"enum": sorted(named)}, _ref("keyword"), {"pattern": r"^[A-Z][A-Za-z0-9]*\[\d+\]$"}]},
        "additionalProperties": _ref("match_value"),
    }
    return {"match_value": value, "match": {"anyOf": [{"enum": ["everything", "nothing"]}, conditions]}}


def _reading() -> dict[str, Schema]:
    forms = _object(language.SOURCE_FORMS)
    forms["oneOf"] = [{"required": [name]} for name in ("path", "sr", "frame", "meta", "arrival")]
    forms["dependentRequired"] = {
        "attribute": ["sr"],
        "relationship": ["sr"],
        "template": ["sr"],
        "value_type": ["sr"],
        "except": ["sr"],
        "nearest": ["sr"],
    }
    field = _object(language.FIELD_KEYS)
    field.pop("required")
    field["if"] = {"required": ["for_each"]}
    field["then"] = {"required": ["fields"]}
    field["else"] = {"required": ["from", "as"]}
    field["allOf"] = [_of_converter(converter) for converter in language.converters().values()]
    unit = _object(language.UNIT_KEYS)
    says = {converter.name: language.says(converter) for converter in language.converters().values()}
    concept = {"type": "string", "pattern": _CONCEPT}
    return {
        "sr": {"type": "array", "items": {"anyOf": [concept, {"enum": ["*", "**"]}, _list_of(concept)]}, "minItems": 1},
        "source": {"anyOf": [_ref("path"), forms]},
        "sources": {"anyOf": [_ref("source"), _list_of(_ref("source"))]},
        "from": {"anyOf": [{"type": ["string", "array", "object"]}]},
        "for_each": _exact({language.REPEATED: {"anyOf": [_ref("path"), forms]}}),
        "unit": unit,
        "converter": {"oneOf": [{"const": name, "description": text} for name, text in says.items()]},
        "one_field": field,
        "fields": _map_of(_FIELD, _ref("one_field")),
        "kind": {"enum": sorted(KINDS)},
        "kinds": _list_of({"enum": sorted(KINDS)}),
        "of": {"const": language.REPEATED},
        "result_set": {"type": "object", "propertyNames": {"enum": sorted(MEMBERS)}},
        "result_fields": _map_of(_MEMBER, _ref("one_field")),
        "results": _map_of(_NAME, _object(language.RESULT_KEYS)),
        "nearest": {"anyOf": [{"type": "boolean"}, concept, _list_of(concept)]},
        "ignored": _map_of(_NAME, _object(language.IGNORE_KEYS)),
        "subfields": _map_of(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$", _ref("one_field")),
    }


def _of_converter(converter: Converter) -> Schema:
    """What a converter asks of the other keys of its field."""
    parts = language.part_kinds(converter)
    named = {name: (_fields_or_one() if is_field else _ref("sources")) for name, (is_field, _) in parts.items()}
    required = [name for name, (_, wanted) in parts.items() if wanted]
    whole = {"type": "object", "properties": named, "required": required, "additionalProperties": False}
    source = {"anyOf": [_ref("sources"), whole]} if set(required) <= {"value"} and "value" in parts else whole
    then: Schema = {"properties": {"from": source}}
    if converter.takes_codes is False:
        then["properties"]["codes"] = False
    if not converter.takes_unit:
        then["properties"]["unit"] = False
    needed = ["codes"] if converter.takes_codes else []
    then["required"] = [*needed, *(["unit"] if converter.takes_unit else [])]
    return {"if": {"properties": {"as": {"const": converter.name}}, "required": ["as"]}, "then": then}


def _fields_or_one() -> Schema:
    return {"anyOf": [_ref("field"), _list_of(_ref("field"))]}


def _conditions() -> dict[str, Schema]:
    condition = _object(language.CONDITION_KEYS)
    tests = [key.name for key in language.CONDITION_KEYS if key.name not in ("of", "all", "any", "not")]
    condition["oneOf"] = [
        {"required": ["of"], "anyOf": [{"required": [name]} for name in tests]},
        *({"required": [name], "maxProperties": 1} for name in ("all", "any", "not")),
    ]
    return {
        "condition": condition,
        "conditions": _list_of(_ref("condition")),
        "operand": {"anyOf": [_ref("source"), _ref("field")]},
    }


def _making() -> dict[str, Schema]:
    resource = _object(language.RESOURCE_KEYS)
    resource["additionalProperties"] = True
    action = _object(language.ACTION_KEYS)
    action["oneOf"] = [{"required": [name]} for name in ("value", "copy", "field", "remove")]
    elements = {"type": "object", "propertyNames": _ref("path"), "additionalProperties": {"anyOf": [action, {"type": "null"}]}}
    dicom = _object(language.DICOM_KEYS)
    dicom["properties"]["charset"] = {"const": "utf-8", "description": dicom["properties"]["charset"]["description"]}
    dicom["properties"]["identity"] = {"const": "effective", "description": dicom["properties"]["identity"]["description"]}
    return {"resources": _map_of(_NAME, resource), "elements": elements, "dicom": dicom}


def _proving() -> dict[str, Schema]:
    expect = _object(language.EXPECT_KEYS, minProperties=1)
    for name in ("fields", "resources", "dicom"):
        expect["properties"][name] = {"type": "object", **expect["properties"][name]}
    expect["properties"]["results"] = {"type": "array", **expect["properties"]["results"]}
    return {
        "given": {"type": "object", "propertyNames": {"anyOf": [_ref("path"), {"pattern": r"^(arrival|meta|sr(/.+)?)$"}]}},
        "record": {"type": "object"},
        "expect": expect,
        "tests": _list_of(_object(language.TEST_KEYS), least=0),
    }


def _list_of(item: Schema, *, least: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def _map_of(pattern: str, value: Schema) -> Schema:
    """Names of a form, each with a value, or ``null`` to take an inherited one away."""
    return {
        "type": "object",
        "propertyNames": {"pattern": pattern},
        "additionalProperties": {"anyOf": [value, {"type": "null"}]},
    }


def _exact(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}
