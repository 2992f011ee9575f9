"""Every converter, through a real file and a mapping of one field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.dicom.values import Invalid
from gateway.mapping.language import load
from gateway.mapping.numbers import with_comma
from gateway.mapping.registry import CONVERTERS
from gateway.model import Severity
from tests.unit.mapping_files import SHIPPED, one_field, read, said

SCT = "http://snomed.info/sct"


@pytest.mark.parametrize(
    ("spec", "given", "value"),
    [
        ("{from: StudyDescription, as: text}", {"StudyDescription": "PET/CT "}, "PET/CT"),
        ("{from: ImageType, as: text}", {"ImageType": ["A", "B"]}, "A\\B"),
        ("{from: StudyInstanceUID, as: uid}", {"StudyInstanceUID": "1.2.3"}, "1.2.3"),
        ("{from: InstanceNumber, as: integer}", {"InstanceNumber": "+7"}, 7),
        ("{from: Rows, as: integer}", {"Rows": 512}, 512),
        ("{from: SliceThickness, as: decimal}", {"SliceThickness": "3.2700"}, Decimal("3.27")),
        ("{from: TableSpeed, as: text}", {"TableSpeed": 394.0}, "394"),  # a binary number has no digits after the point to keep
        ("{from: TableSpeed, as: text}", {"TableSpeed": 394.25}, "394.25"),
        ("{from: DeviceSerialNumber, as: serial_number}", {"DeviceSerialNumber": "SN*9 "}, "SN*9"),
        ("{from: Modality, as: code}", {"Modality": "PT"}, "PT"),
        ("{from: CorrectedImage, as: list}", {"CorrectedImage": ["DECY", "", "ATTN"]}, ["DECY", "ATTN"]),
        ("{from: SoftwareVersions, as: joined}", {"SoftwareVersions": ["A", "B"]}, "A; B"),
        ("{from: PatientBirthDate, as: date}", {"PatientBirthDate": "19700228"}, "1970-02-28"),
        ("{from: PatientSex, as: gender}", {"PatientSex": "O"}, "other"),
        ("{from: PatientName, as: person_name}", {"PatientName": "A^B"}, {"family": "A", "given": ["B"], "text": "B A"}),
        (
            "{from: AcquisitionDateTime, as: datetime}",
            {"AcquisitionDateTime": "20240701101500.50"},
            "2024-07-01T10:15:00.5+02:00",
        ),
        (
            "{from: {date: StudyDate, time: StudyTime}, as: datetime_of}",
            {"StudyDate": "20240701", "StudyTime": "1015"},
            "2024-07-01T10:15:00+02:00",
        ),
        ("{from: {date: StudyDate, time: StudyTime}, as: datetime_of}", {"StudyDate": "20240701"}, "2024-07-01"),
        ("{from: {date: StudyDate, time: StudyTime}, as: datetime_of}", {"StudyTime": "1015"}, None),
        (
            "{from: PatientWeight, as: quantity, unit: {in: kg, out: g}}",
            {"PatientWeight": "75.50"},
            {"value": Decimal(75500), "unit": "g"},
        ),
        (
            "{from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}",
            {"PatientWeight": "0"},
            {"value": Decimal(0), "unit": "kg"},
        ),
        ("{from: PatientWeight, as: quantity_unless_zero, unit: {in: kg, out: kg}}", {"PatientWeight": "0.0"}, None),
        (
            "{from: 'ProcedureCodeSequence[0]', as: concept}",
            {"ProcedureCodeSequence": [{"CodeValue": "1", "CodingSchemeDesignator": "DCM", "CodeMeaning": "One"}]},
            {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "1", "text": "One"},
        ),
        (
            "{from: 'ProcedureCodeSequence[0]', as: concept}",
            {
                "ProcedureCodeSequence": [
                    {"LongCodeValue": "123456789012345678", "CodingSchemeDesignator": "SCT", "CodeMeaning": "X"}
                ]
            },
            {"system": SCT, "code": "123456789012345678", "text": "X"},
        ),
        ("{from: StudyDescription, as: concept}", {"StudyDescription": "PET"}, {"text": "PET"}),
        (
            "{from: Laterality, as: known_concept, codes: laterality}",
            {"Laterality": "L"},
            {"system": SCT, "code": "7771000", "text": "Left"},
        ),
        ("{from: Laterality, as: known_concept, codes: laterality}", {"Laterality": "X"}, None),
        ("{from: [StudyDescription, SeriesDescription], as: text}", {"SeriesDescription": "second"}, "second"),
    ],
)
def test_a_converter_gives_its_value_without_a_word(tmp_path: Path, spec: str, given: dict[str, Any], value: Any) -> None:
    record = read(one_field(tmp_path, spec), given)
    assert record.shared.study.get("x") == value
    assert said(record) == []


@pytest.mark.parametrize(
    ("spec", "given", "issue"),
    [
        ("{from: StudyInstanceUID, as: uid}", {"StudyInstanceUID": "a.b"}, "study.x is not a UID"),
        ("{from: InstanceNumber, as: integer}", {"InstanceNumber": "7.5"}, "study.x is not a whole number"),
        ("{from: SliceThickness, as: decimal}", {"SliceThickness": ["1", "2"]}, "study.x has several values"),
        ("{from: ImageComments, as: code}", {"ImageComments": "a  b"}, "study.x is not a code"),
        ("{from: InstanceNumber, as: count}", {"InstanceNumber": "-1"}, "study.x is not a number from zero on"),
        ("{from: PatientSex, as: gender}", {"PatientSex": "f"}, "study.x is none of M, F, O"),
        ("{from: AcquisitionDateTime, as: datetime}", {"AcquisitionDateTime": "2024-07-01"}, "study.x is not a date and time"),
        ("{from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}", {"PatientWeight": "75 kg"}, "study.x is not a number"),
        (
            "{from: PatientWeight, as: quantity_unless_zero, unit: {in: kg, out: kg}}",
            {"PatientWeight": "-1"},
            "study.x is below zero",
        ),
        (
            "{from: 'ProcedureCodeSequence[0]', as: concept}",
            {"ProcedureCodeSequence": [{"CodingSchemeDesignator": "DCM"}]},
            "without code and meaning",
        ),
        (
            "{from: AcquisitionDateTime, as: datetime}",
            {"AcquisitionDateTime": "20240701101500", "TimezoneOffsetFromUTC": "CET"},
            "TimezoneOffsetFromUTC is not an offset",
        ),
        (
            "{from: {date: StudyDate, time: StudyTime}, as: datetime_of}",
            {"StudyDate": "unknown", "StudyTime": "10"},
            "study.x is not a date",
        ),
    ],
)
def test_what_is_present_but_wrong_is_withheld_and_told(tmp_path: Path, spec: str, given: dict[str, Any], issue: str) -> None:
    record = read(one_field(tmp_path, spec), given)
    assert "x" not in record.shared.study
    assert any(issue in text for text in said(record)), said(record)


def test_a_broken_first_choice_is_told_even_when_the_second_is_taken(tmp_path: Path) -> None:
    mapping = one_field(tmp_path, "{from: [StudyInstanceUID, SeriesInstanceUID], as: uid}")
    record = read(mapping, {"StudyInstanceUID": "x.y", "SeriesInstanceUID": "1.2"})
    assert record.shared.study["x"] == "1.2"
    assert said(record) == ["study.x is not a UID in its first place; SeriesInstanceUID was taken"]


def test_a_uid_with_leading_zeros_is_kept_as_it_is_and_told(tmp_path: Path) -> None:
    mapping = one_field(tmp_path, "{from: [StudyInstanceUID, SeriesInstanceUID], as: uid}")
    record = read(mapping, {"StudyInstanceUID": "1.2.03", "SeriesInstanceUID": "1.2"})
    assert record.shared.study["x"] == "1.2.03", "the second place is another UID"
    (told,) = said(record)
    assert "study.x has a component with a leading zero" in told


def test_an_unknown_code_of_a_known_scheme_passes_and_is_told(tmp_path: Path) -> None:
    mapping = one_field(tmp_path, "{from: 'ProcedureCodeSequence[0]', as: concept, codes: routes}")
    record = read(
        mapping, {"ProcedureCodeSequence": [{"CodeValue": "9", "CodingSchemeDesignator": "SCT", "CodeMeaning": "By ear"}]}
    )
    assert record.shared.study["x"] == {"system": SCT, "code": "9", "text": "By ear"}
    assert "codes/routes.yaml does not know" in said(record)[0]


def test_every_value_names_its_source(tmp_path: Path) -> None:
    record = read(
        one_field(tmp_path, "{from: {date: StudyDate, time: StudyTime}, as: datetime_of}"),
        {"StudyDate": "20240701", "StudyTime": "10"},
    )
    assert record.shared.sources == {"study.x": "StudyDate + StudyTime"}


def test_every_converter_explains_itself() -> None:
    assert [name for name, converter in CONVERTERS.items() if len(converter.describe) < 10] == []


PET = load(SHIPPED).named("pet_image")
ITEM = "RadiopharmaceuticalInformationSequence[0]"


def tracer(**changes: Any) -> tuple[dict[str, Any], list[str]]:
    """The first administration of the PET example with changes in its item, and what was said about it."""
    outer = {
        key: value
        for key, value in changes.items()
        if key in ("SeriesDate", "SeriesTime", "StudyDate", "AcquisitionDate", "TimezoneOffsetFromUTC")
    }
    inner = {f"{ITEM}.{key}": value for key, value in changes.items() if key not in outer}
    record = read(PET, {**outer, **inner})
    return record.shared.administrations[0], [text for text in said(record) if text.startswith("administration")]


def coded(value: str, scheme: str = "SCT", meaning: str = "") -> list[dict[str, str]]:
    return [{"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning or value}]


LU177 = {
    "RadionuclideCodeSequence": coded("447553000"),
    "RadiopharmaceuticalCodeSequence": coded("781259000"),
    "RadionuclideHalfLife": "574300.8",
    "RadionuclideTotalDose": "7400000000",
}


@pytest.mark.parametrize(
    ("changes", "started", "word"),
    [
        # time only: the scan of the example starts at 00:15 on 13 May
        ({"RadiopharmaceuticalStartTime": "233000"}, "2024-05-12T23:30:00+02:00", None),
        ({"RadiopharmaceuticalStartTime": "000500"}, "2024-05-13T00:05:00+02:00", None),
        ({"RadiopharmaceuticalStartTime": "011459"}, "2024-05-13T01:14:59+02:00", None),  # within an hour after the start
        ({"RadiopharmaceuticalStartTime": "020000"}, None, "fits no day"),  # 22 h before the scan nothing of F-18 is left
        ({"RadiopharmaceuticalStartTime": "23h30"}, None, "is not a time"),
        ({"RadiopharmaceuticalStartTime": None}, None, "is missing"),
        ({"RadiopharmaceuticalStartTime": "233000", "SeriesDate": None}, None, "scan time are unknown"),
        (LU177, None, "lives too long"),
        # date-time
        ({"RadiopharmaceuticalStartDateTime": "20240512233000"}, "2024-05-12T23:30:00+02:00", None),
        ({"RadiopharmaceuticalStartDateTime": "20240512213000+0000"}, "2024-05-12T21:30:00+00:00", None),
        ({"RadiopharmaceuticalStartDateTime": "20240513233000"}, "2024-05-12T23:30:00+02:00", "date taken from the series"),
        ({"RadiopharmaceuticalStartDateTime": "20230101233000"}, "2024-05-12T23:30:00+02:00", "date taken from the series"),
        ({"RadiopharmaceuticalStartDateTime": "20230101020000"}, None, "does not fit the time of the scan"),
        ({"RadiopharmaceuticalStartDateTime": "20240512"}, "2024-05-12", None),
        (
            {"RadiopharmaceuticalStartDateTime": "20230101233000", "AcquisitionDate": "20230101"},
            "2023-01-01T23:30:00+01:00",
            "half-lives before",
        ),
        (  # eight days before
            {**LU177, "RadiopharmaceuticalStartDateTime": "20240505100000", "RadiopharmaceuticalStartTime": "100459"},
            "2024-05-05T10:00:00+02:00",
            None,
        ),
        ({**LU177, "RadiopharmaceuticalStartDateTime": "20240513100000"}, None, "lies after the scan"),
        (
            {"RadiopharmaceuticalStartDateTime": "20240513001000", "SeriesTime": None},
            "2024-05-13T00:10:00+02:00",
            "contradicts the time that stands beside it by 40 minutes",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240513000100", "RadiopharmaceuticalStartTime": "235900"},
            "2024-05-13T00:01:00+02:00",
            None,
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240512233000", "RadiopharmaceuticalStartTime": "213000"},
            "2024-05-12T23:30:00+02:00",
            "by 120 minutes",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240512233000", "RadiopharmaceuticalStartTime": "23h"},
            "2024-05-12T23:30:00+02:00",
            None,
        ),
        # the sender's own zone
        ({"RadiopharmaceuticalStartTime": "233000", "TimezoneOffsetFromUTC": "-0500"}, "2024-05-12T23:30:00-05:00", None),
    ],
)
def test_the_injection_gets_the_day_it_must_have_had(changes: dict[str, Any], started: str | None, word: str | None) -> None:
    administration, issues = tracer(**changes)
    assert administration.get("started_at") == started
    about = [text for text in issues if "started_at" in text]
    assert (about == []) if word is None else any(word in text for text in about), issues


@pytest.mark.parametrize(
    ("changes", "stopped", "word"),
    [
        ({"RadiopharmaceuticalStopTime": "233100"}, "2024-05-12T23:31:00+02:00", None),
        ({"RadiopharmaceuticalStopTime": "000100"}, "2024-05-13T00:01:00+02:00", None),  # over midnight
        ({"RadiopharmaceuticalStopDateTime": "20240512233100"}, "2024-05-12T23:31:00+02:00", None),
        ({"RadiopharmaceuticalStopDateTime": "20240513233100"}, "2024-05-12T23:31:00+02:00", "date corrected"),
        ({"RadiopharmaceuticalStopTime": "120100"}, None, "half a day"),
        ({"RadiopharmaceuticalStopTime": "233100", "RadiopharmaceuticalStartTime": None}, None, "start is unknown"),
    ],
)
def test_the_end_follows_the_start(changes: dict[str, Any], stopped: str | None, word: str | None) -> None:
    administration, issues = tracer(**changes)
    assert administration.get("stopped_at") == stopped
    about = [text for text in issues if "stopped_at" in text]
    assert (about == []) if word is None else any(word in text for text in about), issues


@pytest.mark.parametrize(
    ("changes", "value", "word"),
    [
        ({}, "6586.2", None),
        ({"RadionuclideHalfLife": "6600"}, "6600", None),  # rounded, within 1 %
        ({"RadionuclideHalfLife": "7000"}, "6586.2", "taken instead"),
        ({"RadionuclideHalfLife": None}, "6586.2", "physical half-life of F-18"),
        ({"RadionuclideHalfLife": "4062.6"}, None, "is that of Ga-68"),
        ({"RadionuclideHalfLife": "0"}, None, "not above zero"),
    ],
)
def test_a_half_life_is_that_of_the_nuclide(changes: dict[str, Any], value: str | None, word: str | None) -> None:
    administration, issues = tracer(**changes)
    assert administration.get("half_life") == ({"value": Decimal(value), "unit": "s"} if value else None)
    about = [text for text in issues if "half_life" in text]
    assert (about == []) if word is None else any(word in text for text in about), issues


def test_an_agent_of_two_nuclides_is_told_apart_by_the_stated_one() -> None:
    administration, _ = tracer(
        RadiopharmaceuticalCodeSequence=None, Radiopharmaceutical="DOTATATE", RadionuclideCodeSequence=coded("447553000")
    )
    assert administration["agent"]["code"] == "781259000"


def test_without_any_nuclide_the_activity_is_taken_as_declared() -> None:
    administration, _ = tracer(RadiopharmaceuticalCodeSequence=None, RadionuclideCodeSequence=None)
    assert administration["activity"] == {"value": Decimal(370), "unit": "MBq"}
    assert "radionuclide" not in administration


def test_a_nuclide_by_its_name_only_is_understood() -> None:
    administration, issues = tracer(RadionuclideCodeSequence=[{"CodeMeaning": "F^18^[^18^Fluorine]"}])
    assert administration["radionuclide"]["code"] == "77004003"
    assert issues == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"PatientBirthDate": "99990101"}, "patient.birth_date"),
        ({"PatientBirthDate": "17000101"}, "patient.birth_date"),
        ({"DeviceSerialNumber": "*"}, "device.serial"),
        ({"DeviceSerialNumber": "--- / ---"}, "device.serial"),
    ],
)
def test_what_senders_write_for_unknown_is_left_out_with_a_warning(given: dict[str, str], field: str) -> None:
    shared = read(PET, given).shared
    assert field.partition(".")[2] not in (shared.patient if field.startswith("patient") else shared.device)
    assert [issue.severity for issue in shared.issues if issue.field == field] == [Severity.WARNING]


@pytest.mark.parametrize("text", ["0.123,4", "000.000,4", "012.345,6", "1234.567,8", "12.34,5", ".123,4", "1.234"])
def test_points_group_thousands_or_the_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        with_comma(text)


@pytest.mark.parametrize(
    ("text", "number"), [("0,4", "0.4"), ("1.234,5", "1234.5"), ("-12.345.678,9", "-12345678.9"), ("007", "7")]
)
def test_numbers_with_a_decimal_comma(text: str, number: str) -> None:
    assert with_comma(text) == Decimal(number)
