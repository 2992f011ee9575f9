"""One mistake of a hospital is one complaint, with the hint that helps; what is legal and hardly meant is a warning."""

# One case a line, however long: they are read as a table.
# ruff: noqa: E501

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.mapping.language import examine
from gateway.workbench.selftest import run_tests
from tests.few_mappings import few_mappings
from tests.unit.mapping_files import SHIPPED, directory

OVERLAY = """\
extends: ge_pet
match: {Manufacturer: "GE MEDICAL SYSTEMS*", StationName: PETCT1}
fields:
  administration.activity:
    from: {value: "(0009,xx38)[GEMS_PETD_01]", nuclide: administration.radionuclide}
    as: activity
    unit: {in: MBq, out: MBq, pinned: true}
    need: should
  administration.measured_before: null
example:
  StationName: PETCT1
tests:
  - name: the activity comes from the console's private element
    given: {"(0009,xx38)[GEMS_PETD_01]": "251.5"}
    expect:
      fields: {administration.activity: {value: 251.5, unit: MBq}}
      absent: [administration.activity_repaired]
      resources: {administration: {dosage: {dose: {value: 251.5, code: MBq}}}}
"""
NOTE = """\
resources:
  note:
    per: administration
    identity: ["${administration.key}"]
    resourceType: Observation
    statu: final
    code: {text: x}
example:
"""


def site(path: Path, overlay: str = OVERLAY, **tables: str) -> Path:
    """Some of the shipped mappings with an overlay and code tables of a site."""
    few_mappings(path / "mappings", "nm_image")
    (path / "mappings/vendors").mkdir()
    shutil.copy(SHIPPED / "vendors/ge_pet.yaml", path / "mappings/vendors")
    (path / "mappings/sites/petct1.yaml").write_text(overlay)
    (path / "mappings/sites/codes").mkdir()
    for name, text in tables.items():
        (path / f"mappings/sites/codes/{name}.yaml").write_text(text)
    return path / "mappings"


MISTAKES = [
    ("    from: {v", "    form: {v", "5:5", "unknown key 'form' (did you mean 'from'?)"),
    ("    from: {v", "    from:{v", "5:9", "a space belongs behind the colon"),
    ("as: activity", "as: actvity", "6:5", "unknown converter 'actvity' (did you mean 'activity'?)"),
    ("in: MBq", "in: Mbq", "7:12", "unknown unit 'Mbq' (did you mean 'MBq'?)"),
    ("in: MBq", "in: mci", "7:12", "unknown unit 'mci' (did you mean 'mCi'?)"),
    ("in: MBq", "in: kg", "7:5", "kg cannot become MBq"),
    ("need: should", "need: shuold", "8:5", "'need' is one of"),
    ("need: should", "codes: rutes", "8:5", "'activity' takes no 'codes'"),
    ('{value: "(0009,xx38)[GEMS_PETD_01]"', '{fram: "RescaleSlope"', "5:12", "has no part 'fram' (did you mean 'frame'?)"),
    ('{value: "(0009,xx38)', '{value: "(0009,1038)', "5:12", "is written (0009,xx38)[GEMS_PETD_01]: the block differs from file to file"),
    ('{value: "(0009,xx38)[GEMS_PETD_01]"', '{value: "0009,1038"', "5:12", "an element by its tag is written (0009,xx38)[Private Creator]"),
    ('{value: "(0009,xx38)[GEMS_PETD_01]"', '{value: "0018,1074"', "5:12", "an element by its tag is written (0018,1074)"),
    ("  administration.activity:", "  administrations.activity:", "4:3", "is not a level (did you mean 'administration'?)"),
    ('Manufacturer: "GE MEDICAL SYSTEMS*"', 'Manufacturer: {regx: "GE.*"}', "2:9", "did you mean 'regex'?"),
    ("expect:\n", "expct:\n", "15:5", "unknown key 'expct' (did you mean 'expect'?)"),
    ("    given: {", "    given: {StudyDat: x, ", "14:13", "did you mean 'StudyDate'?"),
    ("{administration: {dos", "{adminstration: {dos", "18:19", "did you mean 'administration'?"),
    ("example:\n", NOTE, "15:5", "'statu' is not an element of Observation (did you mean 'status'?)"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "place", "phrase"), MISTAKES, ids=[phrase[:40] for *_, phrase in MISTAKES])
def test_one_mistake_is_one_complaint_with_the_right_hint(
    tmp_path: Path, right: str, wrong: str, place: str, phrase: str
) -> None:
    assert right in OVERLAY
    told = [str(complaint) for complaint in examine(site(tmp_path, OVERLAY.replace(right, wrong, 1))).complaints]
    assert len(told) == 1, "\n".join(told)
    assert told[0].startswith(f"sites/petct1.yaml:{place}: ")
    assert phrase in told[0]


def test_the_overlay_without_a_mistake_is_green_and_not_doubted(tmp_path: Path) -> None:
    found = examine(site(tmp_path))
    assert (found.complaints, found.warnings) == ([], [])
    assert found.mappings is not None
    assert [result.reasons for result in run_tests(found.mappings) if not result.ok] == []


@pytest.mark.parametrize(
    ("element", "place", "phrase"),
    [
        ("dosge: {text: x}", "12:5", "'dosge' is not an element of MedicationAdministration (did you mean 'dosage'?)"),
        ("status: compleeted", "12:5", "'compleeted' is not one of the codes of 'status'"),
        ("dosage: [{text: x}]", "12:5", "'dosage' occurs once in FHIR"),
        ('dosage: {text: "${administration.activty}"}', "12:14", "no field 'administration.activty' is written"),
        ("dosage: {text: x}", None, ""),
    ],
)
def test_a_resource_written_in_part_is_told_so_and_checked(tmp_path: Path, element: str, place: str | None, phrase: str) -> None:
    part = OVERLAY.replace("example:\n", f"resources:\n  administration:\n    {element}\nexample:\n")
    told = [str(complaint) for complaint in examine(site(tmp_path, part)).complaints]
    assert told[0].startswith("sites/petct1.yaml:11:3: resource 'administration' has no per and no identity and no resourceType")
    assert "stands instead of a whole inherited resource" in told[0]
    assert len(told) == (2 if place else 1), "\n".join(told)
    if place:
        assert told[1].startswith(f"sites/petct1.yaml:{place}: ")
        assert phrase in told[1]


@pytest.mark.parametrize(
    ("right", "wrong", "place", "phrase"),
    [
        (
            "[GEMS_PETD_01]",
            "[GEMS_PET_01]",
            "5:12",
            "no private creator is known as 'GEMS_PET_01' (did you mean 'GEMS_PETD_01'?)",
        ),
        ("  administration.activity:", "  administration.activty:", "4:3", "nothing reads 'administration.activty'"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(tmp_path: Path, right: str, wrong: str, place: str, phrase: str) -> None:
    found = examine(site(tmp_path, OVERLAY.replace(right, wrong, 1)))
    assert found.complaints == []
    assert [str(warning).startswith(f"sites/petct1.yaml:{place}: {phrase}") for warning in found.warnings] == [True]


@pytest.mark.parametrize(
    ("table", "entry", "phrase"),
    [
        ("radiopharmaceuticals", '  Florbetapir F-18: {system: SCT, code: "456995000", nuclide: F-18}', "leaves out its words: Amyvid, AV-45"),
        ("radiopharmaceuticals", '  Our amyloid: {nuclide: F-18, aliases: [Amyvid], replaces: Florbetapir F-18}', "leaves out its words: Florbetapir F-18, AV-45"),
        ("routes", "  Our route: {half_life_s: 7}", "nothing reads 'half_life_s' in this table"),
    ],
)  # fmt: skip
def test_a_code_table_entry_that_loses_words_or_says_what_nobody_reads_is_doubted(
    tmp_path: Path, table: str, entry: str, phrase: str
) -> None:
    found = examine(site(tmp_path, **{table: f"entries:\n{entry}\n"}))
    assert found.complaints == []
    assert [phrase in warning.text for warning in found.warnings] == [True]


def test_an_entry_that_is_not_there_cannot_be_taken_away(tmp_path: Path) -> None:
    told = [str(complaint) for complaint in examine(site(tmp_path, routes="entries:\n  Nasal rout: null\n")).complaints]
    assert told == [
        "sites/codes/routes.yaml:2:3: there is no shipped entry 'Nasal rout' to take away (did you mean 'Nasal route'?)"
    ]


def test_the_code_table_of_the_guide_is_right_and_breaks_no_test(tmp_path: Path) -> None:
    guide = (SHIPPED.parent / "docs" / "mapping-guide.md").read_text()
    table = next(block.split("```")[0] for block in guide.split("```yaml\n") if block.startswith("entries:"))
    found = examine(site(tmp_path, radiopharmaceuticals=table))
    assert (found.complaints, found.warnings) == ([], [])
    assert found.mappings is not None
    assert [f"{result.mapping}: {result.name}" for result in run_tests(found.mappings) if not result.ok] == []


def test_what_an_overlay_takes_away_while_a_base_reads_it_is_told_in_the_overlay(tmp_path: Path) -> None:
    taken = OVERLAY.replace(
        "  administration.measured_before: null",
        "  series.description: null\n  patient.gender: null\n  study: {x: null}",
    )
    told = [str(one) for one in examine(site(tmp_path, taken)).complaints]
    assert [line.rpartition(": ")[0].partition(" is ")[0] for line in told if "taken away" in line] == [
        "sites/petct1.yaml:9:3: 'series.description'",
        "sites/petct1.yaml:10:3: 'patient.gender'",
    ], "\n".join(told)
    assert "and image.yaml:" in told[1]
    assert told[2:] == ["sites/petct1.yaml:11:11: the name of a field is written whole: 'study.x: ...'"]


def test_an_heir_that_reads_what_its_base_took_away_is_told_itself(tmp_path: Path) -> None:
    files = {
        "base": "match: nothing\nfields:\n  series.x: {from: Modality, as: code}\n",
        "middle": "extends: base\nmatch: nothing\nfields: {series.x: null}\n",
        "heir": "extends: middle\nmatch: everything\nfields:\n  series.y: {from: Modality, as: code, when: {of: series.x, exists: true}}\n",
    }
    (told,) = examine(directory(tmp_path, **files)).complaints
    assert str(told) == "heir.yaml:4:47: there is no field 'series.x'"


@pytest.mark.parametrize(
    "text",
    [
        "tests:\n  - {name: sex, given: {PatientSex: M}, expect: {fields: {patient.sex: male}}}\n",
        "fields: {series.z: {from: Modality, as: text, when: {of: patient.sex, equals: M}}}\n",
        "dicom: {elements: {StationName: {field: patient.sex}}}\n",
    ],
)
def test_a_field_that_is_called_as_its_element_is_found_by_what_it_reads(tmp_path: Path, text: str) -> None:
    base = "match: nothing\nfields:\n  patient.name: {from: PatientName, as: person_name}\n  patient.gender: {from: PatientSex, as: gender}\n"
    (told,) = examine(directory(tmp_path, base=base, a=f"extends: base\nmatch: everything\n{text}")).complaints
    assert "(did you mean 'patient.gender'?)" in told.text
