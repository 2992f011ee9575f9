"""Conditions: what each operator says of texts, numbers, codes and what is absent; and what a condition may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.mapping.conditions import DEEPEST, LARGEST
from tests.unit.mapping_files import complaints
from tests.unit.test_mapping_sources import mapping, record

FIELDS = """
  study.agent: {from: "ProcedureCodeSequence[0]", as: concept}
  study.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: g}}
  study.flag: {from: QualityControlImage, as: boolean}
  study.bad: {from: PatientBirthDate, as: date}
  study.x: {from: StudyID, as: text, need: must, when: %s}
"""
GIVEN: dict[str, Any] = {
    "StudyID": "S",
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "PatientWeight": "70.50",
    "QualityControlImage": "YES",
    "PatientBirthDate": "never",
    "ProcedureCodeSequence": [{"CodeValue": "PETWB", "CodingSchemeDesignator": "99HOSP", "CodeMeaning": "PET whole body"}],
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{of: Manufacturer, equals: ge medical systems}", True),
        ("{of: Manufacturer, equals: GE}", False),
        ("{of: ImageType, equals: PRIMARY}", True),
        ('{of: "ImageType[0]", equals: PRIMARY}', False),
        ("{of: ImageType, in: [A, AXIAL]}", True),
        ('{of: Manufacturer, matches: "ge.*"}', True),
        ('{of: Manufacturer, matches: "ge"}', False),
        ("{of: Manufacturer, exists: true}", True),
        ("{of: StationName, exists: true}", False),
        ("{of: StationName, exists: false}", True),
        ("{of: PatientWeight, above: 70}", True),
        ("{of: PatientWeight, below: 70.5}", False),
        ("{of: PatientWeight, equals: 70.5}", True),
        ("{of: PatientWeight, above: 70, below: 71}", True),
        ("{of: study.weight, above: 70000}", True),
        ("{of: study.weight, below: 100}", False),
        ("{of: study.flag, equals: true}", True),
        ("{of: Manufacturer, above: 1}", False),
        ("{of: ProcedureCodeSequence, equals: PETWB}", True),
        ('{of: "ProcedureCodeSequence[0].CodeMeaning", equals: PET WHOLE BODY}', True),
        ("{of: study.agent, in: [pet whole body]}", True),
        ("{of: study.bad, exists: false}", True),
        ("{of: PatientBirthDate, exists: true}", True),
        ("{of: {arrival: door}, exists: false}", True),
        ("{all: [{of: StudyID, equals: S}, {not: {of: StationName, exists: true}}]}", True),
        ("{all: [{of: StudyID, equals: S}, {of: StudyID, equals: T}]}", False),
        ("{any: [{of: StudyID, equals: T}, {of: StudyID, equals: S}]}", True),
        ("{any: [{of: StudyID, equals: T}]}", False),
    ],
)
def test_a_field_is_there_only_when_its_condition_holds(tmp_path: Path, condition: str, holds: bool) -> None:
    # ``need: must`` counts only where the field is wanted at all.
    assert ("x" in record(mapping(tmp_path, FIELDS % condition), GIVEN).shared.study) is holds


def test_an_alternative_whose_condition_fails_is_passed_over(tmp_path: Path) -> None:
    fields = """
  study.x:
    from:
      - {path: StudyID, when: {of: Manufacturer, matches: "siemens.*"}}
      - {sr: [121008 DCM], when: {of: Manufacturer, exists: false}}
      - AccessionNumber
    as: text
  study.half:
    from: {value: StudyID, time: {path: StudyTime, when: {of: StudyID, equals: "no"}}}
    as: datetime_of
"""
    fields = fields.replace("{value: StudyID,", "{date: StudyDate,")
    read = record(mapping(tmp_path, fields), {**GIVEN, "AccessionNumber": "A", "StudyDate": "20240513", "StudyTime": "101500"})
    assert read.shared.study == {"x": "A", "half": "2024-05-13"}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("StudyID", "a condition is {of: ..., equals: ...}"),
        ("{of: StudyID}", "a condition names 'of' and one of equals, in, matches, exists, above, below"),
        ("{of: StudyID, equls: S}", "unknown key 'equls' in a condition (did you mean 'equals'?)"),
        ("{of: StudID, equals: S}", "'StudID' is not a DICOM keyword (did you mean 'StudyID'?)"),
        ("{of: study.agnt, equals: S}", "there is no field 'study.agnt' (did you mean 'study.agent'?)"),
        ("{of: study.x, equals: S}", "refers to itself"),
        ("{of: StudyID, in: S}", "'in' is a list"),
        ("{of: StudyID, exists: 1}", "'exists' is true or false"),
        ("{of: StudyID, above: S}", "'above' is a number"),
        ("{of: StudyID, matches: '(a'}", "not a regular expression of RE2"),
        (f"{{of: StudyID, matches: '{'a' * 1001}'}}", "at most 1000 letters"),
        ("{all: []}", "'all' is a list of conditions"),
        ("{all: [{of: StudyID, equals: S}], of: StudyID}", "'all' stands alone"),
        ("{not: " * DEEPEST + "{of: StudyID, equals: S}" + "}" * DEEPEST, f"at most {LARGEST} parts, {DEEPEST} deep"),
        ("{any: [" + ", ".join(["{of: StudyID, equals: S}"] * LARGEST) + "]}", f"at most {LARGEST} parts"),
    ],
)
def test_a_condition_that_cannot_be_right_is_told(tmp_path: Path, condition: str, said: str) -> None:
    told = complaints(tmp_path, a=f"match: everything\nfields:{FIELDS % condition}")
    assert any(said in text and text.startswith("a.yaml:7:") for text in told), told


def test_another_condition_is_another_version_of_the_mapping(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = mapping(tmp_path / "one", FIELDS % "{of: StudyID, equals: S}")
    two = mapping(tmp_path / "two", FIELDS % "{of: StudyID, equals: T}")
    assert one.version != two.version


def test_a_misspelt_keyword_in_a_condition_is_told_at_its_own_line(tmp_path: Path) -> None:
    fields = """  study.x:
    as: text
    from:
      - StudyID
      - path: PatientID
        when:
          any:
            - {of: Modality, equals: PT}
            - {of: Modalty, equals: PT}
    when:
      not:
        of:
          path: Manufacturr
        exists: true
"""
    told = complaints(tmp_path, one=f"match: everything\nfields:\n{fields}")
    assert [text.partition(": ")[0].rpartition(":")[0] for text in told] == ["one.yaml:11", "one.yaml:15"]
