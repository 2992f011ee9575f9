"""Normalised DICOM: when a number, a date or a time counts as changed, what it becomes, and the UID of the new object."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread

from gateway.dicom.reading import read_header
from gateway.mapping.language import load
from gateway.normalise.coerce import coerce
from gateway.normalise.coerced_values import text_of
from gateway.normalise.record import normalise
from gateway.normalise.spelling import is_same
from tests import builders
from tests.unit.mapping_files import SITE, directory
from tests.unit.test_coerce import AT, made, mapping_with, pet_file, read

UTF8 = "charset: utf-8"
TIMES = (
    "match: everything\nfor_each: {administration: RadiopharmaceuticalInformationSequence}\nfields:\n"
    "  instance.uid: {from: SOPInstanceUID, as: uid}\n"
    "  administration.started: {from: $administration.RadiopharmaceuticalStartDateTime, as: datetime}\n"
    "dicom:\n  elements:\n    $administration.RadiopharmaceuticalStartTime: {field: administration.started}\n"
)


@pytest.mark.parametrize(
    ("keyword", "held", "written"),
    [
        ("ExposureTimeInms", 12.5, "12.50"),  # FD
        ("ExposureTimeInms", 12.5, "1.25e1"),
        ("TableTopVerticalPosition", 0.1, "0.1"),  # FD
        ("ExaminedBodyThickness", 0.1, "0.1"),  # FL
        ("PatientWeight", "71", "71.00"),  # DS
        ("StudyTime", "120000.000000", "120000"),  # TM
        ("AcquisitionDateTime", "20250310120000.000", "20250310120000"),  # DT
        ("OperatorsName", "A^B^^^", "A^B"),
    ],
)
def test_another_spelling_is_no_change(tmp_path: Path, keyword: str, held: object, written: str) -> None:
    mapping = mapping_with(tmp_path, f"{keyword}: {{value: '{written}'}}", head=UTF8)
    assert made(mapping, pet_file(tmp_path, **{keyword: held})).changes == ()


def test_forms_of_former_editions_are_read_too() -> None:
    assert is_same("TM", "12:00:00", "120000", None)
    assert is_same("DA", "2025.03.10", "20250310", None)
    assert is_same("DT", "20250310120000", "20250310110000+0000", ZoneInfo("Europe/Brussels"))
    assert not is_same("DT", "20250310120000", "20250310110000+0000", None)
    assert not is_same("DS", "1\\2", "1", None)


def test_a_change_of_a_binary_number_reads_as_numbers(tmp_path: Path) -> None:
    mapping = mapping_with(tmp_path, "ExposureTimeInms: {value: '13'}", head=UTF8)
    change = made(mapping, pet_file(tmp_path, ExposureTimeInms=12.5)).changes[0]
    assert (change.path, change.before, change.after) == ("ExposureTimeInms", "12.5", "13")


@pytest.mark.parametrize(
    ("own", "site", "expected"),
    [
        ("+0100", None, "100000"),  # the object's own zone counts
        ("+0100", "America/New_York", "100000"),
        (None, "America/New_York", "050000"),  # before the clocks change in Europe, after they did in America
        (None, "Europe/Brussels", "100000"),
        ("garbage", "Europe/Brussels", None),  # the mapping read no time either
        (None, None, None),
    ],
)
def test_a_time_of_day_is_that_of_the_object_s_zone(
    tmp_path: Path, own: str | None, site: str | None, expected: str | None
) -> None:
    mapping = load(directory(tmp_path / "mappings", one=TIMES)).named("one")
    where = "RadiopharmaceuticalInformationSequence[0]"
    changes = {f"{where}.RadiopharmaceuticalStartDateTime": "20250310090000+0000", f"{where}.RadiopharmaceuticalStartTime": "01"}
    file = pet_file(tmp_path, TimezoneOffsetFromUTC=own, **changes)
    record = normalise(read_header(file), mapping, SITE)
    coerced = coerce(file, record, mapping, arrived_at=AT, zone=ZoneInfo(site) if site else None)
    held = read(coerced).RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime
    assert held == (expected or "01")
    assert bool(coerced.problems) is (own is site is None)


@pytest.mark.parametrize(
    ("value", "vr", "expected"),
    [
        ("2025-03-10T23:30:15.25+00:00", "DA", "20250311"),
        ("2025-03-10T23:30:15.25+00:00", "TM", "003015.25"),
        ("2025-03-10T23:30:60+01:00", "TM", "233060"),
        ("2025-03-10T23:30:15.25+00:00", "DT", "20250310233015.25+0000"),
        ("2025-03-10T23:30:15-05:00", "DT", "20250310233015-0500"),
        ("2025-03-10T23:30:15Z", "DT", "20250310233015+0000"),
        ("09:05:00", "TM", "090500"),
        ("2025-03", "DT", "202503"),
    ],
)
def test_dates_and_times_of_fhir_become_those_of_dicom(value: str, vr: str, expected: str) -> None:
    assert text_of(value, vr, zone=dt.timezone(dt.timedelta(hours=1))) == expected


def test_numbers_from_elsewhere_are_spelt_as_the_element_wants_them(tmp_path: Path) -> None:
    text = (
        "match: everything\nfields:\n  instance.uid: {from: SOPInstanceUID, as: uid}\n"
        "  instance.t: {from: FrameReferenceTime, as: quantity, unit: {in: ms, out: s}}\n"
        "dicom:\n  elements:\n    ActualFrameDuration: {field: instance.t, unit: ms}\n"
        "    PatientWeight: {copy: '(0019,xx10)[ACME]'}\n    SeriesNumber: {copy: FrameReferenceTime}\n"
    )
    mapping = load(directory(tmp_path / "mappings", one=text)).named("one")
    dataset = builders.pet(FrameReferenceTime="1000.0", ActualFrameDuration="7")
    dataset.add_new(0x00190010, "LO", "ACME")
    dataset.add_new(0x00191010, "FD", 1.2345678901234567e-05)
    coerced = made(mapping, builders.write(dataset, tmp_path / "numbers.dcm"))
    assert coerced.problems == ()
    after = read(coerced)
    assert (after.ActualFrameDuration, after.SeriesNumber) == (1000, 1000)
    assert float(after.PatientWeight) == pytest.approx(1.2345678901234567e-05, rel=1e-8)


def test_two_contents_never_get_one_uid(tmp_path: Path) -> None:
    mapping = mapping_with(tmp_path, "PatientWeight: {value: '71'}", head=UTF8)
    contents: list[dict[str, object]] = [{"PatientWeight": "10"}, {"PatientWeight": "20"}, {"StudyDescription": "B"}]
    uids = {made(mapping, pet_file(tmp_path, **content)).sop_instance_uid for content in contents}
    assert len(uids) == 3


@pytest.mark.parametrize(
    ("target", "is_number"), [("RadiopharmaceuticalInformationSequence", True), ("ProcedureCodeSequence", False)]
)
def test_taking_away_a_sequence_of_numbers_is_a_change_of_numbers(tmp_path: Path, target: str, is_number: bool) -> None:
    mapping = mapping_with(tmp_path, f"{target}: {{remove: true}}", head=UTF8)
    item = {"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "a"}
    file = pet_file(tmp_path, ProcedureCodeSequence=item)
    coerced = made(mapping, file)
    assert target not in read(coerced)
    assert (coerced.sop_instance_uid != dcmread(file).SOPInstanceUID) is is_number
