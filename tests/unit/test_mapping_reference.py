"""The reference page is what the language's definition writes, and its examples are true."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.mapping import definition
from gateway.mapping.registry import CONVERTERS
from gateway.mapping.scopes import gives
from gateway.workbench.converter_examples import EXAMPLES
from gateway.workbench.mapping_reference import PAGE, main, page
from tests.unit.mapping_files import complaints, one_field, read

ROOT = Path(__file__).resolve().parents[2]
SHAPES: dict[str, Any] = {
    "Quantity": {"value", "unit"},
    "CodeableConcept": {"system", "code", "text"},
    "string": str,
    "code": str,
    "date": str,
    "dateTime": str,
    "time": str,
    "integer": int,
    "unsignedInt": int,
    "decimal": Decimal,
    "boolean": bool,
}


def test_the_page_is_what_the_definition_writes(tmp_path: Path) -> None:
    main(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (ROOT / PAGE).read_text(), "run: make reference"


def test_the_page_names_every_converter_and_every_key() -> None:
    text = page()
    assert all(f"### {name}\n" in text for name in CONVERTERS)
    groups = ("SECTIONS", "FIELD_KEYS", "UNIT_KEYS", "SOURCE_FORMS", "CONDITION_KEYS", "DICOM_KEYS", "ACTION_KEYS", "ENTRY_KEYS")
    for group in groups:
        assert all(f"| `{key.name}`" in text for key in getattr(definition, group)), group


def test_every_converter_has_an_example_and_a_sentence() -> None:
    assert set(EXAMPLES) == set(CONVERTERS)
    assert all(definition.says(converter) for converter in CONVERTERS.values())


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.comes_out])
def test_what_the_page_promises_comes_out(tmp_path: Path, name: str) -> None:
    example = EXAMPLES[name]
    record = read(one_field(tmp_path, example.field.partition(": ")[2]), example.elements)
    value = record.shared.study["x"]
    assert value == json.loads(example.comes_out.strip("`"), parse_float=Decimal)
    hole = gives(name, CONVERTERS[name].result)
    if hole.type in SHAPES:  # and what lint believes that a hole brings is what it brings
        for one in value if hole.many else [value]:
            shape = SHAPES[hole.type]
            assert set(one) == shape if isinstance(shape, set) else isinstance(one, shape)
    else:
        assert hole.type == "HumanName"


def test_lint_knows_what_every_converter_brings_to_a_template() -> None:
    assert [name for name, converter in CONVERTERS.items() if gives(name, converter.result).type is None] == []


def test_the_examples_of_the_tracer_compile_together(tmp_path: Path) -> None:
    fields = [example.field for name, example in EXAMPLES.items() if not example.comes_out and "{sr:" not in example.field]
    lines = "\n".join(f"  {line}" for field in fields for line in field.splitlines())
    head = "match: everything\nfor_each: {administration: RadiopharmaceuticalInformationSequence}\nfields:\n"
    assert complaints(tmp_path / "images", a=head + lines + "\n") == []
    report = "match: everything\nfor_each: {administration: {sr: [113502 DCM]}}\nfields:\n"
    report += "  study.started: {from: StudyDate, as: date}\n"
    fields = [example.field for example in EXAMPLES.values() if "{sr:" in example.field]
    assert fields
    assert complaints(tmp_path / "reports", a=report + "".join(f"  {field}\n" for field in fields)) == []
