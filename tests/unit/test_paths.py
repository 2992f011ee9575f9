"""Paths find elements wherever they lie, and say what is wrong with themselves before any object arrives."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.headers import DatasetHeader
from gateway.dicom.items import Item, Root
from gateway.dicom.paths import PathError, is_sequence, parse_path
from gateway.dicom.reading import header_of
from gateway.dicom.values import Invalid
from gateway.mapping.example import encode

TREE: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Jürgen",
    "ImageType": ["ORIGINAL", "PRIMARY", "", "AXIAL"],
    "Rows": 512,
    "ImagerPixelSpacing": ["0.5", "0.25"],
    "StudyDescription": "   ",
    "RadiopharmaceuticalInformationSequence": [
        {"RadionuclideTotalDose": "370000000", "RadiopharmaceuticalCodeSequence": [{"CodeValue": "C-B1031"}]},
        {"RadionuclideTotalDose": "1"},
    ],
    "(7053,xx00)[Philips PET Private Group]": "0.000512",
}


def root(**changes: Any) -> Root:
    return Root(header_of(encode({**TREE, **changes})))


def read(path: str, start: Root | Item | None = None) -> tuple[str, ...] | None:
    found = (start or root()).find(parse_path(path))
    return found.texts if found else None


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("PatientName", ("Müller^Jürgen",)),  # in the declared character set
        ("ImageType", ("ORIGINAL", "PRIMARY", "", "AXIAL")),
        ("ImageType[3]", ("AXIAL",)),
        ("Rows", ("512",)),  # binary numbers become text as well
        ("RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose", ("370000000",)),
        ("RadiopharmaceuticalInformationSequence[1].RadionuclideTotalDose", ("1",)),
        ("RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalCodeSequence[0].CodeValue", ("C-B1031",)),
        ("(7053,xx00)[Philips PET Private Group]", ("0.000512",)),
    ],
)
def test_a_path_reads_what_was_written(path: str, values: tuple[str, ...]) -> None:
    assert read(path) == values


@pytest.mark.parametrize(
    "path",
    [
        "PatientID",
        "StudyDescription",  # blanks only
        "ImageType[2]",  # an empty value
        "ImageType[9]",
        "RadiopharmaceuticalInformationSequence[2].RadionuclideTotalDose",
        "RadiopharmaceuticalInformationSequence[1].RadiopharmaceuticalCodeSequence[0].CodeValue",
        "(7053,xx00)[Another Private Group]",
    ],
)
def test_what_is_absent_or_empty_is_none(path: str) -> None:
    assert read(path) is None


def test_a_whole_sequence_gives_its_items() -> None:
    found = root().find(parse_path("RadiopharmaceuticalInformationSequence"))
    assert found is not None
    assert [read("RadionuclideTotalDose", item) for item in found.items] == [("370000000",), ("1",)]


def test_a_private_block_is_found_through_its_creator_wherever_it_lies() -> None:
    dataset = Dataset()
    for number, creator in enumerate(("Other Group", "Philips PET Private Group")):
        block = dataset.private_block(0x7053, creator, create=True)
        block.add_new(0x00, "DS", str(number))
    assert read("(7053,xx00)[Philips PET Private Group]", Root(DatasetHeader(dataset))) == ("1",)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("PatientNmae", "is not a DICOM keyword"),
        ("PatientName.FamilyName", "is not a DICOM keyword"),
        ("PatientName.PatientID", "is not a sequence"),
        ("RadiopharmaceuticalInformationSequence.RadionuclideTotalDose", "say which item"),
        ("RadiopharmaceuticalInformationSequence[0]RadionuclideTotalDose", "goes wrong at"),
        ("PatientName.", "is not a path"),
        ("", "is not a path"),
        ("Patient Name", "goes wrong at"),
        ("(7053,1000)", "a private element is written"),
        ("(0010,xx10)", "only a private element"),
    ],
)
def test_a_path_that_cannot_be_right_says_why(path: str, reason: str) -> None:
    with pytest.raises(PathError, match=reason):
        parse_path(path)


def test_only_a_whole_sequence_can_be_repeated() -> None:
    assert is_sequence(parse_path("RadiopharmaceuticalInformationSequence"))
    assert not is_sequence(parse_path("RadiopharmaceuticalInformationSequence[0]"))
    assert not is_sequence(parse_path("PatientName"))


def test_letters_outside_the_declared_character_set_are_not_guessed() -> None:
    header = header_of(encode({**TREE}).replace(b"ISO_IR 100", b"ISO_IR 6  "))
    with pytest.raises(Invalid, match="character set"):
        Root(header).find(parse_path("PatientName"))


def test_an_item_inherits_the_character_set_and_may_have_its_own() -> None:
    tree = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ReferencedStudySequence": [
            {"RetrieveURL": "x", "StudyDescription": "für"},
            {"SpecificCharacterSet": "ISO_IR 192", "StudyDescription": "œuvre"},
        ],
    }
    start = Root(header_of(encode(tree)))
    assert read("ReferencedStudySequence[0].StudyDescription", start) == ("für",)
    assert read("ReferencedStudySequence[1].StudyDescription", start) == ("œuvre",)


def test_a_private_element_decides_together_with_all_creators_of_its_group() -> None:
    path = parse_path("(7053,xx00)[Philips PET Private Group]")
    assert list(root().bytes_of(path)) == [b"Philips PET Private Group ", b"DS", b"0.000512"]
