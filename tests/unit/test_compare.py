"""Another encoding is no other content; another value is, wherever it stands."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from gateway.dicom.compare import differences
from gateway.dicom.reading import Header, header_of
from tests import builders


def encoded(syntax: str | None = None, **overrides: Any) -> Header:
    dataset = builders.pet(**overrides)
    return header_of(builders.part10(dataset, transfer_syntax_uid=syntax) if syntax else builders.part10(dataset))


def compressed(**overrides: Any) -> Header:
    dataset = pydicom.dcmread(io.BytesIO(builders.part10(builders.pet(**overrides))))
    dataset.compress(RLELossless, generate_instance_uid=False)
    written = io.BytesIO()
    dataset.save_as(written)
    return header_of(written.getvalue())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_another_transfer_syntax_is_the_same_content(syntax: str) -> None:
    assert differences(encoded(), encoded(syntax)) == []
    assert differences(encoded(syntax), encoded()) == []


def test_pixels_compressed_without_loss_are_the_same_content() -> None:
    assert differences(encoded(), compressed()) == []
    assert differences(compressed(), encoded(ImplicitVRLittleEndian)) == []


def test_every_element_that_differs_is_named_and_no_value() -> None:
    other = encoded(
        ImplicitVRLittleEndian,
        PatientWeight="80",
        StudyID=builders.ABSENT,
        **{"RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose": "351000000"},
    )
    assert differences(encoded(StudyID="S1"), other) == ["PatientWeight", "StudyID", "RadiopharmaceuticalInformationSequence"]


@pytest.mark.parametrize("make", [encoded, compressed])
def test_one_other_voxel_is_another_content(make: Any) -> None:
    pixels = bytearray(builders.pet().PixelData)
    pixels[-2:] = b"\x01\x01" if pixels[-2:] != b"\x01\x01" else b"\x02\x02"
    assert differences(encoded(), make(PixelData=bytes(pixels))) == ["PixelData"]


def test_an_empty_element_says_no_more_than_an_absent_one() -> None:
    assert differences(encoded(StudyID=None), encoded(StudyID=builders.ABSENT)) == []


def test_no_more_differences_are_named_than_asked_for() -> None:
    other = encoded(PatientID="X", PatientName="Y", PatientSex="O", PatientWeight="1", StudyID="Z", SeriesNumber="99")
    assert len(differences(encoded(), other, most=3)) == 3
