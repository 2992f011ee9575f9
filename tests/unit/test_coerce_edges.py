"""Normalised DICOM of odd objects: letters that must be declared, sequences that came as UN, content that cannot be written."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.dicom.reading import read_file_meta
from gateway.mapping.language import load
from gateway.normalise.coerce import EffectivePatient
from tests import builders
from tests.unit.mapping_files import SHIPPED
from tests.unit.test_coerce import bytes_of, made, mapping_with, pet_file, read

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
UTF8 = "charset: utf-8"


def code(meaning: str = "a", **more: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", meaning
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


# --- letters


@pytest.mark.parametrize("declared", [None, "ISO_IR 100", "ISO_IR 192"])
def test_the_meaning_of_a_code_is_declared_in_the_set_it_is_written_in(tmp_path: Path, declared: str | None) -> None:
    """The shipped mapping, with a word that a site added for a route."""
    root = tmp_path / "mappings"
    shutil.copytree(SHIPPED, root)
    (root / "sites" / "codes").mkdir(exist_ok=True)
    (root / "sites" / "codes" / "routes.yaml").write_text(
        'entries:\n  Intravenöse Gabe: {system: SCT, code: "47625008", aliases: [Port], replaces: Intravenous route}\n'
    )
    where = "RadiopharmaceuticalInformationSequence[0]"
    changes = {f"{where}.RadiopharmaceuticalRoute": "Port", f"{where}.AdministrationRouteCodeSequence": []}
    name = "Müller^A" if declared else "Muller^A"
    file = pet_file(tmp_path, SpecificCharacterSet=declared, PatientName=name, **changes)
    mapping = load(root).named("pet_image")
    after = read(made(mapping, file))
    assert after.SpecificCharacterSet == "ISO_IR 192"
    item = after.RadiopharmaceuticalInformationSequence[0]
    assert item.AdministrationRouteCodeSequence[0].CodeMeaning == "Intravenöse Gabe"
    assert str(after.PatientName) == name


@pytest.mark.parametrize("declared", ["ISO_IR 192", "ISO_IR 144", None])
def test_an_item_with_a_set_of_its_own_is_read_as_it_was_written(tmp_path: Path, declared: str | None) -> None:
    mapping = mapping_with(tmp_path, "'ProcedureCodeSequence[0].CodeMeaning': {value: Ü}", head="identity: effective")
    item = code(SpecificCharacterSet="ISO_IR 100", CodingSchemeVersion="é")
    file = pet_file(tmp_path, SpecificCharacterSet=declared, ProcedureCodeSequence=[item])
    after = read(made(mapping, file))
    (held,) = after.ProcedureCodeSequence
    assert (held.CodeMeaning, held.CodingSchemeVersion, held.SpecificCharacterSet) == ("Ü", "é", "ISO_IR 192")
    former = after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].ProcedureCodeSequence[0]
    assert (former.SpecificCharacterSet, former.CodingSchemeVersion) == ("ISO_IR 100", "é")


def test_text_of_an_utf8_object_that_is_no_utf8_is_not_touched(tmp_path: Path) -> None:
    file = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 192", InstitutionName="XX")
    file.write_bytes(file.read_bytes().replace(b"XX", b"\xff\xfe"))
    coerced = made(mapping_with(tmp_path, "StudyDescription: {value: Ü}"), file)
    assert read(coerced).StudyDescription == "Ü"
    assert b"\xff\xfe" in bytes_of(coerced)


@pytest.mark.parametrize("target", ["InstitutionName", "StationName", "OtherPatientIDs"])
def test_a_backslash_of_one_text_never_parts_values(tmp_path: Path, target: str) -> None:
    mapping = mapping_with(tmp_path, f"{target}: {{copy: PatientComments}}", head=UTF8)
    file = pet_file(tmp_path, PatientComments="a\\b")
    coerced = made(mapping, file)
    assert "holds a backslash" in coerced.problems[0]
    assert bytes_of(coerced) == file.read_bytes()


# --- sequences that came as UN


def un(tag: int, inner: bytes, *, undefined: bool) -> bytes:
    """PS3.5 6.2.2: items in implicit VR little endian behind a header that says UN."""
    header = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UN", 0)
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
    return header + (b"\xff" * 4 + item + b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else struct.pack("<I", len(item)) + item)


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.mark.needs("dcmtk")
@pytest.mark.parametrize("undefined", [True, False])
def test_an_item_is_added_to_a_sequence_that_came_as_un(tmp_path: Path, undefined: bool) -> None:
    former = implicit(0x00100020, b"OLD ") + implicit(0x00280106, b"\x01\x00") + implicit(0x00191010, b"\x01\x02")
    nested = implicit(0x04000550, b"\xfe\xff\x00\xe0" + struct.pack("<I", len(former)) + former)
    memory = nested + implicit(0x04000562, b"20200101000000") + implicit(0x04000563, b"OTHER ")
    dataset = builders.pet(StudyDescription="old")
    for tag in [element.tag for element in dataset if element.tag >= 0x04000561]:
        del dataset[tag]
    file = builders.write(dataset, tmp_path / "un.dcm")
    file.write_bytes(file.read_bytes() + un(0x04000561, memory, undefined=undefined))
    after = tmp_path / "after.dcm"
    after.write_bytes(bytes_of(made(mapping_with(tmp_path, "StudyDescription: {value: new}"), file)))
    told = subprocess.run(["dcmdump", str(after)], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    first, ours = dcmread(after).OriginalAttributesSequence
    assert (first.ModifyingSystem, ours.ModifyingSystem.split()[0]) == ("OTHER", "Isobridge")
    kept = first.ModifiedAttributesSequence[0]
    assert kept.PatientID == "OLD"
    assert kept[0x00280106].value in (1, b"\x01\x00")  # US or SS: nobody said, so UN
    assert kept[0x00191010].value == b"\x01\x02"
    assert ours.ModifiedAttributesSequence[0].StudyDescription == "old"


def test_big_endian_objects_with_un_sequences_stay_as_they_are(tmp_path: Path) -> None:
    dataset = builders.pet()
    for tag in [element.tag for element in dataset if element.tag >= 0x04000561]:
        del dataset[tag]
    file = builders.write(dataset, tmp_path / "un.dcm", transfer_syntax_uid=ExplicitVRBigEndian)
    items = un(0x04000561, implicit(0x04000563, b"OTHER "), undefined=True)
    file.write_bytes(file.read_bytes() + b"\x04\x00\x05\x61" + items[4:])
    coerced = made(mapping_with(tmp_path, "StudyDescription: {value: new}"), file)
    assert bytes_of(coerced) == file.read_bytes()
    assert "another byte order" in coerced.problems[0]


# --- what cannot be written


@pytest.mark.parametrize(
    ("patient", "told"),
    [
        (EffectivePatient(id="1", name={"family": "x" * 65}), "PatientName"),
        (EffectivePatient(id="1", name={"family": "a\nb"}), "PatientName"),
        (EffectivePatient(id="1", issuer="urn:oid:" + "1." * 40 + "1"), "IssuerOfPatientID"),
        (EffectivePatient(id="1", birth_date="0000-00-00"), "PatientBirthDate"),
    ],
)
def test_what_the_object_cannot_hold_of_its_patient_is_left_out(tmp_path: Path, patient: EffectivePatient, told: str) -> None:
    coerced = made(mapping_with(tmp_path), pet_file(tmp_path, IssuerOfPatientID="A"), patient=patient)
    after = read(coerced)
    assert (after.PatientID, str(after.get(told) or "")) == ("1", "")
    assert coerced.names_patient
    assert f"identity: {told}" in coerced.problems[0]


@pytest.mark.parametrize("identifier", ["7" * 65, "A\\B", "A\x07B"])
def test_an_id_that_no_object_can_hold_leaves_the_patient_as_it_is(tmp_path: Path, identifier: str) -> None:
    patient = EffectivePatient(id=identifier, name={"family": "Other"})
    coerced = made(mapping_with(tmp_path, "StudyDescription: {value: new}"), pet_file(tmp_path), patient=patient)
    after = read(coerced)
    assert (after.PatientID, str(after.PatientName), after.StudyDescription) == ("TEST-0001", "TEST^INVENTED", "new")
    assert not coerced.names_patient
    assert "id of the patient" in coerced.problems[0]
    assert identifier not in coerced.problems[0]


@pytest.mark.parametrize("value", ["1234567890-123456", "--1234567890123456", "1234567890²123456789"])
def test_a_hostile_number_costs_its_rule_and_nothing_else(tmp_path: Path, value: str) -> None:
    rules = "PatientWeight: {copy: '(0019,xx10)[ACME]'}\nStudyDescription: {value: new}"
    dataset = builders.pet(SpecificCharacterSet="ISO_IR 192")
    dataset.add_new(0x00190010, "LO", "ACME")
    dataset.add_new(0x00191010, "LO", value)
    coerced = made(mapping_with(tmp_path, rules, head=UTF8), builders.write(dataset, tmp_path / "odd.dcm"))
    assert read(coerced).StudyDescription == "new"
    assert read(coerced).PatientWeight == builders.pet().PatientWeight
    assert len(coerced.problems) == 1
    assert value not in coerced.problems[0]


@pytest.mark.parametrize("title", [b"A\nB ", b"A\xfcB ", b"A\\B "])
def test_a_hostile_title_does_not_spoil_the_memory(tmp_path: Path, title: bytes) -> None:
    file = pet_file(tmp_path)
    content = file.read_bytes()
    _, start = read_file_meta(content)
    file.write_bytes(content[:start] + struct.pack("<HH2sH", 2, 0x16, b"AE", len(title)) + title + content[start:])
    after = read(made(mapping_with(tmp_path, "StudyDescription: {value: new}"), file))
    source = after.OriginalAttributesSequence[0].SourceOfPreviousValues
    assert (source[0], source[-1], source.isascii(), source.isprintable()) == ("A", "B", True, True)


def test_a_received_uid_that_is_no_uid_is_referred_to_as_it_was(tmp_path: Path) -> None:
    file = pet_file(tmp_path, SOPInstanceUID="1.2.3")
    file.write_bytes(file.read_bytes().replace(b"1.2.3\0", b"1.02.3"))
    after = read(made(mapping_with(tmp_path, "PatientWeight: {value: '71'}"), file))
    assert after.SourceImageSequence[-1].get_item("ReferencedSOPInstanceUID").value == b"1.02.3"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_signature_inside_an_item_is_seen(tmp_path: Path, syntax: str) -> None:
    item = code()
    signature = Dataset()
    signature.MACIDNumber = 1
    item.DigitalSignaturesSequence = [signature]
    file = pet_file(tmp_path, syntax, ProcedureCodeSequence=[item], SpecificCharacterSet="ISO_IR 100")
    coerced = made(mapping_with(tmp_path, "StudyDescription: {value: new}"), file)
    assert bytes_of(coerced) == file.read_bytes()
    assert "signed" in coerced.problems[0]
