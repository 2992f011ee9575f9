"""``mappings new`` and ``coverage``: what no rule reads is named, never its value; the starter is green as written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from gateway import yamlfile
from gateway.errors import Misconfigured, Quarantined
from gateway.mapping.language import lint, load
from gateway.workbench.coverage import coverage, coverage_lines
from gateway.workbench.read_as import finder
from gateway.workbench.selftest import run_test, run_tests
from gateway.workbench.starter import starter
from tests.builders import ABSENT, pet, pet_series, rrdsr, write
from tests.unit.mapping_files import SHIPPED
from tests.unit.workbench_site import site

MAPPINGS = load(SHIPPED)
CREATOR = "OUR PRIVATE GROUP"


def with_private(dataset: Dataset) -> Dataset:
    block = dataset.private_block(0x0099, CREATOR, create=True)
    block.add_new(0x01, "LO", "secret lot 7")
    dataset.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", "1.5")
    return dataset


def scanner(**overrides: object) -> Dataset:
    words = {"Manufacturer": "Maker of Nowhere", "ManufacturerModelName": "Model 7", "StationName": "PETCT9"}
    return with_private(pet(**(words | overrides)))


def test_a_starter_lints_and_tests_green_in_its_place(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    made = starter(write(scanner(), tmp_path / "pet.dcm"), MAPPINGS, tmp_path / "mappings", name="ours")
    assert made.extends == "pet_image"
    (tmp_path / "mappings" / "sites").mkdir(exist_ok=True)
    (tmp_path / "mappings" / "sites" / "ours.yaml").write_text(made.text)
    assert lint(tmp_path / "mappings") == []
    mappings = load(tmp_path / "mappings")
    results = [result for result in run_tests(mappings) if result.mapping == "ours"]
    assert [result.reasons for result in results] == [()]
    assert mappings.for_dataset(scanner()).name == "ours"


def test_a_starter_names_private_and_unread_elements_but_no_values(tmp_path: Path) -> None:
    dataset = scanner(PatientName="Secret^Name", PatientID="SECRET-ID", AdditionalPatientHistory="secret history")
    text = starter(write(dataset, tmp_path / "pet.dcm"), MAPPINGS, SHIPPED).text
    assert f"#   {CREATOR}\n#     (0099,xx01)[{CREATOR}]  LO" in text
    assert "#   AdditionalPatientHistory  LT  Additional Patient History" in text
    assert f'{{from: "(0099,xx01)[{CREATOR}]", as: text}}' in text
    assert "secret" not in text.lower()
    hidden = (
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.SOPInstanceUID,
        dataset.StudyDate,
        dataset.PatientBirthDate,
    )
    assert [value for value in hidden if str(value) in text] == []


def test_a_starter_for_a_report_and_one_without_scanner(tmp_path: Path) -> None:
    made = starter(write(rrdsr(), tmp_path / "sr.dcm"), MAPPINGS, SHIPPED)
    assert made.extends == "dose_report"
    container = yamlfile.parse(made.text, name="x").data["example"]["sr"]["113502 DCM"]["items"]
    assert container["113507 DCM"] == {"num": "350.0", "unit": "MBq"}
    assert container["113503 DCM"] == {"uid": "2.25.5001"}  # the base's invention, not the report's
    nobody = pet(Manufacturer=ABSENT, ManufacturerModelName=ABSENT, StationName=ABSENT)
    with pytest.raises(Misconfigured, match="names no manufacturer"):
        starter(write(nobody, tmp_path / "pet.dcm"), MAPPINGS, SHIPPED)
    with pytest.raises(Misconfigured, match="exists"):
        starter(write(scanner(), tmp_path / "pet2.dcm"), MAPPINGS, SHIPPED, name="pet_image")
    (tmp_path / "words.txt").write_text("no DICOM")
    with pytest.raises(Quarantined):
        starter(tmp_path / "words.txt", MAPPINGS, SHIPPED)


def test_coverage_counts_what_no_rule_reads_and_nothing_else(tmp_path: Path) -> None:
    for number, dataset in enumerate(pet_series(3, AcquisitionComments="words")):
        write(with_private(dataset) if number else dataset, tmp_path / f"{number}.dcm")
    (tmp_path / "words.txt").write_text("no DICOM")
    found = coverage([tmp_path], MAPPINGS)
    counts = {one.path: (one.files, one.creator) for one in found.unread}
    assert counts[f"(0099,xx01)[{CREATOR}]"] == (2, CREATOR)
    assert counts["AcquisitionComments"] == (3, "")
    item = "RadiopharmaceuticalInformationSequence"
    read = (
        "PatientID",
        "SeriesDate",
        "SOPClassUID",
        item,
        f"{item}.RadionuclideTotalDose",
        f"{item}.RadionuclideCodeSequence.CodeValue",
    )
    assert [path for path in read if path in counts] == []
    assert [path.name for path, _ in found.skipped] == ["words.txt"]
    kind = "Positron Emission Tomography Image Storage"
    assert found.files == {kind: 3}
    lines = list(coverage_lines(found, private_only=True))
    assert any(CREATOR in line for line in lines)
    assert not any("AcquisitionComments" in line for line in lines)
    assert "words" not in "\n".join(line for line in lines if "words.txt" not in line)


def ge_without_dose() -> Dataset:
    dataset = pet(Manufacturer="GE MEDICAL SYSTEMS", StationName="PETCT9")
    del dataset.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
    dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x38, "FL", 251.5)
    return dataset


def test_coverage_names_the_field_that_takes_a_private_element_and_what_nothing_publishes(tmp_path: Path) -> None:
    files = [write(ge_without_dose(), tmp_path / f"{number}.dcm") for number in range(2)]
    found = coverage(files, MAPPINGS, finder(site(MAPPINGS), SHIPPED))
    assert {one.path: (one.name, one.files) for one in found.read_as if one.creator} == {
        "(0009,xx38)[GEMS_PETD_01]": ("administration.measured_before", 2)
    }
    assert ("Units", "series.pet.units, in no FHIR element") in [(one.path, one.name) for one in found.read_as]
    assert "PatientID" not in {one.path for one in found.read_as}
    lines = list(coverage_lines(found, private_only=True))
    assert [line.split() for line in lines if "read as" in line] == [
        ["2", "(0009,xx38)[GEMS_PETD_01]", "read", "as", "administration.measured_before"]
    ]


def test_a_starter_says_of_the_file_only_what_stands_in_it(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mappings")
    file = write(ge_without_dose(), tmp_path / "pet.dcm")
    made = starter(file, MAPPINGS, SHIPPED, name="ours", read_as=finder(site(MAPPINGS), SHIPPED)(file))
    assert "#   (0009,xx38)[GEMS_PETD_01]  read as administration.measured_before" in made.text
    (tmp_path / "mappings" / "sites" / "ours.yaml").write_text(made.text)
    mappings = load(tmp_path / "mappings")
    mapping = mappings.named("ours")
    assert "RadionuclideTotalDose" not in mapping.example["RadiopharmaceuticalInformationSequence"][0]
    assert "(0009,xx3B)[GEMS_PETD_01]" not in mapping.example
    assert "Radiopharmaceutical" in mapping.example["RadiopharmaceuticalInformationSequence"][0]
    assert "administration.activity" not in mapping.tests[0].expect["fields"]
    assert run_test(mapping, mapping.tests[0], mappings).ok


def test_coverage_of_a_report_goes_by_its_concepts(tmp_path: Path) -> None:
    report = rrdsr()
    extra = Dataset()
    extra.RelationshipType, extra.ValueType, extra.TextValue = "CONTAINS", "TEXT", "words"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "X1", "99OURS", "Our remark"
    extra.ConceptNameCodeSequence = [name]
    report.ContentSequence.append(extra)
    unread = {one.path: one.name for one in coverage([write(report, tmp_path / "sr.dcm")], MAPPINGS).unread if one.vr == "SR"}
    assert unread["X1 99OURS"] == "Our remark"
    assert "113502 DCM / 113507 DCM" not in unread


@pytest.mark.needs("data")
def test_coverage_looks_through_all_real_files() -> None:
    from tests.conftest import data_directory

    found = coverage([data_directory()], MAPPINGS)
    assert sum(found.files.values()) > 120
    assert any(one.creator == "GEMS_PETD_01" for one in found.unread) or any("GEMS" in one.creator for one in found.unread)
