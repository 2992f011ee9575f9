"""What a card says of an administration."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.model import JsonObject
from gateway.web.cards import doses
from gateway.web.dose_cards import remarks, results
from gateway.web.study_parts import words_on

STUDY = {"resourceType": "ImagingStudy", "id": "s"}


def test_an_administration_of_two_sources_says_so_and_an_activity_that_is_not_there_is_no_dash() -> None:
    administration = {
        "resourceType": "MedicationAdministration",
        "id": "a",
        "meta": {"tag": [{"system": "urn:isobridge:tag", "code": "reconciled"}]},
        "supportingInformation": [{"reference": "ImagingStudy/s"}],
        "note": [{"text": "Taken as one injection with the dose report."}],
    }
    (dose,) = doses(STUDY, {"entry": [{"resource": administration}]})
    assert (dose.reconciled, dose.repaired, dose.activity) == (True, False, "")
    assert dose.remarks == ("Taken as one injection with the dose report.",)


def fact(name: str, **more: Any) -> JsonObject:
    return {
        "resourceType": "Observation",
        "id": name,
        "identifier": [{"system": "urn:isobridge:dose-result", "value": name}],
        "partOf": [{"reference": "MedicationAdministration/a"}],
        "status": "final",
        "code": {"text": "Organ absorbed dose"},
        **more,
    }


DOSSIER = {
    "entry": [
        {
            "resource": {
                "resourceType": "MedicationAdministration",
                "id": "a",
                "supportingInformation": [{"reference": "ImagingStudy/s"}],
            }
        },
        {
            "resource": fact(
                "kidney",
                bodySite={"text": "Kidney"},
                valueQuantity={
                    "value": Decimal("0.0455"),
                    "unit": "Gy",
                    "extension": [{"url": "x", "valueQuantity": {"value": Decimal("45.5"), "unit": "mGy"}}],
                },
                method={"text": "ICRP Publication 128"},
                component=[{"code": {"coding": [{"code": "272741003"}]}, "valueCodeableConcept": {"text": "Left"}}],
                note=[{"text": "A table gives another value."}],
            )
        },
        {"resource": fact("liver", bodySite={"text": "Liver"}, dataAbsentReason={"coding": [{"code": "error"}]})},
        {"resource": fact("whole", code={"text": "Effective dose"}, valueQuantity={"value": Decimal("6.65"), "unit": "mSv"})},
        {"resource": fact("gone", status="entered-in-error", code={"text": "Effective dose"})},
        {"resource": fact("other", partOf=[{"reference": "MedicationAdministration/b"}])},
        {
            "resource": {
                "resourceType": "DiagnosticReport",
                "id": "r",
                "imagingStudy": [{"reference": "ImagingStudy/s"}],
                "extension": [{"url": "http://isobridge.org/fhir/StructureDefinition/remark", "valueString": "Withheld."}],
            }
        },
    ]
}


def test_the_doses_of_a_study_are_those_of_its_administrations_those_in_error_last() -> None:
    found = results(STUDY, DOSSIER, doses(STUDY, DOSSIER))
    assert [(row.reference, row.region, row.value, row.stated) for row in found] == [
        ("Observation/whole", "", "6.65 mSv", ""),
        ("Observation/kidney", "Kidney, left", "0.0455 Gy", "45.5 mGy"),
        ("Observation/liver", "Liver", "unusable", ""),
        ("Observation/gone", "", "–", ""),
    ]
    assert found[1].remarks == ("A table gives another value.",)
    assert found[-1].in_error


def test_what_a_report_had_and_was_not_published_is_told_beside_them() -> None:
    assert remarks(STUDY, DOSSIER) == ["Withheld."]
    assert remarks({"id": "another"}, DOSSIER) == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"valueString": "CT dose-length product total 667 mGy.cm"}, "Dose: CT dose-length product total 667 mGy.cm"),
        ({"valueQuantity": {"value": Decimal("6.65"), "unit": "mSv"}}, "Dose: 6.65 mSv"),
        ({"component": [{}, {}]}, "Dose: 2 values"),
        ({"component": [{}], "dataAbsentReason": {"text": "error"}}, "Dose: withheld"),
        ({}, "Dose: withheld"),
    ],
)
def test_an_observation_is_called_withheld_only_when_it_tells_nothing(item: JsonObject, words: str) -> None:
    assert words_on({"resourceType": "Observation", "code": {"text": "Dose"}, **item}) == words


def test_a_weight_of_each_visit_has_its_day() -> None:
    vital = {"category": [{"coding": [{"code": "vital-signs"}]}], "code": {"text": "Body weight"}}
    told = [fact(day, effectiveDateTime=f"{day}T09:00:00+01:00", **vital) for day in ("2026-03-10", "2026-03-03")]
    found = results(STUDY, {"entry": [{"resource": one} for one in told] + DOSSIER["entry"][:1]}, doses(STUDY, DOSSIER))
    assert [(row.quantity, row.day) for row in found] == [("Body weight", "2026-03-03"), ("Body weight", "2026-03-10")]
