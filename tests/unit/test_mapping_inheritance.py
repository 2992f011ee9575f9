"""``extends``: which file of a line has the last word on a key, and that conditions of ``match`` add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.dicom_rules import SetText
from gateway.mapping.example import opened
from gateway.mapping.files import line_of
from gateway.mapping.language import load
from gateway.workbench.effective import effective_mapping
from tests.unit.mapping_files import complaints, directory, read

BASE = """match: nothing
fields:
  study.x: {from: StudyDescription, as: text}
  study.y: {from: StudyDescription, as: text}
dicom:
  elements: {InstitutionName: {value: base}}
example: {StudyDescription: base, SeriesDescription: vendor, StudyID: hospital}
"""
VENDOR = """extends: base
match: nothing
fields:
  study.x: {from: SeriesDescription, as: text}
  study.y: null
dicom:
  elements: {InstitutionName: {value: vendor}}
example: {PatientID: vendor}
"""
HOSPITAL = """extends: base
match: nothing
fields:
  study.w: {from: StudyID, as: text}
"""
DIAMOND = {"base": BASE, "vendor": VENDOR, "hospital": HOSPITAL}


@pytest.mark.parametrize("order", ["vendor, hospital", "hospital, vendor"])
def test_what_a_base_merely_inherits_never_wins_over_what_another_base_wrote(tmp_path: Path, order: str) -> None:
    site = load(directory(tmp_path, **DIAMOND, site=f"extends: [{order}]\nmatch: everything\n")).named("site")
    study = read(site, {}).shared.study
    assert (study.get("x"), study.get("y"), study.get("w")) == ("vendor", None, "hospital")
    assert [rule.action for rule in site.dicom.elements] == [SetText("vendor")]
    assert site.example["PatientID"] == "vendor"


def test_of_two_bases_that_write_one_key_the_later_wins_and_null_counts_as_writing(tmp_path: Path) -> None:
    other = "extends: base\nmatch: nothing\nfields:\n  study.x: null\n  study.y: {from: StudyID, as: text}\n"
    files = {"base": BASE, "vendor": VENDOR, "other": other}
    for order, said in (("vendor, other", (None, "hospital")), ("other, vendor", ("vendor", None))):
        folder = directory(tmp_path / order[:5], **files, site=f"extends: [{order}]\nmatch: everything\n")
        study = read(load(folder).named("site"), {}).shared.study
        assert (study.get("x"), study.get("y")) == said


def test_priority_comes_from_the_last_base_that_wrote_it(tmp_path: Path) -> None:
    files = DIAMOND | {"base": BASE + "priority: 1\n", "vendor": VENDOR + "priority: 5\n"}
    site = load(directory(tmp_path, **files, site="extends: [vendor, hospital]\nmatch: everything\n")).named("site")
    assert site.priority == 5


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([], ("me",)),
        ([("a", "b"), ("a", "c")], ("a", "b", "c", "me")),
        ([("a", "c"), ("b", "c", "d")], ("a", "b", "c", "d", "me")),
        ([("a", "b"), ("a",)], None),  # a after b, which extends it
        ([("a",), ("a", "b")], ("a", "b", "me")),
        ([("a", "b", "p"), ("b", "a", "q")], None),
        ([("a", "c", "p"), ("b", "c", "q")], ("a", "b", "c", "p", "q", "me")),
    ],
)
def test_the_line_of_a_mapping(lines: list[tuple[str, ...]], line: tuple[str, ...] | None) -> None:
    assert line_of("me", lines) == line


def test_bases_that_contradict_each_other_are_a_mistake_with_its_line(tmp_path: Path) -> None:
    (told,) = complaints(tmp_path, **DIAMOND, site="match: everything\nextends: [vendor, base]\n")
    assert told.startswith("site.yaml:2:1: these bases contradict each other's order")


NARROWED = {
    "base": "match: everything\nfields:\n  series.modality: {from: Modality, as: code}\n",
    "ge": "extends: base\nmatch: {manufacturer: [GE*, GEMS], Modality: PT}\n",
    "site": "extends: ge\nmatch: {Manufacturer: '*HEALTHCARE', StationName: A}\n",
}


@pytest.mark.parametrize(
    ("manufacturer", "name"), [("GE HEALTHCARE", "site"), ("SIEMENS HEALTHCARE", "base"), ("GE MEDICAL", "ge"), ("GEMS", "ge")]
)
def test_a_condition_on_the_same_key_narrows_what_the_base_asks(tmp_path: Path, manufacturer: str, name: str) -> None:
    mappings = load(directory(tmp_path, **NARROWED))
    assert mappings.for_header(opened({"Modality": "PT", "StationName": "A", "Manufacturer": manufacturer})).name == name


def test_conditions_that_can_never_fit_together_are_a_mistake_with_its_line(tmp_path: Path) -> None:
    site = "extends: ge\nmatch:\n  StationName: A\n  manufacturer: SIEMENS*\n"
    (told,) = complaints(tmp_path, **{**NARROWED, "site": site})
    assert told.startswith("site.yaml:4:3: nothing fits both this and the 'Manufacturer' of ge.yaml:2, which holds as well")


def test_a_condition_of_a_base_goes_only_when_it_is_taken_away(tmp_path: Path) -> None:
    site = "extends: ge\nmatch: {Manufacturer: null, StationName: A}\n"
    mappings = load(directory(tmp_path, **{**NARROWED, "site": site}))
    assert mappings.for_header(opened({"Modality": "PT", "StationName": "A", "Manufacturer": "X"})).name == "site"


def test_the_effective_mapping_shows_all_conditions(tmp_path: Path) -> None:
    shown = effective_mapping(directory(tmp_path, **NARROWED), "site")
    assert "  Manufacturer: '*HEALTHCARE'" in shown
    assert "# and: Manufacturer: [GE*, GEMS]" in shown
