"""A file opened by us says the same as pydicom says, only later and less."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.reading import header_of, python_encodings, read_file_meta, read_header
from gateway.errors import Quarantined
from tests import builders
from tests.conftest import data_directory

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def without_pixels(dataset: Dataset) -> dict[int, Any]:
    return {int(tag): tag for tag in dataset.keys() if tag.group != 0x7FE0}  # noqa: SIM118  # a Dataset iterates elements


def differences(ours: Dataset, theirs: Dataset) -> list[str]:
    """Where two data sets differ, sequences included, pixel data left out. An error on both sides is no difference."""
    found = []
    left, right = without_pixels(ours), without_pixels(theirs)
    if set(left) != set(right):
        found.append(f"elements {sorted(set(left) ^ set(right))}")
    for tag in set(left) & set(right):
        mine, other = element(ours, tag), element(theirs, tag)
        if isinstance(mine, str) or isinstance(other, str):
            found += [] if mine == other else [f"{tag:08X}: {mine} / {other}"]
        elif mine.VR == other.VR == "SQ":
            if len(mine.value) != len(other.value):
                found.append(f"{tag:08X}: {len(mine.value)} / {len(other.value)} items")
            for one, two in zip(mine.value, other.value, strict=False):
                found += differences(one, two)
        elif mine.VR != other.VR or repr(mine.value) != repr(other.value):
            found.append(f"{tag:08X}: {mine.VR} / {other.VR}")
    return found


def element(dataset: Dataset, tag: int) -> Any:
    try:
        return dataset[tag]
    except (ValueError, TypeError, NotImplementedError, OverflowError, AttributeError) as error:
        return type(error).__name__


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_each_encoding_reads_as_pydicom_reads_it(tmp_path: Path, syntax: str) -> None:
    path = builders.write(builders.pet(), tmp_path / "a.dcm", transfer_syntax_uid=syntax)
    header = read_header(path)
    assert header.transfer_syntax_uid == syntax
    assert differences(header.dataset, pydicom.dcmread(path)) == []


def test_sequences_read_as_pydicom_reads_them(tmp_path: Path) -> None:
    path = builders.write(builders.rrdsr(), tmp_path / "a.dcm")
    dataset = read_header(path).dataset
    assert dataset.ContentSequence[0].ConceptNameCodeSequence[0].CodeValue
    assert differences(dataset, pydicom.dcmread(path)) == []


def test_elements_are_decoded_only_when_touched(tmp_path: Path) -> None:
    dataset = read_header(builders.write(builders.pet(), tmp_path / "a.dcm")).dataset
    sequence = "RadiopharmaceuticalInformationSequence"
    assert dataset.get_item(sequence).is_raw
    assert dataset.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
    assert dataset.get_item("PatientName").is_raw


def test_pixel_data_never_enters_the_data_set(tmp_path: Path) -> None:
    header = read_header(builders.write(builders.pet(), tmp_path / "a.dcm"))
    assert "PixelData" not in header.dataset
    assert 0x7FE00010 in header.walk.elements


def test_raw_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    dataset = builders.pet()
    header = read_header(builders.write(dataset, tmp_path / "a.dcm"))
    assert header.raw(0x00080060) == b"PT"
    assert header.raw(0x00091001) == b""


def test_large_files_are_read_too(tmp_path: Path) -> None:
    dataset = builders.pet()
    dataset.PixelData = bytes(3 << 20)
    header = read_header(builders.write(dataset, tmp_path / "a.dcm"))
    assert header.dataset.Modality == "PT"
    assert header.walk.elements[0x7FE00010].length == 3 << 20


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 192", "Müller^Jörg"), ("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 144", "Люкceмбypг")]
)
def test_names_are_decoded_by_the_character_set_of_the_file(tmp_path: Path, charset: str, name: str) -> None:
    dataset = builders.pet(SpecificCharacterSet=charset, PatientName=name)
    assert str(read_header(builders.write(dataset, tmp_path / "a.dcm")).dataset.PatientName) == name


@pytest.mark.parametrize(
    ("declared", "encodings"),
    [
        (b"", ["iso8859"]),
        (b"ISO_IR 192 ", ["UTF8"]),
        (b"\\ISO 2022 IR 87", ["iso8859", "iso2022_jp"]),
        (b"Not Supplied", ["iso8859"]),
    ],
)
def test_character_sets_are_understood_without_warnings(declared: bytes, encodings: list[str]) -> None:
    assert python_encodings(declared) == encodings


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bare_data_set_is_read_when_its_encoding_is_plain(syntax: str) -> None:
    part10 = builders.part10(builders.pet(), transfer_syntax_uid=syntax)
    header = header_of(part10[read_file_meta(part10)[1] :])
    assert header.transfer_syntax_uid == syntax
    assert header.sending_ae == ""
    assert header.dataset.Modality == "PT"


def test_our_own_file_header_tells_the_titles() -> None:
    part10 = builders.part10(builders.pet())
    inputs = FileMetaInputs(transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae="PET1", called_ae="ISOBRIDGE")
    header = header_of(encode_file_meta(inputs) + part10[read_file_meta(part10)[1] :])
    assert (header.sending_ae, header.receiving_ae) == ("PET1", "ISOBRIDGE")


def test_our_own_file_header_is_sound_for_pydicom(tmp_path: Path) -> None:
    inputs = FileMetaInputs(
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sop_class_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
        calling_ae="A",
        called_ae="BC",
    )
    path = tmp_path / "a.dcm"
    path.write_bytes(encode_file_meta(inputs))
    meta = pydicom.dcmread(path).file_meta
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert meta.FileMetaInformationGroupLength == path.stat().st_size - 144
    assert (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("A", "BC")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a DICOM file"),
        (b"Patient;Dose\n1;2\n" * 20, "not a DICOM file"),
        (b"%PDF-1.7\n" + bytes(500), "not a DICOM file"),
        (bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x50\x00" + b"1.2", "within its DICOM file header"),
        (encode_file_meta(FileMetaInputs(transfer_syntax_uid="1.2.840.10008.1.2.1")), "holds no data"),
        (
            encode_file_meta(FileMetaInputs(transfer_syntax_uid="1.2.840.10008.1.2.1")) + b"\x10\x00\x10\x00PN\x40\x00AB",
            "PatientName",
        ),
    ],
)
def test_what_is_not_dicom_or_damaged_goes_to_a_human(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(Quarantined, match=words):
        read_header(path)


@pytest.mark.needs("data")
def test_every_readable_sample_says_what_pydicom_says() -> None:
    # One file holds 8,000 elements: it takes as long as all others together, and pydicom almost all of that.
    paths = [path for path in sorted(data_directory().rglob("*.dcm")) if path.name != "FileWithLotsOfTags.dcm"]
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {path.name: _compare(path) for path in paths}
    finally:
        logging.disable(logging.NOTSET)
    refused = {name for name, result in found.items() if result is None}
    # Damaged, or with two values for one element. In the last, DICM is part of a value: pydicom is misled, we are not.
    assert refused == {
        "3gb-bulk-data-truncated.dcm",
        "GH364.dcm",
        "MR_truncated.dcm",
        "duplicates.dcm",
        "pet_truncated_in_header.dcm",
    } | (refused & {"pet_truncated_in_pixeldata.dcm"})
    assert {name for name, result in found.items() if result} == {"no_preamble_dicm_in_data.dcm"}


def _compare(path: Path) -> list[str] | None:
    try:
        header = read_header(path)
    except Quarantined:
        return None
    return differences(header.dataset, pydicom.dcmread(path, force=True))
