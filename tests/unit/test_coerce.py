"""Normalised DICOM: what changes is written and remembered, everything else keeps its bytes."""

from __future__ import annotations

import datetime as dt
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.dicom.reading import header_of, read_header
from gateway.errors import Quarantined
from gateway.mapping.language import Mapping, Mappings, load
from gateway.model import Record
from gateway.normalise.coerce import Coerced, EffectivePatient, coerce
from gateway.normalise.record import normalise
from tests import builders
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED, SITE, directory

AT = dt.datetime(2026, 11, 23, 10, 30, tzinfo=dt.UTC)
DECIDED = dt.datetime(2026, 11, 24, 8, 0, tzinfo=dt.UTC)
PET = "1.2.840.10008.5.1.4.1.1.128"


@pytest.fixture(scope="module")
def shipped() -> Mappings:
    return load(SHIPPED)


def mapping_with(tmp_path: Path, elements: str = "", *, head: str = "charset: utf-8\n  identity: effective") -> Mapping:
    indented = "".join(f"    {line}\n" for line in elements.splitlines())
    section = f"dicom:\n  {head}\n" + (f"  elements:\n{indented}" if elements else "")
    text = (
        "match: everything\nfor_each: {administration: RadiopharmaceuticalInformationSequence}\nfields:\n"
        "  instance.uid: {from: SOPInstanceUID, as: uid}\n"
        "  instance.weight: {from: PatientWeight, as: quantity, unit: {in: kg, out: g}}\n"
        "  administration.route: {from: $administration.RadiopharmaceuticalRoute, as: concept, codes: routes}\n"
        "  administration.nuclide: {from: {nuclide: '$administration.RadionuclideCodeSequence[0]'}, as: radionuclide,"
        " codes: radionuclides}\n"
        "  administration.activity: {from: {value: $administration.RadionuclideTotalDose, nuclide: administration.nuclide},"
        " as: activity, unit: {in: Bq, out: MBq}}\n"
    )
    return load(directory(tmp_path / "mappings", one=text + section)).named("one")


def made(mapping: Mapping, file: Path, **options: Any) -> Coerced:
    header = read_header(file)
    record: Record | None
    try:
        record = normalise(header, mapping, SITE)
    except Quarantined:
        record = None
    return coerce(file, record, mapping, arrived_at=AT, **options)


def bytes_of(coerced: Coerced) -> bytes:
    stream = io.BytesIO()
    coerced.write_to(stream)
    assert stream.tell() == coerced.size_bytes
    return stream.getvalue()


def read(coerced: Coerced) -> Dataset:
    return dcmread(io.BytesIO(bytes_of(coerced)))


def pet_file(tmp_path: Path, syntax: Any = ExplicitVRLittleEndian, **overrides: Any) -> Path:
    return builders.write(builders.pet(**overrides), tmp_path / "pet.dcm", transfer_syntax_uid=syntax)


def letters(value: Any) -> list[str]:
    """What people read of a value; which character set it came in is left out."""
    return [line for line in str(value).splitlines() if "(0008,0005)" not in line]


def samples() -> list[Path]:
    folder = data_directory()
    if not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.rglob("*.dcm")):
        try:
            read_header(file)
        except Quarantined:
            continue
        found.append(file)
    return found


@pytest.mark.needs("data")
@pytest.mark.parametrize("file", samples(), ids=lambda file: str(file.relative_to(data_directory())))
def test_real_objects_keep_all_that_no_rule_names(file: Path, shipped: Mappings) -> None:
    header = read_header(file)
    coerced = made(shipped.for_header(header), file, references=lambda uid: uid)
    content = bytes_of(coerced)
    if not coerced.changes:
        assert content == file.read_bytes()
        return
    after = header_of(content)
    before = {tag: header.raw(tag) for tag in header.walk.elements}
    by_rule = {0x00080005, 0x04000561, 0x00540016}
    recoded = [tag for tag, raw in before.items() if tag & 0xFFFF and tag not in by_rule and after.raw(tag) != raw]
    assert all(not before[tag].isascii() for tag in recoded)
    if recoded:
        ours, theirs = dcmread(io.BytesIO(content)), dcmread(file, force=True)
        assert all(letters(ours[tag].value) == letters(theirs[tag].value) for tag in recoded)
    if 0x7FE00010 in before:
        assert after.raw(0x7FE00010) == before[0x7FE00010]
    assert after.transfer_syntax_uid == header.transfer_syntax_uid
    assert 0x04000561 in after.walk.elements
    assert coerced.sop_instance_uid == header.walk.text(0x00080018)
    assert bytes_of(made(shipped.for_header(header), file, references=lambda uid: uid)) == content


@pytest.mark.needs("data")
@pytest.mark.parametrize("name", ["chrArab", "chrFren", "chrGerm", "chrH32", "chrI2"])
def test_names_in_every_character_set_come_out_letter_for_letter(name: str, shipped: Mappings) -> None:
    file = data_directory() / "odd" / "charset" / f"{name}.dcm"
    coerced = made(shipped.named("image"), file)
    after, before = read(coerced), dcmread(file)
    assert after.SpecificCharacterSet == "ISO_IR 192"
    assert str(after.PatientName) == str(before.PatientName)
    assert not coerced.problems


def test_without_a_change_the_file_goes_out_byte_for_byte(tmp_path: Path) -> None:
    file = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 192")
    coerced = made(mapping_with(tmp_path), file)
    assert (coerced.changes, coerced.problems) == ((), ())
    assert bytes_of(coerced) == file.read_bytes()
    assert coerced.sop_instance_uid == builders.pet().SOPInstanceUID


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_encoding_is_kept_and_every_change_remembered(tmp_path: Path, syntax: str) -> None:
    file = pet_file(tmp_path, syntax, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    mapping = mapping_with(tmp_path, "OperatorsName: {remove: true}\nInstitutionName: {value: Ziekenhuis Één}")
    after, before = read(made(mapping, file)), dcmread(file)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert (after.SpecificCharacterSet, str(after.PatientName), after.InstitutionName) == (
        "ISO_IR 192", "Müller^Jürgen", "Ziekenhuis Één",
    )  # fmt: skip
    assert after.PixelData == before.PixelData
    (item,) = after.OriginalAttributesSequence
    assert item.AttributeModificationDateTime == "20261123103000.000000+0000"
    assert item.ModifyingSystem == f"Isobridge one {mapping.dicom.version}"
    assert item.ReasonForTheAttributeModification == "COERCE"
    (former,) = item.ModifiedAttributesSequence
    assert former.SpecificCharacterSet == "ISO_IR 100"
    assert former.get("InstitutionName") in (before.get("InstitutionName"), "", None)
    assert "InstitutionName" in former


def test_text_that_cannot_be_decoded_exactly_stays_as_it_is(tmp_path: Path) -> None:
    content = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 100").read_bytes().replace(b"ISO_IR 100", b"ISO_IR 6  ")
    file = tmp_path / "undeclared.dcm"
    file.write_bytes(content.replace(b"TEST^INVENTED", b"T\xebST^INVENTED"))
    coerced = made(mapping_with(tmp_path), file)
    assert bytes_of(coerced) == file.read_bytes()
    assert coerced.problems == (
        "it was left as it is: PatientName holds letters outside the character set that the sender declared",
    )


def test_what_original_attributes_remember_is_history(tmp_path: Path) -> None:
    memory = {
        "ModifiedAttributesSequence": {"SpecificCharacterSet": "ISO_IR 144", "PatientID": "OLD"},
        "AttributeModificationDateTime": "20250101", "ModifyingSystem": "PACS", "SourceOfPreviousValues": "",
        "ReasonForTheAttributeModification": "CORRECT",
    }  # fmt: skip
    file = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 100", OriginalAttributesSequence=memory)
    after = read(made(mapping_with(tmp_path), file))
    first, ours = after.OriginalAttributesSequence
    assert (first.ModifyingSystem, first.ModifiedAttributesSequence[0].SpecificCharacterSet) == ("PACS", "ISO_IR 144")
    assert ours.ModifyingSystem.startswith("Isobridge one")


def test_the_patient_that_people_decided_on(tmp_path: Path) -> None:
    file = pet_file(tmp_path, IssuerOfPatientID="HOSP-A")
    patient = EffectivePatient(
        id="EX-2", name={"family": "Øster", "given": ["An", "Maria"], "suffix": ["MSc"]}, gender="female", decided_at=DECIDED
    )
    coerced = made(mapping_with(tmp_path), file, patient=patient)
    after = read(coerced)
    assert (after.PatientID, str(after.PatientName), after.PatientSex) == ("EX-2", "Øster^An^Maria^^MSc", "F")
    assert "IssuerOfPatientID" not in after
    assert after.PatientBirthDate == ""  # nobody knows it: that of another patient would be wrong
    assert after.SpecificCharacterSet == "ISO_IR 192"
    assert coerced.sop_instance_uid == dcmread(file).SOPInstanceUID
    item = after.OriginalAttributesSequence[-1]
    assert (item.ReasonForTheAttributeModification, item.AttributeModificationDateTime[:8]) == ("CORRECT", "20261124")
    former = item.ModifiedAttributesSequence[0]
    assert (former.PatientID, former.IssuerOfPatientID, former.PatientBirthDate) == ("TEST-0001", "HOSP-A", "19700102")


def test_a_changed_number_makes_another_object_with_a_link_to_its_source(tmp_path: Path) -> None:
    file = pet_file(tmp_path)
    mapping = mapping_with(tmp_path, "PatientWeight: {value: '80.5'}")
    received = dcmread(file).SOPInstanceUID
    coerced = made(mapping, file)
    after = read(coerced)
    assert after.PatientWeight == 80.5
    assert after.SOPInstanceUID == coerced.sop_instance_uid == after.file_meta.MediaStorageSOPInstanceUID != received
    assert coerced.sop_instance_uid.startswith("2.25.")
    assert len(coerced.sop_instance_uid) <= 64
    assert made(mapping, file).sop_instance_uid == coerced.sop_instance_uid
    assert after.SourceImageSequence[-1].ReferencedSOPInstanceUID == received
    former = after.OriginalAttributesSequence[0]
    assert former.ReasonForTheAttributeModification == "CORRECT"
    assert former.ModifiedAttributesSequence[0].SOPInstanceUID == received
    assert former.ModifiedAttributesSequence[0].PatientWeight == 75
    other = made(mapping_with(tmp_path / "b", "PatientWeight: {value: '81'}"), file)
    assert other.sop_instance_uid != coerced.sop_instance_uid


def test_another_spelling_of_a_number_is_no_change(tmp_path: Path) -> None:
    coerced = made(mapping_with(tmp_path, "PatientWeight: {value: '75.00'}"), pet_file(tmp_path, PatientWeight="75"))
    assert "PatientWeight" not in {change.path for change in coerced.changes}


def test_a_repaired_activity_is_written_back_in_its_unit(tmp_path: Path) -> None:
    where = "RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose"
    file = pet_file(tmp_path, **{where: "350"})  # MBq where Bq belong
    coerced = made(
        mapping_with(tmp_path, "$administration.RadionuclideTotalDose: {field: administration.activity, unit: Bq}"), file
    )
    change = next(change for change in coerced.changes if change.path == where)
    assert (change.before, change.after) == ("350", "350000000")
    after = read(coerced)
    assert after.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == 350_000_000
    kept = after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].RadiopharmaceuticalInformationSequence[0]
    assert kept.RadionuclideTotalDose == 350


def test_retired_codes_become_current_and_the_object_stays_the_same_one(tmp_path: Path) -> None:
    item = {"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "18F", "CodingSchemeVersion": "1"}
    file = pet_file(tmp_path, **{"RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence": item})
    coerced = made(mapping_with(tmp_path, "$administration.RadionuclideCodeSequence: {field: administration.nuclide}"), file)
    after = read(coerced)
    code = after.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue) == ("SCT", "77004003")
    assert "CodingSchemeVersion" not in code
    assert after.SOPInstanceUID == dcmread(file).SOPInstanceUID


def test_words_gain_a_code(tmp_path: Path) -> None:
    where = "RadiopharmaceuticalInformationSequence[0]"
    file = pet_file(
        tmp_path, **{f"{where}.RadiopharmaceuticalRoute": "Intravenous", f"{where}.AdministrationRouteCodeSequence": []}
    )
    coerced = made(mapping_with(tmp_path, "$administration.AdministrationRouteCodeSequence: {field: administration.route}"), file)
    code = read(coerced).RadiopharmaceuticalInformationSequence[0].AdministrationRouteCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue) == ("SCT", "47625008")


def test_a_private_value_comes_to_its_standard_place_and_stays_where_it_was(tmp_path: Path) -> None:
    dataset = builders.pet(PatientWeight=None)
    block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x18, "DS", "71.5")
    file = builders.write(dataset, tmp_path / "private.dcm")
    rule = (
        'PatientWeight: {copy: "(7053,xx18)[Philips PET Private Group]", when: {not: {of: PatientWeight, exists: true}}}\n'
        "OperatorsName: {value: nobody, when: {of: Modality, equals: CT}}"
    )
    after = read(made(mapping_with(tmp_path, rule), file))
    assert after.PatientWeight == 71.5
    assert after.private_block(0x7053, "Philips PET Private Group")[0x18].value == 71.5
    assert after.get("OperatorsName") != "nobody"


def test_references_follow_and_what_is_not_here_is_told(tmp_path: Path) -> None:
    items = [{"ReferencedSOPClassUID": PET, "ReferencedSOPInstanceUID": uid} for uid in ("1.2.3", "1.2.4", "1.2.5")]
    file = pet_file(tmp_path, ReferencedImageSequence=items)
    sent = {"1.2.3": "2.25.7", "1.2.4": "1.2.4"}
    coerced = made(mapping_with(tmp_path), file, references=sent.get)
    assert [item.ReferencedSOPInstanceUID for item in read(coerced).ReferencedImageSequence] == ["2.25.7", "1.2.4", "1.2.5"]
    assert coerced.problems == ("1 referenced objects are not here: the references to them stay as they are",)
    former = read(coerced).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert former.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3"


def test_a_signed_object_stays_as_it_is(tmp_path: Path) -> None:
    file = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 100", DigitalSignaturesSequence={"MACIDNumber": 1})
    coerced = made(mapping_with(tmp_path), file)
    assert bytes_of(coerced) == file.read_bytes()
    assert "signed" in coerced.problems[0]


def test_a_stream_can_be_read_again_from_its_beginning(tmp_path: Path) -> None:
    coerced = made(mapping_with(tmp_path), pet_file(tmp_path, SpecificCharacterSet="ISO_IR 100"))
    whole = bytes_of(coerced)
    with coerced.open() as stream:
        assert stream.read(100) == whole[:100]
        stream.seek(0)
        assert stream.read() == whole


LARGE = """
import re, sys
from pathlib import Path
from tests.unit.test_coerce import *
file, size = Path(sys.argv[1]), int(sys.argv[2])
mapping = mapping_with(Path(sys.argv[3]))
coerced = made(mapping, file)
assert coerced.changes and coerced.size_bytes > size
with open("/dev/null", "wb") as out:
    coerced.write_to(out)
# Not ru_maxrss: that counts the process which started this one as well.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_a_huge_object_is_not_read_into_memory(tmp_path: Path) -> None:
    size = 1 << 30
    small = pet_file(tmp_path, SpecificCharacterSet="ISO_IR 100", PixelData=b"\0" * 2).read_bytes()
    at = small.rindex(b"\xe0\x7f\x10\x00")
    assert small[at + 4 : at + 6] in (b"OW", b"OB")
    file = tmp_path / "large.dcm"
    with file.open("wb") as out:
        out.write(small[: at + 8] + size.to_bytes(4, "little"))
        out.truncate(at + 12 + size)
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(file), str(size), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < size / 2 / 1024  # KiB, with all that Python itself needs
