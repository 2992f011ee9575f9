"""Converters for what documents and dose objects carry: bytes with hash and size, dose-volume histograms as pairs."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from typing import Any

import pytest

from gateway.dicom.encapsulated import unpadded
from tests.unit.mapping_files import one_field, read, said

TEXT = "%PDF-1.4 an invented report"
PDF = TEXT.encode()
ODD = base64.b64encode(hashlib.sha1(PDF, usedforsecurity=False).digest()).decode()
PADDED = {"EncapsulatedDocument": TEXT, "EncapsulatedDocumentLength": len(PDF)}


@pytest.mark.parametrize(
    ("spec", "given", "value"),
    [
        ("{from: {value: EncapsulatedDocument, length: EncapsulatedDocumentLength}, as: attachment_hash}", PADDED, ODD),
        ("{from: {value: EncapsulatedDocument, length: EncapsulatedDocumentLength}, as: attachment_size}", PADDED, len(PDF)),
        ("{from: EncapsulatedDocument, as: attachment_size}", {"EncapsulatedDocument": TEXT + "s"}, len(PDF) + 1),
        ("{from: EncapsulatedDocument, as: attachment_hash}", {"Modality": "DOC"}, None),
        (
            "{from: {value: 'DVHSequence[0].DVHData', scaling: 'DVHSequence[0].DVHDoseScaling'}, as: dvh_widths}",
            {"DVHSequence": [{"DVHData": ["0.5", "310", "0.25", "155.5"], "DVHDoseScaling": "2"}]},
            "1 0.5",
        ),
        ("{from: 'DVHSequence[0].DVHData', as: dvh_volumes}", {"DVHSequence": [{"DVHData": ["1", "310.0", "1", "0"]}]}, "310 0"),
        (
            "{from: 'DVHSequence[0].DVHData', as: dvh_first_volume, unit: {in: cm3, out: mL}}",
            {"DVHSequence": [{"DVHData": ["1", "310.0", "1", "0"]}]},
            {"value": Decimal(310), "unit": "mL"},
        ),
        (
            "{from: 'StructureSetROISequence[0].ROIName', as: side_of, codes: organs}",
            {"StructureSetROISequence": [{"ROIName": "Kidney L"}]},
            {"system": "http://snomed.info/sct", "code": "7771000", "text": "Left"},
        ),
        (
            "{from: 'StructureSetROISequence[0].ROIName', as: side_of, codes: organs}",
            {"StructureSetROISequence": [{"ROIName": "Liver"}]},
            None,
        ),
    ],
)
def test_a_converter_gives_its_value(tmp_path: Any, spec: str, given: dict[str, Any], value: Any) -> None:
    record = read(one_field(tmp_path, spec), given)
    assert record.shared.study.get("x") == value
    assert not said(record)


@pytest.mark.parametrize(
    ("spec", "given", "reason"),
    [
        ("{from: StudyDescription, as: attachment_hash}", {"StudyDescription": "text"}, "holds no bytes"),
        ("{from: EncapsulatedDocument, as: text}", {"EncapsulatedDocument": TEXT}, "holds no printable text"),
        ("{from: 'DVHSequence[0].DVHData', as: dvh_widths}", {"DVHSequence": [{"DVHData": ["1", "2", "3"]}]}, "pairs"),
        ("{from: 'DVHSequence[0].DVHData', as: dvh_volumes}", {"DVHSequence": [{"DVHData": ["1", "-2"]}]}, "below zero"),
        (
            "{from: {value: 'DVHSequence[0].DVHData', scaling: 'DVHSequence[0].DVHDoseScaling'}, as: dvh_widths}",
            {"DVHSequence": [{"DVHData": ["1", "2"], "DVHDoseScaling": "0"}]},
            "scaling that is not above zero",
        ),
    ],
)
def test_what_cannot_be_right_is_told(tmp_path: Any, spec: str, given: dict[str, Any], reason: str) -> None:
    record = read(one_field(tmp_path, spec), given)
    assert record.shared.study.get("x") is None
    assert any(reason in issue for issue in said(record))


@pytest.mark.parametrize(("length", "left"), [(None, 4), (4, 4), (5, 5), (3, 4), (400, 4)])
def test_a_length_that_is_off_by_more_than_the_padding_is_not_believed(length: int | None, left: int) -> None:
    assert len(unpadded(memoryview(b"abcd\0"), length)) == left
