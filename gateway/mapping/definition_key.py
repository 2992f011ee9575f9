"""What :mod:`gateway.mapping.definition` is made of: one key of the language, and what may stand behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    """What may stand behind a key. The schema has one definition for each."""

    NAMES = "names"
    MATCH = "match"
    WHOLE = "whole number"
    FLAG = "true or false"
    LETS = "short names"
    FOR_EACH = "for_each"
    FIELDS = "fields"
    RESOURCES = "resources"
    DICOM = "dicom"
    GIVEN = "elements"
    RECORD = "record"
    TESTS = "tests"
    FROM = "from"
    CONVERTER = "converter"
    TABLE = "code table"
    UNIT = "unit"
    UCUM = "UCUM unit"
    NEED = "need"
    RANGE = "range"
    CONDITION = "condition"
    CONDITIONS = "conditions"
    OPERAND = "source or field"
    VALUE = "value"
    VALUES = "values"
    PATTERN = "RE2 pattern"
    NUMBER = "number"
    SOURCE = "source"
    SUBFIELDS = "fields of an item"
    RESULTS = "results"
    IGNORED = "ignored"
    NEAREST = "nearest"
    RESULT_FIELDS = "members of a result"
    RESULT_SET = "members that are known"
    KIND = "kind of result"
    KINDS = "kinds of result"
    OF = "of"
    PATH = "path"
    SR = "concept names"
    TEMPLATE = "template identifier"
    KEYWORD = "DICOM keyword"
    ARRIVAL = "arrival"
    PER = "per"
    TEXTS = "texts"
    RESOURCE_TYPE = "resource type"
    TEXT = "text"
    FIELD = "field name"
    ELEMENTS = "target elements"
    SCOPE_PATH = "path in the scope"
    ANYTHING = "anything"
    EXPECT = "expect"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the language: what may stand behind it, and what it says."""

    name: str
    shape: Shape
    says: str
    example: str = ""
    required: bool = False
