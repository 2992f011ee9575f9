"""``mappings diff``: what a change of mappings would change, element by element, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dicom.reading import Header, header_of
from gateway.mapping.language import load
from gateway.workbench.deploy import Tried, tried_lines
from gateway.workbench.mapping_diff import Difference, What, diff_files, difference_lines, mapping_diff
from tests.builders import part10, pet, pet_series, write
from tests.unit.mapping_files import SHIPPED
from tests.unit.workbench_site import site

OLD = load(SHIPPED)


def headers() -> Iterator[tuple[str, Header]]:
    yield from ((f"slice {number}", header_of(part10(dataset))) for number, dataset in enumerate(pet_series(3)))


def changed(tmp_path: Path, name: str, **words: str) -> Path:
    """The shipped mappings with one file edited: ``old__new`` pairs as text."""
    directory = tmp_path / "new"
    shutil.copytree(SHIPPED, directory)
    text = (directory / f"{name}.yaml").read_text()
    for old, new in zip(words["old"].split("|"), words["new"].split("|"), strict=True):
        assert old in text
        text = text.replace(old, new)
    (directory / f"{name}.yaml").write_text(text)
    return directory


def test_the_same_mappings_change_nothing() -> None:
    assert mapping_diff(OLD, load(SHIPPED), headers()) == []
    assert list(difference_lines([], 3)) == ["nothing changes (3 objects compared)"]


def test_a_comment_changes_nothing(tmp_path: Path) -> None:
    new = changed(tmp_path, "pet_common", old="\nfields:\n  series.pet", new="\n# said otherwise\nfields:\n  series.pet")
    assert mapping_diff(OLD, load(new), headers()) == []


def test_one_rule_changes_one_element_of_one_resource(tmp_path: Path) -> None:
    old, new = "series.description: {from: SeriesDescription", "series.description: {from: Modality"
    (found,) = mapping_diff(OLD, load(changed(tmp_path, "image", old=old, new=new)), headers())
    uid = pet().SeriesInstanceUID
    assert (found.what, found.element) == (What.ELEMENT, f"ImagingStudy.series[uid={uid}].description")
    assert (found.old, found.new) == (pet().SeriesDescription, "PT")


def test_another_unit_is_a_change_of_the_fact_not_another_fact(tmp_path: Path) -> None:
    new = changed(tmp_path, "pet_common", old="unit: {in: Bq, out: MBq}", new="unit: {in: Bq, out: kBq}")
    found = {
        (one.subject.partition("/")[0], one.element): (str(one.old), str(one.new))
        for one in mapping_diff(OLD, load(new), headers())
    }
    assert found["MedicationAdministration", "MedicationAdministration.dosage.dose.value"] == ("350", "350000")
    assert found["Observation", "Observation.valueQuantity.unit"] == ("MBq", "kBq")
    assert not [key for key in found if key[1] in ("MedicationAdministration", "Observation")]


def test_what_is_needed_now_and_missing_is_told_per_object(tmp_path: Path) -> None:
    new = changed(
        tmp_path,
        "image",
        old="series.body_part: {from: BodyPartExamined, as: text}",
        new="series.body_part: {from: PatientComments, as: text, need: must}",
    )
    found = mapping_diff(OLD, load(new), headers())
    aside = [one for one in found if one.what is What.QUARANTINE]
    assert [one.subject for one in aside] == ["slice 0", "slice 1", "slice 2"]
    assert all(one.old is None and "series.body_part is missing" in one.new for one in aside)
    gone = {one.element for one in found if one.what is What.RESOURCE and one.new is None}
    assert {"ImagingStudy", "MedicationAdministration"} <= gone


def test_new_and_vanished_issues_are_told(tmp_path: Path) -> None:
    new = changed(
        tmp_path,
        "image",
        old="study.id: {from: StudyID, as: text}",
        new="study.id: {from: PatientComments, as: text, need: should}",
    )
    issues = [one for one in mapping_diff(OLD, load(new), headers()) if one.what is What.ISSUE]
    assert {(one.element, one.old, one.new) for one in issues} == {("study.id", None, "warning: is missing")}
    back = [one for one in mapping_diff(load(new), OLD, headers()) if one.what is What.ISSUE]
    assert {(one.element, one.old, one.new) for one in back} == {("study.id", "warning: is missing", None)}


def test_normalised_dicom_is_compared_as_it_goes_out(tmp_path: Path) -> None:
    file = write(pet(SpecificCharacterSet="ISO_IR 100"), tmp_path / "files" / "one.dcm")
    (tmp_path / "files" / "words.txt").write_text("not DICOM")
    new = changed(tmp_path, "image", old="  charset: utf-8\n", new="")
    found = diff_files(SHIPPED, new, [tmp_path / "files"], site(OLD))
    assert [(one.what, one.subject, one.element, one.old, one.new) for one in found.differences] == [
        (What.DICOM, str(file), "SpecificCharacterSet", "ISO_IR 192", "ISO_IR 100")
    ]
    assert found.files == 1
    assert [path.name for path, _ in found.unreadable] == ["words.txt"]


def test_a_sample_of_the_headers_is_not_said_to_lack_images(tmp_path: Path) -> None:
    one = [("one", header_of(part10(pet(SeriesType=["WHOLE BODY", "IMAGE"], NumberOfSlices=267))))]
    new = changed(
        tmp_path, "pet_common", old="series.pet.slices: {from: NumberOfSlices", new="series.pet.slices: {from: InstanceNumber"
    )
    assert not [
        found for found in mapping_diff(OLD, load(new), one) if "images that the series names" in f"{found.old}{found.new}"
    ]


def test_the_rest_of_many_differences_is_counted_and_how_to_see_it_is_said() -> None:
    many = {
        uid: [Difference(what=What.ELEMENT, subject="Patient/1", element=str(number), old=1, new=2) for number in range(20)]
        for uid in ("1.2", "1.3", "1.4")
    }
    tried = Tried(studies=3, headers=3, gone=0, changed=many, since="")
    lines = list(tried_lines(tried))
    assert sum("Patient/1" in line for line in lines) == 30
    assert lines[-1] == "    ... and 30 more differences, in 3 studies in all: --all shows them"
    assert sum("Patient/1" in line for line in tried_lines(tried, every=True)) == 60
    assert not any("more" in line for line in tried_lines(tried, every=True))


@pytest.mark.needs("data")
def test_the_shipped_mappings_differ_from_themselves_on_no_real_file() -> None:
    from tests.conftest import data_directory

    found = diff_files(SHIPPED, SHIPPED, [data_directory()], site(OLD))
    assert found.differences == []
    assert found.files > 100
