"""The JSON Schema for editors: all shipped files fit it, planted mistakes do not."""

# One case a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from click.testing import CliRunner

from gateway import yamlfile
from gateway.cli import main
from gateway.workbench.mapping_schema import code_table_schema, mapping_schema
from tests.unit.mapping_files import SHIPPED

MAPPING = jsonschema_rs.Draft202012Validator(mapping_schema())
CODES = jsonschema_rs.Draft202012Validator(code_table_schema())
FILES = sorted(path for folder in (".", "vendors", "sites") for path in (SHIPPED / folder).glob("*.yaml"))
TABLES = sorted((SHIPPED / "codes").glob("*.yaml"))


def said(validator: jsonschema_rs.Draft202012Validator, text: str) -> list[str]:
    data = yamlfile.parse(text, name="x").data
    return [f"{list(error.instance_path)} {error.message}" for error in validator.iter_errors(data)]


def test_the_schemas_are_good_json_schema() -> None:
    jsonschema_rs.meta.validate(mapping_schema())
    jsonschema_rs.meta.validate(code_table_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_mapping_fits(path: Path) -> None:
    assert said(MAPPING, path.read_text()) == []


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_shipped_code_table_fits(path: Path) -> None:
    assert said(CODES, path.read_text()) == []


def test_all_that_the_language_can_say_fits() -> None:
    text = r"""
extends: [pet_image, our_names]
match:
  Manufacturer: "GE*"
  ManufacturerModelName: {regex: "Discovery.*"}
  ImageType[2]: [A, B]
  calling_ae: PETCT1
  private_creator: GEMS_PETD_01
priority: 5
shadow: true
let: {frame: "SharedFunctionalGroupsSequence[0]"}
for_each: {administration: "RadiopharmaceuticalInformationSequence"}
fields:
  series.a: {from: "(0009,xx36)[GEMS_PETD_01]", as: text, need: should}
  series.b: {from: {frame: "FrameAnatomySequence[0].FrameLaterality"}, as: code}
  series.c: {from: {meta: SourceApplicationEntityTitle}, as: text, when: {all: [{of: Modality, equals: PT}, {not: {of: Units, exists: true}}]}}
  series.d: {from: {arrival: received_at}, as: text}
  series.e: {from: [{path: StudyDate, when: {of: PatientWeight, above: 3}}, SeriesDate], as: date}
  series.f: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg, pinned: true}, range: [0.3, 400]}
  series.g: {for_each: "(0009,xx01)[X]", fields: {name: {from: $item.CodeMeaning, as: text}}}
  series.h: null
resources: {device: null}
dicom:
  charset: utf-8
  identity: effective
  elements:
    StationName: {value: PETCT1, when: {of: Modality, in: [PT, NM]}}
    InstitutionName: {copy: "(0009,xx36)[GEMS_PETD_01]"}
    PatientWeight: {field: series.f, unit: kg}
    PatientComments: {remove: true}
"""
    assert said(MAPPING, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "match: everything\nfeilds: {}",
        "fields: {}",
        "match: all",
        "match: {Modalty: PT}",
        "match: {Modality: {regx: PT}}",
        "match: everything\npriority: high",
        "match: everything\nshadow: maybe",
        "match: everything\nfields: {sries.x: {from: Modality, as: code}}",
        "match: everything\nfields: {series.x: {from: Modalty, as: code}}",
        "match: everything\nfields: {series.x: {from: Modality, as: cod}}",
        "match: everything\nfields: {series.x: {from: '(0009,1038)[GEMS_PETD_01]', as: text}}",
        "match: everything\nfields: {series.x: {from: '(0009,xx38)', as: text}}",
        "match: everything\nfields: {series.x: {from: '(0010,xx38)[X]', as: text}}",
        "match: everything\nfields: {series.x: {from: ProcedureCodeSequence.CodeMeaning, as: text}}",
        "match: everything\nexample: {Modalty: PT}",
        "match: everything\ntests: [{name: t, given: {Modalty: PT}, expect: {outcome: record}}]",
        "match: everything\ndicom: {elements: {StatonName: {value: x}}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, neeed: must}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, need: always}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, codes: routes}}",
        "match: everything\nfields: {series.x: {from: Modality, as: known_concept}}",
        "match: everything\nfields: {series.x: {from: PatientWeight, as: quantity}}",
        "match: everything\nfields: {series.x: {from: PatientWeight, as: quantity, unit: {in: kgs, out: kg}}}",
        "match: everything\nfields: {series.x: {from: {date: StudyDate, tiem: StudyTime}, as: datetime_of}}",
        "match: everything\nfields: {series.x: {from: {time: StudyTime}, as: datetime_of}}",
        "match: everything\nfields: {series.x: {from: {sr: [113507]}, as: text}}",
        "match: everything\nfields: {series.x: {from: {arrival: sender}, as: text}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, range: [1]}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, when: {of: Modality}}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, when: {of: Modality, equal: PT}}}",
        "match: everything\nfields: {series.x: {from: Modality, as: code, when: {any: []}}}",
        "match: everything\nresources: {r: {per: patients, identity: [x], resourceType: Patient}}",
        "match: everything\nresources: {r: {per: patient, identity: [x], resourceType: Pateint}}",
        "match: everything\ndicom: {elements: {StationName: {value: x, copy: y}}}",
        "match: everything\ndicom: {charset: latin1}",
        "match: everything\ntests: [{name: t}]",
        "match: everything\ntests: [{name: t, expect: {}}]",
        "match: everything\ntests: [{name: t, expect: {outcome: exploded}}]",
    ],
)
def test_a_planted_mistake_does_not_fit(text: str) -> None:
    assert said(MAPPING, text)


@pytest.mark.parametrize(
    "text",
    [
        "entries: {X: {system: SCT}}",
        "entries: {X: {cod: '1'}}",
        "entries: {X: {system: SCT, code: 1}}",
        "entires: {}",
        "systems: {SCT: 7}",
    ],
)
def test_a_planted_mistake_in_a_code_table_does_not_fit(text: str) -> None:
    assert said(CODES, text)


def test_the_command_prints_them() -> None:
    assert json.loads(CliRunner().invoke(main, ["mappings", "schema"]).output) == mapping_schema()
    assert json.loads(CliRunner().invoke(main, ["mappings", "schema", "codes"]).output) == code_table_schema()
