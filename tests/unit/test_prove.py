"""``mappings test --prove``: what no test protects is found, at its line; what is protected is not named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.language import load
from gateway.workbench.origins import Origins
from gateway.workbench.prove import prove
from gateway.workbench.selftest import run_tests
from tests.unit.mapping_files import SHIPPED, directory

_MAPPING = """\
match: everything
fields:
  study.uid: {from: StudyInstanceUID, as: uid, need: must}
  study.id: {from: StudyID, as: text}
  series.uid: {from: SeriesInstanceUID, as: uid}
resources:
  study:
    per: study
    identity: ["${study.uid}"]
    resourceType: ImagingStudy
    status: available
    subject: {display: nobody}
    identifier:
      - {system: "urn:dicom:uid", value: "urn:oid:${study.uid}"}
      - if: study.id
        system: urn:x
        value: ${study.uid}
    description: ${study.id}
dicom:
  charset: utf-8
  elements:
    StudyID: {value: CHANGED}
    SeriesNumber: {remove: true}
example: {SpecificCharacterSet: ISO_IR 100, StudyInstanceUID: "1.2", SeriesInstanceUID: "1.3", StudyID: A, SeriesNumber: "1"}
tests:
  - name: the uid is published
    expect: {resources: {study: {identifier: [{value: "urn:oid:1.2"}, {value: "1.2"}]}}, dicom: {StudyID: CHANGED}}
"""


def names(path: Path, text: str) -> list[tuple[str, str, str]]:
    made = directory(path, one=text)
    mappings = load(made)
    assert [result.reasons for result in run_tests(mappings) if not result.ok] == []
    return [(one.what, one.name, one.where) for one in prove(mappings, Origins(made))]


def test_each_rule_without_a_test_is_named_with_its_line(tmp_path: Path) -> None:
    assert names(tmp_path, _MAPPING) == [
        ("field", "series.uid", "one.yaml:5"),
        ("element", "study.identifier.1.if", "one.yaml:15"),
        ("element", "study.description", "one.yaml:18"),
        ("dicom", "SeriesNumber", "one.yaml:23"),
        ("dicom", "charset", "one.yaml:20"),
    ]


def test_tests_of_an_heir_protect_what_it_inherits_but_not_what_it_overrides(tmp_path: Path) -> None:
    heir = (
        "extends: one\nmatch: {Modality: PT}\nfields:\n  study.id: {from: StudyDescription, as: text}\n"
        "example: {Modality: PT, StudyDescription: B}\ntests:\n  - name: all\n"
        "    expect: {fields: {series.uid: '1.3'}, resources: {study: {description: B}},"
        " dicom: {SpecificCharacterSet: ISO_IR 192, SeriesNumber: ''}}\n"
    )
    made = directory(tmp_path, one=_MAPPING, two=heir)
    left = {(one.what, one.name) for one in prove(load(made), Origins(made))}
    assert left == {("element", "study.identifier.1.if")}


def test_a_condition_is_protected_by_a_test_in_which_it_does_not_hold(tmp_path: Path) -> None:
    given = "given: {StudyID: null}"
    text = f"{_MAPPING}  - name: without\n    {given}\n    expect: {{resources: {{study: {{identifier: [{{}}, null]}}}}}}\n"
    assert not [found for found in names(tmp_path, text) if found[1] == "study.identifier.1.if"]


def test_a_condition_that_says_what_the_hole_says_needs_no_test(tmp_path: Path) -> None:
    text = _MAPPING.replace("value: ${study.uid}\n", "value: ${study.id}\n").replace('{value: "1.2"}]', "{value: A}]")
    assert not [found for found in names(tmp_path, text) if found[1] == "study.identifier.1.if"]


@pytest.mark.timeout(300)
def test_every_rule_of_the_shipped_mappings_is_protected() -> None:
    assert [f"{one.where}: {one.name}" for one in prove(load(SHIPPED), Origins(SHIPPED))] == []
