"""The language is strict: every mistake is told at once, with file, line and column, and the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from gateway.errors import Misconfigured, Quarantined
from gateway.mapping.language import lint, load
from tests.unit.mapping_files import SHIPPED, complaints, directory

BASE = """\
match: everything
fields:
  study.uid: {from: StudyInstanceUID, as: uid, need: must}
  study.name: {from: PatientName, as: person_name}
  study.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}
"""


@pytest.mark.parametrize(
    ("addition", "complaint"),
    [
        ("feilds: {}", "a.yaml:6:1: unknown section 'feilds' (did you mean 'fields'?)"),
        ("resources: []", "a.yaml:6:1: 'resources' must be a mapping of keys"),
        ("  series.x: {from: Modalty, as: code}", "a.yaml:6:14: 'Modalty' is not a DICOM keyword (did you mean 'Modality'?)"),
        ("  sries.x: {from: Modality, as: code}", "a.yaml:6:3: 'sries' is not a level (did you mean 'series'?)"),
        ("  series: {from: Modality, as: code}", "a.yaml:6:3: 'series' is not a field name"),
        ("  series.X: {from: Modality, as: code}", "a.yaml:6:3: 'series.X' is not a field name"),
        ("  series.x: Modality", "a.yaml:6:3: a field is a mapping with 'from' and 'as'"),
        ("  series.x: {from: Modality}", "'series.x' has no 'as'"),
        ("  series.x: {as: code}", "'series.x' has no 'from'"),
        ("  series.x: {from: Modality, as: cod}", "unknown converter 'cod' (did you mean 'code'?)"),
        ("  series.x: {from: Modality, as: code, neeed: must}", "unknown key 'neeed' (did you mean 'need'?)"),
        ("  series.x: {from: Modality, as: code, need: always}", "'need' is one of must, should, may, not 'always'"),
        ("  series.x: {from: Modality, as: code, codes: routes}", "'code' takes no 'codes'"),
        ("  series.x: {from: Modality, as: known_concept}", "'known_concept' needs 'codes'"),
        ("  series.x: {from: Modality, as: concept, codes: rotues}", "no code table 'rotues' (did you mean 'routes'?)"),
        ("  series.x: {from: PatientWeight, as: quantity}", "'quantity' needs 'unit: {in: ..., out: ...}'"),
        ("  series.x: {from: PatientWeight, as: quantity, unit: {in: kgs, out: kg}}", "unknown unit 'kgs' (did you mean 'kg'?)"),
        ("  series.x: {from: PatientWeight, as: quantity, unit: {in: Bq, out: kg}}", "Bq cannot become kg"),
        (
            "  series.x: {from: {date: StudyDate, tiem: StudyTime}, as: datetime_of}",
            "'datetime_of' has no part 'tiem' (did you mean 'time'?)",
        ),
        ("  series.x: {from: {time: StudyTime}, as: datetime_of}", "'datetime_of' needs the part 'date'"),
        ("  series.x: {from: $tracer.RadionuclideTotalDose, as: text}", "'$tracer' is not set"),
        (
            "  series.x: {from: $administration.RadionuclideTotalDose, as: text}",
            "only 'administration' fields can read $administration",
        ),
        ("  administration.x: {from: PatientID, as: text}", "'administration' fields need 'for_each"),
        ("  series.x: {from: study.uid, as: uid}", "'study.uid': here belongs the path of an element"),
        ("  series.x: {from: 7, as: uid}", "a source is the path of an element"),
        ("for_each: {series: RadiopharmaceuticalInformationSequence}", "only 'administration' can be repeated"),
        ("for_each: {administration: PatientID}", "'PatientID' is not a sequence"),
        ("tests: [{name: t}]", "a.yaml:6:9: a test that expects nothing proves nothing"),
        ("tests: [{name: t, expect: {}}]", "a test that expects nothing proves nothing"),
        ("tests: [{expect: {absent: [study.uid]}}]", "a test needs a 'name'"),
        ("tests: [{name: t, expect: {feilds: {a: 1}}}]", "unknown key 'feilds' (did you mean 'fields'?)"),
        ("tests: [{name: t, expect: {absent: [study.uidd]}}]", "no field 'study.uidd' is written (did you mean 'study.uid'?)"),
        ("tests: [{name: t, given: {PatientNmae: x}, expect: {absent: [study.uid]}}]", "'PatientNmae' is not a DICOM keyword"),
        ("tests: [{name: t, expect: {outcome: exploded}}]", "'outcome' is one of record, quarantined"),
        ("tests: [{name: t, expect: {resources: {pateint: {}}}}]", "there is no resource 'pateint'"),
        ("example: {Modalty: CT}", "a.yaml:6:11: 'Modalty' is not a DICOM keyword"),
        ("extends: b", "a.yaml:6:1: there is no mapping 'b'"),
        ("extends: a", "'a' extends itself"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, addition: str, complaint: str) -> None:
    found = complaints(tmp_path, a=BASE + addition + "\n")
    assert any(complaint in text for text in found), found


RESOURCE = """\
resources:
  study:
    per: study
    identity: ["${study.uid}"]
    resourceType: ImagingStudy
    status: available
    subject: {reference: "@patient"}
"""


@pytest.mark.parametrize(
    ("addition", "complaint"),
    [
        ("    description: ${study.descripton}", "no field 'study.descripton' is written"),
        ("    description: ${device.model}", "a resource per study can read study, patient"),
        ("    description: ${study.uid", "a hole is not closed"),
        ("    description: $${study.uid", None),  # written twice, it is literal text
        ("    description: ${study uid}", "is not a path of names"),
        ("    endpoint: [{reference: '@pateint'}]", "'@pateint' is not a resource of this mapping (did you mean 'patient'?)"),
        ("    for_each: x in series", "'for_each' stands only in an entry of a list"),
        ("    series: [{for_each: s of series, uid: '${s.uid}'}]", "a loop is written"),
        ("    series: [{for_each: s in sereis, uid: '${s.uid}'}]", "can read"),
        ("    series: [{for_each: s in series, uid: '${s.uidd}'}]", "no field 'series.uidd' is written"),
        ("    note: {if: {a: b}, text: x}", "'if' is followed by the path of a value"),
        ("    description: ${study.name.family}", None),
        ("    description: weight ${study.weight.value}", None),
        (
            "    description: weight ${study.weight.vlaue}",
            "no field 'study.weight.vlaue' is written (did you mean 'weight.value'?)",
        ),
    ],
)
def test_a_template_reads_only_what_some_field_writes(tmp_path: Path, addition: str, complaint: str | None) -> None:
    found = complaints(tmp_path, a=BASE + RESOURCE + addition + "\n")
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in text for text in found), found


@pytest.mark.parametrize(
    ("resource", "complaint"),
    [
        ("{identity: ['x'], resourceType: Patient}", "resource 'r' has no per"),
        ("{per: patients, identity: ['x'], resourceType: Patient}", "'per' is one of"),
        ("{per: patient, identity: x, resourceType: Patient}", "'identity' is a list of texts"),
        ("Patient", "a resource is a mapping"),
    ],
)
def test_a_resource_says_how_often_and_who_it_is(tmp_path: Path, resource: str, complaint: str) -> None:
    found = complaints(tmp_path, a=BASE + f"resources:\n  r: {resource}\n")
    assert any(complaint in text for text in found), found


def test_all_complaints_come_at_once_and_in_order(tmp_path: Path) -> None:
    broken = BASE.replace("as: uid", "as: udi").replace("StudyInstanceUID", "StudyUID") + "  series.x: {as: code}\n"
    found = complaints(tmp_path, a=broken, b="match: everything\nfeilds: {}\n")
    assert [text.split(": ")[0] for text in found] == sorted(text.split(": ")[0] for text in found)
    assert len(found) >= 3
    with pytest.raises(Misconfigured) as caught:
        load(tmp_path)
    assert caught.value.complaints == found


def test_fields_that_refer_in_a_circle_are_a_mistake(tmp_path: Path) -> None:
    circle = """\
match: everything
for_each: {administration: RadiopharmaceuticalInformationSequence}
fields:
  administration.a: {from: {nuclide: PatientID, agent: administration.b}, as: radionuclide, codes: radionuclides}
  administration.b: {from: {nuclide: PatientID, agent: administration.a}, as: radionuclide, codes: radionuclides}
"""
    assert any("refers to itself" in text for text in complaints(tmp_path, a=circle))


def test_two_mappings_for_the_same_objects_are_a_mistake(tmp_path: Path) -> None:
    assert any("the same objects are matched by" in text for text in complaints(tmp_path, a=BASE, b=BASE))


def test_a_study_resource_means_the_same_in_every_mapping(tmp_path: Path) -> None:
    changed = "extends: a\nmatch: {Modality: PT}\n" + RESOURCE + "    description: ${study.uid}\n"
    found = complaints(tmp_path, a=BASE + RESOURCE, b=changed)
    assert any("already defined by 'a'" in text for text in found), found


def test_yaml_that_is_broken_is_told_with_its_line(tmp_path: Path) -> None:
    found = complaints(tmp_path, a="match: everything\nfields: {x: [}\n")
    assert found[0].startswith("a.yaml:2:")


def test_a_mapping_must_say_what_it_is_for(tmp_path: Path) -> None:
    assert any("'match' is missing" in text for text in complaints(tmp_path, a="fields: {}\n"))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("X: {system: SCT, cod: '1'}", "unknown key 'cod' (did you mean 'code'?)"),
        ("X: {system: SNO, code: '1'}", "coding scheme 'SNO' has no FHIR system"),
        ("X: {system: SCT}", "'system' and 'code' go together"),
        ("X: {system: SCT, code: 1}", "a code is text: put it in quotes"),
        ("X: {nuclide: F-81}", "'F-81' is not in radionuclides.yaml (did you mean 'F-18'?)"),
        ("X: {aliases: y}", "'aliases' is a list"),
        ("X: y", "an entry is a mapping"),
    ],
)
def test_a_mistake_in_a_code_table_is_told(tmp_path: Path, entry: str, complaint: str) -> None:
    directory(tmp_path, a=BASE)
    (tmp_path / "codes" / "mine.yaml").write_text(f"entries:\n  {entry}\n")
    assert any(complaint in str(text) for text in lint(tmp_path))


def test_the_version_follows_what_decides_the_result_not_the_comments(tmp_path: Path) -> None:
    def version(name: str, text: str) -> str:
        return load(directory(tmp_path / name, a=text)).named("a").version

    original = version("1", BASE)
    assert version("2", "# a remark\n" + BASE.replace("{from: PatientName, ", "{from:   PatientName, ")) == original
    assert version("3", BASE.replace("person_name", "text")) != original
    tests = "example: {PatientID: x}\ntests: [{name: t, expect: {absent: [study.uid]}}]\n"
    assert version("4", BASE + tests) == original


def test_a_code_table_is_part_of_the_version_of_what_uses_it(tmp_path: Path) -> None:
    text = BASE + "  series.x: {from: Modality, as: concept, codes: routes}\n"
    before = load(directory(tmp_path, a=text)).named("a").version
    routes = tmp_path / "codes" / "routes.yaml"
    routes.write_text(routes.read_text().replace("Oral route", "By mouth"))
    assert load(tmp_path).named("a").version != before


def test_what_extends_replaces_only_what_it_writes_again(tmp_path: Path) -> None:
    child = "extends: a\nmatch: {Modality: PT}\nfields:\n  study.name: {from: PatientID, as: text}\n"
    mapping = load(directory(tmp_path, a=BASE, b=child)).named("b")
    assert {rule.name: rule.converter.name for rule in mapping.fields} == {
        "study.uid": "uid",
        "study.name": "text",
        "study.weight": "quantity",
    }
    assert mapping.own_fields == ("study.name",)


MATCHED = {
    "a": BASE,
    "pet": "extends: a\nmatch: {SOPClassUID: PositronEmissionTomographyImageStorage}\n",
    "vendors__ge": "extends: pet\nmatch: {Manufacturer: ['GE *', GEMS]}\n",
    "nm": "extends: a\nmatch: {SOPClassUID: '1.2.840.10008.5.1.4.1.1.20', Modality: NM}\n",
}
PET, NM = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.20"


@pytest.mark.parametrize(
    ("elements", "name"),
    [
        ({"SOPClassUID": PET}, "pet"),
        ({"SOPClassUID": PET, "Manufacturer": "GE MEDICAL SYSTEMS"}, "ge"),  # an overlay inherits the conditions of its base
        ({"SOPClassUID": PET, "Manufacturer": "ge healthcare"}, "ge"),  # whatever the case
        ({"SOPClassUID": PET, "Manufacturer": "GEMS"}, "ge"),
        ({"SOPClassUID": PET, "Manufacturer": "MERGE "}, "pet"),
        ({"SOPClassUID": NM, "Modality": "NM", "Manufacturer": "GE X"}, "nm"),
        ({"SOPClassUID": NM, "Modality": "OT"}, "a"),  # all conditions must fit
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "a"),
        ({}, "a"),
    ],
)
def test_the_most_specific_mapping_is_chosen(tmp_path: Path, elements: dict[str, str], name: str) -> None:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert load(directory(tmp_path, **MATCHED)).for_dataset(dataset).name == name


def test_an_object_that_no_mapping_is_for_is_quarantined(tmp_path: Path) -> None:
    mappings = load(directory(tmp_path, a=BASE.replace("everything", "{Modality: PT}")))
    with pytest.raises(Quarantined, match="No mapping fits"):
        mappings.for_dataset(Dataset())


def test_a_sop_class_that_does_not_exist_is_a_mistake(tmp_path: Path) -> None:
    found = complaints(tmp_path, a="match: {SOPClassUID: PositronEmissionTomographyImagStorage}\n")
    assert "did you mean 'PositronEmissionTomographyImageStorage'?" in found[0]


def test_the_shipped_directory_has_its_code_tables() -> None:
    assert {"radionuclides", "radiopharmaceuticals", "routes"} <= set(load(SHIPPED).codes.tables)
