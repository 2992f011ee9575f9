"""Every fact of the real Siemens study stands in FHIR, or says why not: its dose reports and a PET header, tried item by item."""

from __future__ import annotations

import pytest

from tests.conftest import data_directory
from tests.harness.fact_table import OPEN, Row, _field_reason, _unread_reason, header_rows, rows_of
from tests.harness.one_patient import OnePatient, shipped

REPORTS = ("rrdsr/NM-RRDSR-Siemens.dcm", "rdsr/NM-CT-RDSR-Siemens.dcm")
IMAGE = "pet/siemens-vision600-fdg-study/NM-PetIm-Siemens.dcm"
real = pytest.mark.needs("data")


@pytest.fixture(scope="module")
def patient() -> OnePatient:
    return OnePatient([data_directory() / name for name in (IMAGE, *REPORTS)], shipped())


def places(rows: list[Row], item: str) -> tuple[str, ...]:
    return next(row.places for row in rows if row.item.endswith(item))


@real
def test_every_fact_of_the_real_reports_stands_in_fhir_or_says_why_not(patient: OnePatient) -> None:
    """Each path of concepts once: the table as a whole is made by the harness."""
    administration, ct = (rows_of(data_directory() / name, patient, each_once=True) for name in REPORTS)
    assert [row for row in (*administration, *ct) if not row.places and (not row.why or OPEN in row.why)] == []
    assert "MedicationAdministration.dosage.dose" in places(administration, "Administered activity")
    assert places(administration, "> Organ Dose")[0] == "Observation 113518.valueQuantity"
    assert places(administration, "> Effective Dose") == ("Observation 113839.valueQuantity",)
    assert places(administration, "Associated Procedure") == ("DocumentReference.context.event",)
    assert places(ct, "Mean CTDIvol") == ("Observation 113852.component[113830].valueQuantity",)
    assert places(ct, "Procedure reported") == ("DocumentReference.context.event",)
    assert sum(bool(row.places) for row in (*administration, *ct)) > 40


@real
def test_every_element_of_an_image_header_does_too(patient: OnePatient) -> None:
    rows = list(header_rows(data_directory() / IMAGE, patient))
    assert [row for row in rows if not row.places and (not row.why or OPEN in row.why)] == []
    assert places(rows, "StudyInstanceUID") == ("ImagingStudy.identifier",)
    # Of the injection the report's start is published; the header's is an input of the SUV factor.
    assert places(rows, "RadiopharmaceuticalStartDateTime + administration.half_life") == (
        "Observation suv-scale-factor.component[123003].valueDateTime",
    )


def test_what_reaches_nothing_and_has_no_reason_is_an_open_row() -> None:
    assert OPEN in _field_reason("study.of_no_use")
    assert OPEN in _unread_reason("ElementOfNobody")
