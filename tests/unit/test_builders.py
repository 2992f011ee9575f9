"""The test objects are what they say they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests import builders


@pytest.mark.parametrize("make", [builders.pet, builders.ct, builders.nm, builders.rrdsr])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_object_survives_a_round_trip_in_every_uncompressed_transfer_syntax(
    make: Callable[[], Dataset], syntax: str
) -> None:
    made = make()
    read = pydicom.dcmread(io.BytesIO(builders.part10(made, transfer_syntax_uid=syntax)))
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.SOPInstanceUID == made.SOPInstanceUID
    assert len(read) == len(made)


def test_the_same_builder_gives_the_same_bytes() -> None:
    assert builders.part10(builders.pet()) == builders.part10(builders.pet())


def test_an_override_reaches_into_sequences() -> None:
    made = builders.pet(**{"RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose": "350"})
    assert made.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == 350


def test_absent_removes_and_none_empties() -> None:
    made = builders.pet(PatientWeight=builders.ABSENT, PatientSize=None)
    assert "PatientWeight" not in made
    assert made["PatientSize"].is_empty


def test_a_dict_becomes_a_sequence_item() -> None:
    made = builders.pet(OtherPatientIDsSequence={"PatientID": "TEST-ALIAS"})
    assert made.OtherPatientIDsSequence[0].PatientID == "TEST-ALIAS"


def test_a_series_has_one_uid_per_slice() -> None:
    slices = list(builders.pet_series(5))
    assert len({item.SOPInstanceUID for item in slices}) == 5
    assert len({item.SeriesInstanceUID for item in slices}) == 1


def test_image_and_report_tell_of_the_same_administration() -> None:
    event = builders.pet().RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalAdministrationEventUID
    assert any(item.get("UID") == event for item in builders.rrdsr().ContentSequence[1].ContentSequence)


def test_write_makes_the_folder(tmp_path: Path) -> None:
    path = builders.write(builders.ct(), tmp_path / "a" / "b" / "one.dcm")
    assert pydicom.dcmread(path).Modality == "CT"
