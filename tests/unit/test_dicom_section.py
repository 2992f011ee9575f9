"""The section ``dicom`` of a mapping: what it may say, what is told of each mistake, what it inherits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.mapping.dicom_rules import Remove, SetField, SetText
from gateway.mapping.language import load
from tests.unit.mapping_files import complaints, directory

BASE = (
    "match: everything\n"
    "for_each: {administration: RadiopharmaceuticalInformationSequence}\n"
    "fields:\n"
    "  instance.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}\n"
    "  administration.start: {from: $administration.RadiopharmaceuticalStartTime, as: time}\n"
    "dicom:\n"
)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("  charsett: utf-8", "one.yaml:7:3: unknown key 'charsett' (did you mean 'charset'?)"),
        ("  charset: latin", "one.yaml:7:3: 'charset' can only be 'utf-8', not 'latin'"),
        ("  identity: other", "one.yaml:7:3: 'identity' can only be 'effective'"),
        ("  elements: [PatientWeight]", "one.yaml:7:3: 'elements' is a mapping of target paths"),
        ("  elements:\n    PatientWeigth: {remove: true}", "one.yaml:8:5: 'PatientWeigth' is not a DICOM keyword (did you mean"),
        ("  elements:\n    PatientWeight: {}", "exactly one of value, copy, field, remove belongs here"),
        (
            "  elements:\n    PatientWeight: {value: '1', copy: PatientSize}",
            "exactly one of value, copy, field, remove belongs here",
        ),
        ("  elements:\n    PatientWeight: {vlaue: '1'}", "unknown key 'vlaue' (did you mean 'value'?)"),
        ("  elements:\n    PatientWeight: {value: heavy}", "one.yaml:8:21: 'heavy' is not a number (DS)"),
        ("  elements:\n    PatientSex: {value: female}", "is not a code of capital letters"),
        (
            "  elements:\n    StationName: {value: A name of more than 16 letters}",
            "is longer than the 16 characters that SH allows",
        ),
        ("  elements:\n    PatientWeight: {field: instance.wieght, unit: kg}", "no field 'instance.wieght' (did you mean"),
        ("  elements:\n    PatientWeight: {field: instance.weight, unit: stone}", "unknown unit 'stone'"),
        ("  elements:\n    PatientWeight: {value: '1', unit: kg}", "'unit' belongs to 'field'"),
        ("  elements:\n    StudyTime: {field: administration.start}", "one exists per item"),
        ("  elements:\n    SOPInstanceUID: {value: 1.2.3}", "SOPInstanceUID is not a mapping's to change"),
        ("  elements:\n    PixelData: {remove: true}", "PixelData says what the pixels are: it is not a mapping's to change"),
        (
            "  identity: effective\n  elements:\n    PatientID: {value: X}",
            "PatientID is decided by 'identity: effective' already",
        ),
        ('  elements:\n    "(7053,xx00)[Philips PET Private Group]": {remove: true}', "private elements stay as they are"),
        ("  elements:\n    ImageType[2]: {value: X}", "an element is written as a whole"),
        ("  elements:\n    RequestAttributesSequence: {value: X}", "is a sequence: only a 'field' with a concept fits in"),
        ("  elements:\n    PatientWeight: {copy: PatientSiz}", "'PatientSiz' is not a DICOM keyword"),
        ("  elements:\n    PatientWeight: {value: '1', when: {of: Modality, equal: PT}}", "unknown key 'equal' in a condition"),
        ("  elements:\n    PatientWeight: {remove: no}", "'remove' is 'true'"),
        (
            "  elements:\n    'ReferencedStudySequence[*].StudyDescription': {remove: true}",
            "a rule writes one place: say which item",
        ),
        (
            "  elements:\n    SourceApplicationEntityTitle: {value: X}",
            "SourceApplicationEntityTitle is not a mapping's to change",
        ),
        ("  elements:\n    CommandGroupLength: {value: '4'}", "CommandGroupLength is not a mapping's to change"),
        ("  elements:\n    '(0010,0000)': {remove: true}", "(0010,0000) is not a mapping's to change"),
        ("  elements:\n    '(0008,0007)': {remove: true}", "(0008,0007) is no element that the DICOM dictionary knows"),
        ("  elements:\n    '(6000,3000)': {remove: true}", "OverlayData says what the pixels are"),
        ("  elements:\n    Rows: {value: '1'}", "Rows says what the pixels are"),
        ("  elements:\n    BitsStored: {value: '1'}", "BitsStored says what the pixels are"),
        ("  elements:\n    NumberOfFrames: {value: '1'}", "NumberOfFrames says what the pixels are"),
        ("  elements:\n    'IconImageSequence[0].PixelData': {remove: true}", "PixelData says what the pixels are"),
        ("  elements:\n    SmallestImagePixelValue: {value: '1'}", "SmallestImagePixelValue is US or SS, as the pixels want it"),
        ("  elements:\n    RescaleSlope: {remove: true}", "RescaleSlope must stay"),
        ("  elements:\n    DigitalSignaturesSequence: {remove: true}", "DigitalSignaturesSequence is not a mapping's to change"),
        (
            "  elements:\n    'OriginalAttributesSequence[0].ModifyingSystem': {value: X}",
            "OriginalAttributesSequence is not a mapping's to change",
        ),
        (
            "  elements:\n    'ProcedureCodeSequence[0].SpecificCharacterSet': {value: X}",
            "SpecificCharacterSet is not a mapping's to change",
        ),
        (
            "  elements:\n    StudyDescription: {value: a}\n    '(0008,1030)': {value: b}",
            "one.yaml:9:5: StudyDescription is written by another rule already",
        ),
        ("  elements:\n    StationName: {value: 'a\\b'}", "holds a backslash, which parts values, where one value belongs"),
    ],
)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, section: str, complaint: str) -> None:
    told = complaints(tmp_path / "mappings", one=f"{BASE}{section}\n")
    assert any(complaint in text for text in told), told
    assert all(text.startswith("one.yaml:") for text in told)


def test_an_overlay_inherits_key_by_key_and_takes_away_by_null(tmp_path: Path) -> None:
    base = f"{BASE}  charset: utf-8\n  elements:\n    PatientWeight: {{value: '1'}}\n    StationName: {{remove: true}}\n"
    overlay = (
        "extends: one\nmatch: {Modality: PT}\ndicom:\n  charset: null\n  identity: effective\n"
        "  elements:\n    PatientWeight: {field: instance.weight, unit: kg}\n    StationName: null\n    OperatorsName: {remove: true}\n"
    )
    mappings = load(directory(tmp_path / "mappings", one=base, two=overlay))
    one, two = mappings.named("one").dicom, mappings.named("two").dicom
    assert (one.utf8, one.identity, two.utf8, two.identity) == (True, False, False, True)
    assert [rule.action for rule in one.elements] == [SetText("1"), Remove()]
    assert {rule.target.text: rule.action for rule in two.elements} == {
        "PatientWeight": SetField("instance.weight", "kg"),
        "OperatorsName": Remove(),
    }
    assert one.version != two.version


def test_the_section_does_not_change_the_version_of_the_mapping(tmp_path: Path) -> None:
    bare = load(directory(tmp_path / "bare", one=BASE.removesuffix("dicom:\n"))).named("one")
    with_section = load(directory(tmp_path / "with", one=f"{BASE}  charset: utf-8\n")).named("one")
    assert bare.version == with_section.version
    assert (bare.dicom.version, len(with_section.dicom.version)) == ("", 12)


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("PatientWeight", True),
        ("SeriesTime", True),
        ("DecayCorrection", True),
        ("RadiopharmaceuticalInformationSequence", True),
        ("StationName", False),
        ("ProcedureCodeSequence[0].CodeMeaning", False),
    ],
)
def test_which_changes_ask_for_a_new_uid(tmp_path: Path, target: str, changes: bool) -> None:
    section = f"{BASE}  elements:\n    {target}: {{remove: true}}\n"
    (rule,) = load(directory(tmp_path / "mappings", one=section)).named("one").dicom.elements
    assert rule.changes_numbers is changes


def test_a_standard_tag_is_as_good_as_its_keyword(tmp_path: Path) -> None:
    section = f"{BASE}  elements:\n    '(0008,1032)[0].(0008,0104)': {{value: X}}\n"
    (rule,) = load(directory(tmp_path / "mappings", one=section)).named("one").dicom.elements
    assert rule.target.text == "ProcedureCodeSequence[0].CodeMeaning"


def test_what_other_systems_remember_is_not_written_through_for_each(tmp_path: Path) -> None:
    base = BASE.replace("RadiopharmaceuticalInformationSequence", "OriginalAttributesSequence")
    told = complaints(tmp_path / "mappings", one=f"{base}  elements:\n    $administration.ModifyingSystem: {{value: X}}\n")
    assert any("OriginalAttributesSequence is not a mapping's to change" in text for text in told), told
