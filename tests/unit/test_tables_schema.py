"""The JSON Schema of table adapters: all shipped adapters fit it, planted mistakes do not, and it says what the compiler accepts."""

# One case a line, however long: they are read as a table.

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from click.testing import CliRunner

from gateway import yamlfile
from gateway.cli import main
from gateway.mapping.codes import load_codes
from gateway.tables import definition
from gateway.tables.compile import compile_adapter
from gateway.workbench.table_schema import table_adapter_schema
from tests.unit.mapping_files import SHIPPED

SCHEMA = jsonschema_rs.Draft202012Validator(table_adapter_schema())
CODES = load_codes(SHIPPED / "codes")[0]
GOOD = """\
title: Kidney doses
match: {columns: [Patient, Organ, "Dose (Gy)"]}
read: {format: csv, delimiter: ";", encoding: [cp1252, utf-8], decimal: ",", timezone: site, header: {contains: [Patient]}}
skip:
  - {column: Organ, in: [Sum]}
group_by: [Organ]
patient: {id: {column: Patient, need: must}}
administration:
  create: true
  started_at: {column: Injected, format: "%d/%m/%Y %H:%M"}
  activity: {column: MBq, unit: MBq, range: [1, 20000]}
common:
  software: {name: {value: Our workstation}}
results:
  dose:
    kind: organ-absorbed-dose
    region: {column: Organ, codes: organs, map: {Niere: Kidney}}
    value: {column: "Dose (Gy)"}
    intent: {value: verified}
    when: {column: Organ, exists: true}
checks:
  - {check: not_above, of: dose, most: administration.activity, within: 2 %, otherwise: flag}
status: {approvers: [Physicist on duty]}
tests:
  - name: one kidney
    given: [{Patient: "1"}]
    expect: {results: [{kind: organ-absorbed-dose}], issues: []}
"""

#: A text of the good adapter, and what is written instead.
MISTAKES = [
    ("title: Kidney doses\n", ""),
    ("title: Kidney", "titel: Kidney"),
    ("match: {columns", "match: {colums"),
    ('match: {columns: [Patient, Organ, "Dose (Gy)"]}', "match: {}"),
    ("format: csv", "format: cvs"),
    ('delimiter: ";", ', ""),
    ("[cp1252, utf-8]", "[cp1252, utf8]"),
    ('decimal: ","', 'decimal: ";"'),
    ("header: {contains: [Patient]}", "header: first"),
    ("in: [Sum]}", "in: [Sum], exists: true}"),
    ("in: [Sum]", "is: Sum"),
    ("group_by: [Organ]", "group_by: all"),
    ("{id: {column", "{ids: {column"),
    ("column: Patient, need: must", "column: Patient, need: should"),
    ("column: Patient, need", "value: x, column: Patient, need"),
    ("create: true", "create: perhaps"),
    ("range: [1, 20000]", "range: 20000"),
    ("unit: MBq", "unit: [MBq]"),
    ('started_at: {column: Injected, format: "%d/%m/%Y %H:%M"}', "started_at: Injected"),
    ("{name: {value: Our workstation}}", "{nam: {value: Our workstation}}"),
    ("kind: organ-absorbed-dose\n    region", "kind: organ-dose\n    region"),
    ("    kind: organ-absorbed-dose\n    region", "    region"),
    ("    value: {column", "    valu: {column"),
    ("codes: organs,", "unit: g,"),
    ("value: verified", "value: verifed"),
    ("exists: true}", "exists: perhaps}"),
    ("check: not_above", "check: not_over"),
    ("of: dose, most", "off: dose, most"),
    ("within: 2 %", "within: 2"),
    ("otherwise: flag", "otherwise: ignore"),
    ("approvers: [", "approver: ["),
    ("    given: [", "    givn: ["),
    ("expect: {results", "expect: {result"),
    ('    expect: {results: [{kind: organ-absorbed-dose}], issues: []}', "    expect: {}"),
]  # fmt: skip


def said(text: str) -> list[str]:
    data = yamlfile.parse(text, name="x").data
    return [f"{list(error.instance_path)} {error.message}" for error in SCHEMA.iter_errors(data)]


def compiled(text: str) -> list[str]:
    complaints: list[object] = []
    compile_adapter("x", yamlfile.parse(text, name="x.yaml"), CODES, complaints)  # type: ignore[arg-type]
    return [str(one) for one in complaints]


def test_the_schema_is_good_json_schema_and_is_printed() -> None:
    jsonschema_rs.meta.validate(table_adapter_schema())
    printed = CliRunner().invoke(main, ["mappings", "schema", "table"])
    assert json.loads(printed.output) == table_adapter_schema()


@pytest.mark.parametrize("path", sorted((SHIPPED / "tables").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_adapter_fits(path: Path) -> None:
    assert said(path.read_text()) == []


def test_all_that_is_planted_into_is_right_before() -> None:
    assert (said(GOOD), compiled(GOOD)) == ([], [])


@pytest.mark.parametrize(("right", "wrong"), MISTAKES, ids=[wrong[:40] or right[:40] for right, wrong in MISTAKES])
def test_a_planted_mistake_is_found_by_the_schema_and_by_lint(right: str, wrong: str) -> None:
    assert right in GOOD
    text = GOOD.replace(right, wrong, 1)
    assert said(text), "the schema finds nothing"
    assert compiled(text), "lint finds nothing"


def test_the_schema_knows_every_section_and_key_of_the_language() -> None:
    sections = table_adapter_schema()["properties"]
    assert set(sections) == set(definition.SECTIONS)
    assert set(sections["match"]["properties"]) == set(definition.MATCH_KEYS)
    assert set(sections["read"]["properties"]) == set(definition.READ_KEYS)
    assert set(table_adapter_schema()["$defs"]["condition"]["properties"]) == set(definition.CONDITION_KEYS)
    test = sections["tests"]["items"]["properties"]
    assert set(test) == set(definition.TEST_KEYS)
    assert set(test["expect"]["properties"]) == set(definition.EXPECT_KEYS)
    values = [value["anyOf"][0]["properties"] for value in sections["administration"]["properties"].values() if "anyOf" in value]
    assert set().union(*values) == set(definition.VALUE_KEYS)
