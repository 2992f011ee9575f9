"""Remote FHIR servers, the pure parts: what counts as the same, names at a server of others, what a refusal asks for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.errors import Quarantined, Retryable
from gateway.model import JsonObject
from gateway.publish.agreement import agrees, literal
from gateway.publish.fhir_http import outcome_text, refusal, retry_after_secs
from gateway.publish.remote_ids import OWN_ID, Translation, criterion, is_ours
from gateway.publish.retry import LONGEST_PAUSE_SECS, Circuit
from gateway.publish.target import Verdict, classify

PATIENT: JsonObject = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": "urn:site:pid", "value": "A|1,2"}],
    "name": [{"family": "Tester", "given": ["Invented"]}],
    "birthDate": "1960-01-02",
}
DOSE: JsonObject = {
    "resourceType": "Observation",
    "id": "o1",
    "subject": {"reference": "Patient/p1"},
    "valueQuantity": {"value": Decimal("394.50"), "unit": "MBq"},
}


@pytest.mark.parametrize(
    ("change", "exactly", "same"),
    [
        ({}, True, True),
        ({"meta": {"versionId": "7", "lastUpdated": "2026-01-01T00:00:00Z", "source": "#x"}}, True, True),
        ({"text": {"status": "generated", "div": "<div/>"}}, True, True),
        ({"valueQuantity": {"value": Decimal("394.5"), "unit": "MBq"}}, True, True),
        ({"valueQuantity": {"value": Decimal("394.51"), "unit": "MBq"}}, False, False),
        ({"subject": {"reference": "http://fhir.example.org/r4/Patient/p1/_history/3"}}, True, True),
        ({"subject": {"reference": "Patient/p2"}}, False, False),
        ({"status": "final"}, True, False),  # what we no longer say must go, so it is sent
        ({"status": "final"}, False, True),  # what a server adds does not make a delivery fail
        ({"valueQuantity": None}, False, False),
    ],
)
def test_a_servers_liberties_are_told_from_differences(change: dict[str, Any], exactly: bool, same: bool) -> None:
    assert agrees(DOSE, {**DOSE, **change}, exactly=exactly) is same


def test_our_own_tags_must_be_there() -> None:
    tagged = {**DOSE, "meta": {"tag": [{"system": "urn:isobridge:tag", "code": "repaired"}]}}
    assert agrees(tagged, {**tagged, "meta": {**tagged["meta"], "versionId": "1"}}, exactly=True)
    assert not agrees(tagged, {**DOSE, "meta": {"versionId": "1"}}, exactly=True)


def test_of_a_provenance_the_instant_does_not_count() -> None:
    ours = {"resourceType": "Provenance", "id": "x", "recorded": "2026-01-01T00:00:00Z", "target": [{"reference": "Patient/p1"}]}
    assert agrees(ours, {**ours, "recorded": "2026-02-02T00:00:00Z"}, exactly=True)
    assert not agrees(ours, {**ours, "target": []}, exactly=True)


def test_the_address_in_a_location_is_found_however_it_is_written() -> None:
    for location in ("Patient/p1", "/Patient/p1/_history/2", "https://x.example.org/a/Patient/p1/_history/2"):
        assert literal(location) == "Patient/p1"
    assert literal("urn:uuid:p1") is None


def test_a_patient_is_looked_for_by_its_business_identifier_and_all_else_by_our_id() -> None:
    assert criterion(PATIENT) == "identifier=urn%3Asite%3Apid%7CA%5C%7C1%5C%2C2"
    assert criterion(DOSE) == f"identifier={OWN_ID.replace(':', '%3A')}%7Co1"
    assert criterion({"resourceType": "Provenance", "id": "x"}).startswith("_tag=")
    study = {
        "resourceType": "ImagingStudy",
        "id": "s",
        "identifier": [
            {"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:a", "value": "7"},
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        ],
    }
    assert criterion(study) == "identifier=urn%3Adicom%3Auid%7Curn%3Aoid%3A1.2.3"


def test_references_are_rewritten_to_the_names_at_the_server() -> None:
    foreign = frozenset({"Patient", "Observation"})
    known = Translation(foreign, {"Patient/p1": "77"})
    assert known.of(DOSE)["subject"] == {"reference": "Patient/77"}
    assert "id" not in known.of(DOSE)
    assert known.is_complete
    assert is_ours(known.of(DOSE), DOSE)
    assert known.of(PATIENT)["id"] == "77"
    together = Translation(foreign, {}, frozenset({"Patient/p1"}))
    assert together.of(DOSE)["subject"] == {"reference": "urn:uuid:p1"}
    unknown = Translation(foreign, {})
    assert unknown.of(DOSE)["subject"] == {"type": "Patient", "identifier": {"system": OWN_ID, "value": "p1"}}
    assert not unknown.is_complete
    assert Translation(frozenset(), {}).of(DOSE) == DOSE


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.PARK),
        (401, Verdict.DOWN),
        (404, Verdict.DOWN),
        (408, Verdict.RETRY),
        (409, Verdict.RETRY),
        (412, Verdict.RETRY),
        (422, Verdict.PARK),
        (425, Verdict.RETRY),
        (429, Verdict.DOWN),
        (500, Verdict.RETRY),
        (503, Verdict.DOWN),
        (302, Verdict.DOWN),
    ],
)
def test_each_status_asks_for_one_thing(status: int, verdict: Verdict) -> None:
    assert classify(refusal(status, {}, None)) is verdict


@pytest.mark.parametrize(("status", "code"), [(412, "multiple-matches"), (409, "business-rule")])
def test_a_refusal_that_stays_is_for_a_person(status: int, code: str) -> None:
    body = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}
    assert isinstance(refusal(status, {}, body), Quarantined)
    assert isinstance(refusal(status, {}, None), Retryable)


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    error = refusal(429, {"Retry-After": "120"}, None)
    assert isinstance(error, Retryable)
    assert error.wait_secs == 120
    assert retry_after_secs("Thu, 01 Jan 1970 00:02:00 GMT", now=20) == 100
    assert retry_after_secs("soon", now=0) is None


def test_what_a_server_quotes_back_is_not_repeated() -> None:
    body = {
        "resourceType": "OperationOutcome",
        "issue": [
            {"severity": "warning", "code": "informational", "diagnostics": "about Tester"},
            {
                "severity": "error",
                "code": "value",
                "expression": ["Patient.birthDate"],
                "diagnostics": "Patient.birthDate of Tester, Invented (A|1,2): 1960-01-02 is not 'a date of 19600102'",
            },
        ],
    }
    text = outcome_text(body, sent=PATIENT)
    assert text.startswith("value Patient.birthDate")
    assert "is not" in text
    for secret in ("Tester", "Invented", "A|1", "1960", "19600102"):
        assert secret not in text


def test_a_target_that_is_down_is_knocked_at_ever_less_often_and_taken_up_at_once_when_it_answers() -> None:
    circuit, pauses = Circuit(), []
    assert not circuit.is_probing
    for number in range(12):
        pauses.append(circuit.failed(now=1000.0 * number, luck=0.999))
        assert circuit.pause_secs(1000.0 * number) == pytest.approx(pauses[-1])
        assert circuit.is_probing
    assert pauses == sorted(pauses)
    assert pauses[0] < 1.1 < LONGEST_PAUSE_SECS / 2 < pauses[-1] <= LONGEST_PAUSE_SECS
    assert circuit.answered()
    assert not circuit.is_probing
    assert circuit.pause_secs(12000.0) == 0
    assert not circuit.answered()


def test_a_pause_that_the_target_asks_for_is_kept() -> None:
    assert Circuit().failed(now=0, luck=0, wait_secs=30) == 30
