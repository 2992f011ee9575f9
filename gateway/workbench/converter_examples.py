"""One example for each converter, for the reference page. Tests run them: each field compiles, and gives what stands here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """A field as one writes it in YAML; elements of an object; and what comes out, as JSON."""

    field: str
    elements: dict[str, Any] = dataclasses.field(default_factory=dict)
    comes_out: str = ""

    @property
    def given(self) -> str:
        return ", ".join(f"`{name}: {value}`" for name, value in self.elements.items())


def _one(name: str, keyword: str, value: str, out: str, more: str = "") -> Example:
    return Example(f"study.x: {{from: {keyword}, as: {name}{more}}}", {keyword: value}, out)


EXAMPLES: dict[str, Example] = {
    "text": _one("text", "StudyDescription", "PET/CT", '`"PET/CT"`'),
    "uid": _one("uid", "StudyInstanceUID", "2.25.1001", '`"2.25.1001"`'),
    "integer": _one("integer", "InstanceNumber", "-7", "`-7`"),
    "count": _one("count", "SeriesNumber", "3", "`3`"),
    "decimal": _one("decimal", "SliceThickness", "3.0", "`3`"),
    "code": _one("code", "Units", "BQML", '`"BQML"`'),
    "list": _one("list", "ImageType", "ORIGINAL\\PRIMARY", '`["ORIGINAL", "PRIMARY"]`'),
    "joined": _one("joined", "SoftwareVersions", "VG80A\\VG81", '`"VG80A; VG81"`'),
    "date": _one("date", "StudyDate", "20240513", '`"2024-05-13"`'),
    "time": _one("time", "StudyTime", "143000", '`"14:30:00"`'),
    "gender": _one("gender", "PatientSex", "F", '`"female"`'),
    "person_name": _one(
        "person_name", "PatientName", "Peeters^An", '`{"family": "Peeters", "given": ["An"], "text": "An Peeters"}`'
    ),
    "datetime": _one("datetime", "AcquisitionDateTime", "20240513093000", '`"2024-05-13T09:30:00+02:00"`'),
    "datetime_of": Example(
        "study.x: {from: {date: StudyDate, time: StudyTime}, as: datetime_of}",
        {"StudyDate": "20240513", "StudyTime": "093000"},
        '`"2024-05-13T09:30:00+02:00"`',
    ),
    "birth_date": Example(
        "study.x: {from: {date: PatientBirthDate, on: StudyDate}, as: birth_date}",
        {"PatientBirthDate": "19700228", "StudyDate": "20240513"},
        '`"1970-02-28"`',
    ),
    "serial_number": _one("serial_number", "DeviceSerialNumber", "SN-9", '`"SN-9"`'),
    "quantity": _one("quantity", "PatientWeight", "71.5", '`{"value": 71500, "unit": "g"}`', ", unit: {in: kg, out: g}"),
    "quantity_unless_zero": _one(
        "quantity_unless_zero", "PatientSize", "1.75", '`{"value": 175, "unit": "cm"}`', ", unit: {in: m, out: cm}"
    ),
    "decimal_comma": _one("decimal_comma", "SeriesDescription", "3,5", "`3.5`"),
    "quantity_comma": _one(
        "quantity_comma", "SeriesDescription", "71,5", '`{"value": 71.5, "unit": "kg"}`', ", unit: {in: kg, out: kg}"
    ),
    "boolean": _one("boolean", "BurnedInAnnotation", "YES", "`true`"),
    "age": _one("age", "PatientAge", "034Y", '`{"value": 34, "unit": "a"}`'),
    "duration": _one("duration", "ActualFrameDuration", "120000", '`{"value": 120, "unit": "s"}`', ", unit: {in: ms, out: s}"),
    "concept": _one(
        "concept",
        "BodyPartExamined",
        "CHEST",
        '`{"system": "http://snomed.info/sct", "code": "816094009", "text": "Chest"}`',
        ", codes: body_parts",
    ),
    "concepts": Example("administration.x: {from: {sr: [$administration, 113505 DCM]}, as: concepts}"),
    "known_concept": _one(
        "known_concept",
        "Laterality",
        "L",
        '`{"system": "http://snomed.info/sct", "code": "7771000", "text": "Left"}`',
        ", codes: laterality",
    ),
    "frame_timing": Example(
        "instance.pet: {from: {date: AcquisitionDate, time: AcquisitionTime, mean_offset: FrameReferenceTime, "
        "duration: ActualFrameDuration}, as: frame_timing}"
    ),
    "side_of": Example(
        "study.x: {from: BodyPartExamined, as: side_of, codes: organs}",
        {"BodyPartExamined": "LEFT KIDNEY"},
        '`{"system": "http://snomed.info/sct", "code": "7771000", "text": "Left"}`',
    ),
    "attachment_size": Example(
        "study.x: {from: {value: EncapsulatedDocument, length: EncapsulatedDocumentLength}, as: attachment_size}",
        {"EncapsulatedDocument": "%PDF-1.4 short", "EncapsulatedDocumentLength": "14"},
        "`14`",
    ),
    "attachment_hash": Example(
        "study.x: {from: {value: EncapsulatedDocument, length: EncapsulatedDocumentLength}, as: attachment_hash}",
        {"EncapsulatedDocument": "%PDF-1.4 short", "EncapsulatedDocumentLength": "14"},
        '`"/WzXcPMTQT96XYhWZ3xFYuXY7bI="`',
    ),
    "dvh_widths": Example(
        'study.x: {from: {value: "DVHSequence[0].DVHData", scaling: "DVHSequence[0].DVHDoseScaling"}, as: dvh_widths}',
        {"DVHSequence[0].DVHData": "0.5\\310\\0.25\\155.5", "DVHSequence[0].DVHDoseScaling": "2"},
        '`"1 0.5"`',
    ),
    "dvh_volumes": Example(
        'study.x: {from: "DVHSequence[0].DVHData", as: dvh_volumes}',
        {"DVHSequence[0].DVHData": "0.5\\310\\0.25\\155.5"},
        '`"310 155.5"`',
    ),
    "dvh_first_volume": Example(
        'study.x: {from: "DVHSequence[0].DVHData", as: dvh_first_volume, unit: {in: cm3, out: mL}}',
        {"DVHSequence[0].DVHData": "0.5\\310\\0.25\\155.5"},
        '`{"value": 310, "unit": "mL"}`',
    ),
    "radiopharmaceutical": Example(
        """\
administration.agent:
  from:
    agent: [$administration.RadiopharmaceuticalCodeSequence, $administration.Radiopharmaceutical]
    nuclide: $administration.RadionuclideCodeSequence
  as: radiopharmaceutical
  codes: radiopharmaceuticals"""
    ),
    "radionuclide": Example(
        """\
administration.radionuclide:
  from: {nuclide: $administration.RadionuclideCodeSequence, agent: administration.agent}
  as: radionuclide
  codes: radionuclides"""
    ),
    "half_life": Example(
        """\
administration.half_life:
  from: {value: $administration.RadionuclideHalfLife, nuclide: administration.radionuclide}
  as: half_life
  unit: {in: s, out: s}"""
    ),
    "activity": Example(
        """\
administration.activity:
  from: {value: $administration.RadionuclideTotalDose, nuclide: administration.radionuclide}
  as: activity
  unit: {in: Bq, out: MBq}"""
    ),
    "injection_time": Example(
        """\
administration.started_at:
  from:
    datetime: $administration.RadiopharmaceuticalStartDateTime
    time: $administration.RadiopharmaceuticalStartTime
    scan_date: SeriesDate
    scan_time: SeriesTime
    other_dates: [StudyDate, AcquisitionDate]
    half_life: administration.half_life
  as: injection_time"""
    ),
    "use": Example("series.x: {from: {sr: [363589002 SCT, 363703001 SCT]}, as: use, codes: intents}"),
    "absent_reason": Example(
        'series.y: {from: {sr: [113518 DCM], attribute: "NumericValueQualifierCodeSequence[0]"}, as: absent_reason}'
    ),
    "only_uid": _one("only_uid", "StudyInstanceUID", "2.25.1001", '`"2.25.1001"`'),
    "dose_kind": Example('series.k: {from: {sr: [128513 DCM], attribute: "ConceptNameCodeSequence[0]"}, as: dose_kind}'),
    "derivation": Example("series.d: {from: {sr: [126010 DCM, 125007 DCM, 126401 DCM, 121401 DCM]}, as: derivation}"),
    "measured": Example("series.m: {from: {sr: [126010 DCM, 125007 DCM, 118565006 SCT]}, as: measured}"),
    "glucose": Example("series.z: {from: {sr: [121118 DCM, 14749-6 LN]}, as: glucose, unit: {out: mmol/L}}"),
    "reported_start": Example(
        "administration.started_at: {from: {datetime: {sr: [$administration, 123003 DCM]}, study: study.started}, as: reported_start}"
    ),
    "injection_end": Example(
        """\
administration.stopped_at:
  from: {datetime: $administration.RadiopharmaceuticalStopDateTime, started: administration.started_at}
  as: injection_end"""
    ),
}
