"""``mappings explain``: every element of what comes out is traced to the place it was read from and to the rule in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.language import load
from gateway.r4.bundles import resources_of
from gateway.workbench.convert import convert
from gateway.workbench.explain import explain
from gateway.workbench.explanation import Explanation, explain_lines, is_fhir
from gateway.workbench.origins import Origins
from tests.builders import pet, rrdsr, write
from tests.unit.mapping_files import SHIPPED
from tests.unit.workbench_site import site

_ITEM = "RadiopharmaceuticalInformationSequence[0]"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(pet(PatientBirthDate="99990101"), tmp_path_factory.mktemp("one") / "pet.dcm")


@pytest.fixture(scope="module")
def found(file: Path) -> Explanation:
    return explain(file, site(load(SHIPPED)), Origins(SHIPPED))


def test_every_leaf_of_every_resource_is_explained_with_its_value(file: Path, found: Explanation) -> None:
    told = {(one.element, str(one.value)) for field in found.fields for one in field.elements}
    told |= {(one.element, str(one.value)) for one in found.written}
    bundles = convert([file], site(load(SHIPPED)), recorded="2024-01-01T00:00:00Z").bundles
    resources = [r for bundle in bundles for r in resources_of(bundle) if r["resourceType"] != "Provenance"]
    leaves = {leaf for resource in resources for leaf in _leaves(resource["resourceType"], resource)}
    ours = {
        leaf for leaf in leaves if leaf[0].endswith(("].id", ".id")) or ".meta.profile[" in leaf[0]
    }  # no template writes them
    assert leaves - ours - told == set()


def _leaves(place: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(f"{place}.{key}", inner)]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(f"{place}[{index}]", inner)]
    return [(place, str(value))]


def test_the_dose_comes_from_its_tag_by_its_rule(found: Explanation) -> None:
    (activity,) = (field for field in found.narrowed("MedicationAdministration.dosage.dose.value").fields)
    (element,) = activity.elements
    assert (element.element, str(element.value)) == ("MedicationAdministration.dosage.dose.value", "350")
    used = {origin.path: origin.words for origin in activity.origins if origin.used}
    assert used[f"{_ITEM}.RadionuclideTotalDose"] == "350000000"
    assert activity.conversion.startswith("activity, ")
    assert "out: MBq" in activity.conversion
    assert _line(activity.rule).strip().startswith("administration.activity:")
    assert _line(element.line).strip() == "dose: ${administration.activity}"


def _line(where: str) -> str:
    name, _, line = where.partition(":")
    return (SHIPPED / name).read_text().splitlines()[int(line) - 1]


def test_a_tag_a_field_and_an_element_lead_to_the_same_rule(found: Explanation) -> None:
    asked = ("RadionuclideTotalDose", "administration.activity", "medicationadministration.dosage.dose")
    names = [{field.name for field in found.narrowed(words).fields} for words in asked]
    assert all("administration.activity" in each for each in names)
    assert found.narrowed("NoSuchThing").fields == ()


def test_what_is_withheld_says_why_and_what_stands_in_the_file(found: Explanation) -> None:
    (birth,) = found.narrowed("Patient.birthDate").fields
    assert birth.value is None
    assert birth.elements == ()
    assert birth.issues == ("warning: lies after the study",)
    assert ("PatientBirthDate", "99990101") in [(origin.path, origin.words) for origin in birth.origins]
    text = "\n".join(explain_lines(found.narrowed("Patient.birthDate"), everything=True))
    assert "Patient.birthDate: not filled, because the value is withheld or cannot be read (see issue)" in text
    assert "from   PatientBirthDate = 99990101" in text


def test_an_overlay_in_force_is_the_rule_that_is_named(file: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(SHIPPED, tmp_path / "mappings")
    overlay = tmp_path / "mappings" / "sites" / "ours.yaml"
    overlay.parent.mkdir(exist_ok=True)
    overlay.write_text(
        "extends: pet_image\nmatch: {SOPClassUID: PositronEmissionTomographyImageStorage, Modality: PT}\npriority: 9\n"
        "fields:\n  series.description: {from: Modality, as: text}\n"
    )
    found = explain(file, site(load(tmp_path / "mappings")), Origins(tmp_path / "mappings"))
    (field,) = found.narrowed("series.description").fields
    assert (found.mapping, field.rule, field.value) == ("ours", "sites/ours.yaml:5", "PT")


def test_a_report_is_explained_by_its_concepts(tmp_path: Path) -> None:
    found = explain(write(rrdsr(), tmp_path / "sr.dcm"), site(load(SHIPPED)), Origins(SHIPPED))
    (activity,) = (field for field in found.fields if field.name == "administration.activity")
    (origin,) = (origin for origin in activity.origins if origin.used and "113507" in origin.path)
    assert origin.words == "350.0 MBq"


def test_changes_of_the_normalised_dicom_are_told(tmp_path: Path) -> None:
    file = write(pet(SpecificCharacterSet="ISO_IR 100"), tmp_path / "pet.dcm")
    found = explain(file, site(load(SHIPPED)), Origins(SHIPPED))
    (change,) = found.narrowed("SpecificCharacterSet").changes
    assert (change.before, change.after, change.rule) == ("ISO_IR 100", "ISO_IR 192", "charset")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("MedicationAdministration.dosage.dose.value", "the field has no value in this file"),
        ("MedicationAdministration.dosage.dose", "the field has no value in this file"),
        ("MedicationAdministration.dosage.route", "a condition of the line, or of the resource around it, does not hold here"),
    ],
)
def test_an_element_that_is_absent_is_said_to_be_not_filled_and_why(tmp_path: Path, asked: str, why: str) -> None:
    dataset = pet()
    del dataset.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
    found = explain(write(dataset, tmp_path / "pet.dcm"), site(load(SHIPPED)), Origins(SHIPPED)).narrowed(asked)
    lines = list(explain_lines(found, everything=True))
    assert any(asked in line and line.endswith(f"not filled, because {why}") for line in lines), lines
    assert not found.narrowed("MedicationAdministration.dosage.dose.valu").fields


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("Patient.photo", True),
        ("Observation.component[0].valueQuantity.value", True),
        ("Patient.foto", False),
        ("Patient", False),
        ("PatientID", False),
        ("Patient.birthDate.value", False),
    ],
)
def test_an_element_of_fhir_is_known_though_no_mapping_fills_it(path: str, known: bool) -> None:
    assert is_fhir(path) is known
