"""What was published and holds no longer is marked, never deleted."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.fhir.provenance import decision_provenance
from gateway.fhir.retract import about, cancelled, retractions
from gateway.model import JsonObject
from gateway.r4.bundles import REPLACED_BY_EXTENSION
from gateway.r4.validate import validate
from gateway.spool.standing import Decision, DecisionKind

PATIENT: JsonObject = {"resourceType": "Patient", "id": "p", "managingOrganization": {"reference": "Organization/o"}}
ORGANIZATION: JsonObject = {"resourceType": "Organization", "id": "o", "name": "Example"}
MEDICATION: JsonObject = {"resourceType": "Medication", "id": "fdg"}


def given(name: str, **more: Any) -> JsonObject:
    return {
        "resourceType": "MedicationAdministration",
        "id": name,
        "identifier": [{"system": "urn:isobridge:administration", "value": f"key-{name}"}],
        "status": "completed",
        "medicationReference": {"reference": "Medication/fdg"},
        "subject": {"reference": "Patient/p"},
        "effectiveDateTime": "2026-03-02",
        "supportingInformation": [{"reference": "ImagingStudy/s"}],
        **more,
    }


def observed(name: str) -> JsonObject:
    return {
        "resourceType": "Observation",
        "id": f"{name}-activity",
        "status": "preliminary",
        "code": {"text": "Administered activity"},
        "subject": {"reference": "Patient/p"},
        "partOf": [{"reference": f"MedicationAdministration/{name}"}],
    }


def by_name(resources: list[JsonObject]) -> dict[str, JsonObject]:
    return {f"{item['resourceType']}/{item['id']}": item for item in resources}


def test_nothing_is_added_when_nothing_vanished() -> None:
    resources = [PATIENT, MEDICATION, given("a"), observed("a")]
    assert retractions(resources, resources) == []
    assert retractions([], resources) == []


def test_a_fact_that_vanished_is_entered_in_error_and_stays_so_until_it_comes_back() -> None:
    first = [PATIENT, MEDICATION, given("a"), observed("a"), given("b")]
    second = [PATIENT, MEDICATION, given("b")]
    second += retractions(first, second)
    assert by_name(second)["MedicationAdministration/a"] == given("a", status="entered-in-error")
    assert by_name(second)["Observation/a-activity"]["status"] == "entered-in-error"
    third = [PATIENT, MEDICATION, given("b")]
    third += retractions(second, third)
    assert third == second
    fourth = [PATIENT, MEDICATION, given("a"), observed("a"), given("b")]
    assert retractions(third, fourth) == []


def test_a_dossier_that_lost_everything_carries_what_its_facts_refer_to() -> None:
    carried = retractions([PATIENT, ORGANIZATION, MEDICATION, given("a")], [])
    assert list(by_name(carried)) == ["Patient/p", "Organization/o", "Medication/fdg", "MedicationAdministration/a"]
    assert retractions([PATIENT, ORGANIZATION, MEDICATION], []) == []


def test_a_lost_fact_points_to_the_one_that_survives_it() -> None:
    first = [PATIENT, MEDICATION, given("a"), observed("a")]
    second = [PATIENT, MEDICATION, given("b")]
    link = {"url": REPLACED_BY_EXTENSION, "valueReference": {"reference": "MedicationAdministration/b"}}
    lost = by_name(retractions(first, second, {"key-a": "key-b"}))
    assert lost["MedicationAdministration/a"]["extension"] == [link]
    assert lost["Observation/a-activity"]["extension"] == [link]
    assert validate(lost["MedicationAdministration/a"]) == []
    assert validate(lost["Observation/a-activity"]) == []
    again = retractions([*second, *lost.values()], second)
    assert by_name(again) == lost  # the link stays when nobody names it any more
    assert retractions([*second, *lost.values()], second, {"key-a": "key-b"}) == again


def test_a_cancelled_study_keeps_everything_but_its_status() -> None:
    study: JsonObject = {"resourceType": "ImagingStudy", "id": "s", "status": "available", "subject": {"reference": "Patient/p"}}
    assert cancelled([PATIENT, study]) == [PATIENT, {**study, "status": "cancelled"}]
    assert validate(cancelled([study])[0]) == []


def test_facts_about_a_study_are_those_that_name_it_and_their_parts() -> None:
    other = given("b", supportingInformation=[{"reference": "ImagingStudy/t"}])
    found = about([PATIENT, given("a"), observed("a"), other, observed("b")], "ImagingStudy/s")
    assert found == ["MedicationAdministration/a", "Observation/a-activity"]


@pytest.mark.parametrize("kind", list(DecisionKind))
def test_a_decision_becomes_a_valid_provenance(kind: DecisionKind) -> None:
    decided = Decision(
        id=1, study_uid="2.25.1", kind=kind, reason="wrong order", decided_by="A Person", decided_at=1_700_000_000.0
    )
    resource = decision_provenance("d", decided, targets=["ImagingStudy/s"])
    assert validate(resource) == []
    assert resource["recorded"] == "2023-11-14T22:13:20.000+00:00"
    assert (resource["agent"][0]["who"], resource["reason"]) == ({"display": "A Person"}, [{"text": "wrong order"}])


def test_a_dose_that_proved_to_be_another_leads_there_and_one_that_nobody_tells_any_more_leads_nowhere() -> None:
    def dose(name: str) -> JsonObject:
        return {
            "resourceType": "Observation",
            "id": name,
            "identifier": [{"system": "urn:isobridge:dose-result", "value": f"key-{name}"}],
            "status": "final",
            "code": {"text": "Organ absorbed dose"},
            "subject": {"reference": "Patient/p"},
        }

    report = {
        "resourceType": "DocumentReference",
        "id": "r",
        "status": "current",
        "content": [{"attachment": {"contentType": "application/dicom"}}],
    }
    lost, gone, kept = dose("lost"), dose("gone"), dose("kept")
    found = retractions([PATIENT, lost, gone, kept, report], [PATIENT, kept], {"key-lost": "key-kept"})
    assert {item["id"]: item["status"] for item in found if "status" in item} == dict.fromkeys(
        ("lost", "gone", "r"), "entered-in-error"
    )
    links = {item["id"]: item.get("extension") for item in found}
    assert links["lost"] == [{"url": REPLACED_BY_EXTENSION, "valueReference": {"reference": "Observation/kept"}}]
    assert links["gone"] is None
    assert [complaint for item in found for complaint in validate(item)] == []
