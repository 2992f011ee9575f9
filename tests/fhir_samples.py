"""A few made-up resources that stand in for a small nuclear medicine department."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from gateway.store import FhirStore

DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": "urn:hospital", "value": "H1"}],
    "name": [{"family": "Müller", "given": ["Änne", "Zoë"]}],
    "gender": "female",
    "birthDate": "1970-02-03",
}


def study(name: str, modality: str, uid: str, started: str, *, images: int = 30) -> dict[str, Any]:
    coding = {"system": DCM, "code": modality}
    sop_class = {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.128"}
    instances = [{"uid": f"{uid}.1.{number}", "sopClass": sop_class, "number": number} for number in range(1, images + 1)]
    return {
        "resourceType": "ImagingStudy",
        "id": name,
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": "available",
        "modality": [coding],
        "subject": {"reference": "Patient/p1"},
        "started": started,
        "series": [{"uid": f"{uid}.1", "modality": coding, "instance": instances}],
    }


PT_STUDY = study("pt", "PT", "1.2.840.99.1", "2026-01-31T23:30:00+01:00")
NM_STUDY = study("nm", "NM", "1.2.840.99.2", "2026-02-28T10:00:00+01:00")


def observation(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": DCM, "code": "126401", "display": "SUVbw"}]},
        "subject": {"reference": "Patient/p1"},
        "derivedFrom": [{"reference": "ImagingStudy/pt"}],
        "effectiveDateTime": f"2026-01-{10 + number}T10:00:00+01:00",
        "valueQuantity": {"value": Decimal(f"{number - 1}.50"), "unit": "g/ml", "system": UCUM, "code": "g/ml{SUVbw}"},
    }


OBSERVATIONS = [observation(number) for number in range(1, 9)]


def transaction(*resources: dict[str, Any]) -> dict[str, Any]:
    """A transaction that puts the resources under their own ids."""
    entries = [
        {"resource": item, "request": {"method": "PUT", "url": f"{item['resourceType']}/{item['id']}"}} for item in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def deletion(kind: str, logical_id: str) -> dict[str, Any]:
    request = {"method": "DELETE", "url": f"{kind}/{logical_id}"}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]}


def filled(store: FhirStore) -> FhirStore:
    """Put the samples into a store: among them a device with two versions and a patient that was deleted."""
    device = {"resourceType": "Device", "id": "d1", "status": "active"}
    store.transact(transaction(PATIENT, PT_STUDY, NM_STUDY, *OBSERVATIONS, device, {**PATIENT, "id": "deleted"}))
    store.transact(transaction({**device, "status": "inactive"}))
    store.transact(deletion("Patient", "deleted"))
    return store
