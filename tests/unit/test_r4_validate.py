"""Promises of the validator: it finds what is wrong, says where, quotes nothing, and lets good resources through."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.r4 import definitions
from gateway.r4.canonical import decode, encode
from gateway.r4.validate import validate

DATA = Path(os.environ.get("ISOBRIDGE_TEST_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
UCUM = "http://unitsofmeasure.org"


def observation() -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "suv-1",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        "status": "final",
        "code": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "126401"}], "text": "SUVbw"},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-01-02T10:00:00.120+01:00",
        "issued": "2026-01-02T10:00:00Z",
        "performer": [{"reference": "Organization/o1"}],
        "valueQuantity": {"value": Decimal("1.50"), "unit": "g/ml", "system": UCUM, "code": "g/ml{SUVbw}"},
        "component": [{"code": {"text": "mean"}, "valueInteger": 3}],
    }


def patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": "p1",
        "active": True,
        "name": [{"family": "Test", "given": ["A\u00a0B"]}],
        "birthDate": "1970-02",
        "contact": [{"name": {"text": "someone"}, "period": {"start": "2020-01-01", "end": "2020"}}],
        "multipleBirthInteger": 2,
    }


def imaging_study() -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "id": "s1",
        "status": "available",
        "subject": {"reference": "Patient/p1"},
        "started": "2026-01-02T10:00:00+01:00",
        "numberOfSeries": 1,
        "series": [
            {
                "uid": "1.2.3",
                "number": 0,
                "modality": {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "PT"},
                "instance": [
                    {"uid": "1.2.3.4", "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.128"}}
                ],
            }
        ],
    }


def administration() -> dict[str, Any]:
    return {
        "resourceType": "MedicationAdministration",
        "id": "a1",
        "status": "completed",
        "medicationReference": {"reference": "#tracer"},
        "contained": [{"resourceType": "Medication", "id": "tracer", "code": {"text": "FDG"}}],
        "subject": {"reference": "Patient/p1"},
        "effectivePeriod": {"start": "2026-01-02T10:00:00+01:00", "end": "2026-01-02T09:00:01Z"},
        "dosage": {"dose": {"value": Decimal("394.0"), "unit": "MBq", "system": UCUM, "code": "MBq"}},
        "extension": [{"url": "http://example.org/x", "valueBoolean": True}],
    }


def bundle() -> dict[str, Any]:
    request = {"method": "PUT", "url": "Patient/p1"}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000001", "resource": patient(), "request": request},
            {"fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000002", "resource": observation(), "request": request},
        ],
    }


MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "Observation": observation,
    "Patient": patient,
    "ImagingStudy": imaging_study,
    "MedicationAdministration": administration,
    "Bundle": bundle,
}

DELETE = object()

# name of the fault, resource, place, what is put there, what the complaint must hold
FAULTS: list[tuple[str, str, tuple[str | int, ...], Any, str]] = [
    ("unknown field", "Observation", ("colour",), "red", "Observation.colour"),
    ("unknown resource type", "Observation", ("resourceType",), "Observatoin", "resourceType"),
    ("required primitive missing", "Observation", ("status",), DELETE, "status is missing"),
    ("wrong code in a required binding", "Observation", ("status",), "done", "Observation.status"),
    ("wrong code, study status", "ImagingStudy", ("status",), "complete", "ImagingStudy.status"),
    ("wrong code, administration status", "MedicationAdministration", ("status",), "done", "MedicationAdministration.status"),
    ("two values", "Observation", ("valueString",), "x", "only one value[x]"),
    ("number as string", "Observation", ("valueQuantity", "value"), "1.50", "valueQuantity.value"),
    ("boolean as string", "Patient", ("active",), "true", "Patient.active"),
    ("month 13", "Patient", ("birthDate",), "1970-13-01", "Patient.birthDate"),
    ("30 February", "Patient", ("birthDate",), "1970-02-30", "does not exist"),
    ("clock time without zone", "Observation", ("effectiveDateTime",), "2026-01-02T10:00:00", "effectiveDateTime"),
    ("instant without zone", "Observation", ("issued",), "2026-01-02T10:00:00", "Observation.issued"),
    ("reference to a forbidden type", "Observation", ("performer", 0, "reference"), "Device/d", "performer[0].reference"),
    ("id with a blank", "Observation", ("id",), "suv 1", "Observation.id"),
    ("scalar where a list is due", "Observation", ("performer",), {"reference": "Patient/p"}, "Observation.performer"),
    ("empty list", "Observation", ("performer",), [], "empty list"),
    ("empty object", "Observation", ("subject",), {}, "empty object"),
    ("null", "Observation", ("issued",), None, "Observation.issued"),
    ("null in a list", "Patient", ("name", 0, "given"), [None], "given[0]: is null"),
    ("no medication", "MedicationAdministration", ("medicationReference",), DELETE, "medication[x] is missing"),
    ("series without uid", "ImagingStudy", ("series", 0, "uid"), DELETE, "series[0]: uid is missing"),
    ("extension without url", "MedicationAdministration", ("extension", 0, "url"), DELETE, "extension[0].url: is missing"),
    ("obs-6", "Observation", ("dataAbsentReason",), {"text": "unknown"}, "obs-6"),
    ("obs-7", "Observation", ("component", 0, "code"), observation()["code"], "obs-7"),
    ("mad-1", "MedicationAdministration", ("dosage",), {"text": "all of it"}, "mad-1"),
    ("pat-1", "Patient", ("contact", 0, "name"), DELETE, "pat-1"),
    ("ext-1", "MedicationAdministration", ("extension", 0, "valueBoolean"), DELETE, "ext-1"),
    ("bdl-7", "Bundle", ("entry", 1, "fullUrl"), "urn:uuid:00000000-0000-0000-0000-000000000001", "bdl-7"),
    ("per-1", "MedicationAdministration", ("effectivePeriod", "end"), "2026-01-02T09:59:59+01:00", "per-1"),
    ("dom-3", "MedicationAdministration", ("medicationReference", "reference"), "Medication/m", "dom-3"),
    ("qty-3", "Observation", ("valueQuantity", "system"), DELETE, "qty-3"),
    ("sopClass missing", "ImagingStudy", ("series", 0, "instance", 0, "sopClass"), DELETE, "sopClass: is missing"),
    ("R5 shape", "ImagingStudy", ("series", 0, "modality"), {"coding": [{"code": "PT"}]}, "series[0].modality.coding"),
    ("code with leading blank", "ImagingStudy", ("series", 0, "modality", "code"), " PT", "modality.code"),
    ("negative unsignedInt", "ImagingStudy", ("numberOfSeries",), -1, "numberOfSeries"),
    ("bad uid", "ImagingStudy", ("series", 0, "uid"), "1.2/3", "series[0].uid"),
    ("UCUM syntax error", "MedicationAdministration", ("dosage", "dose", "code"), "Mbq", "dosage.dose.code"),
    ("dangling local reference", "MedicationAdministration", ("medicationReference", "reference"), "#other", "ref-1"),
    ("control character", "Observation", ("code", "text"), "SUV\x00", "Observation.code.text"),
]


def spoil(resource: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    node: Any = resource
    for part in place[:-1]:
        node = node[part]
    if value is DELETE:
        del node[place[-1]]
    else:
        node[place[-1]] = copy.deepcopy(value)
    return resource


@pytest.mark.parametrize("kind", MAKERS)
def test_a_good_resource_has_no_complaints(kind: str) -> None:
    assert validate(MAKERS[kind]()) == []


@pytest.mark.parametrize(("kind", "place", "value", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_planted_fault_is_found_and_located(kind: str, place: tuple[str | int, ...], value: Any, expected: str) -> None:
    complaints = validate(spoil(MAKERS[kind](), place, value))
    assert any(expected in complaint for complaint in complaints), complaints


def test_a_fault_inside_a_bundle_names_the_entry() -> None:
    assert validate(spoil(bundle(), ("entry", 1, "resource", "status"), "done"))[0].startswith("Bundle.entry[1].resource.status:")


def test_no_complaint_quotes_a_value() -> None:
    spoilt = spoil(patient(), ("name", 0, "family"), ["MUSTERMANN"])
    spoilt["birthDate"] = "MUSTERMANN"
    assert "MUSTERMANN" not in " ".join(validate(spoilt))


def test_a_site_can_add_a_unit() -> None:
    resource = spoil(observation(), ("valueQuantity", "code"), "[degF]")
    assert validate(resource)
    assert validate(resource, more_units={"[degF]"}) == []


def test_a_list_of_primitives_may_hold_a_null_beside_its_extension() -> None:
    resource = patient()
    resource["name"][0] |= {
        "given": [None, "B"],
        "_given": [{"extension": [{"url": "http://example.org/x", "valueCode": "masked"}]}, None],
    }
    assert validate(resource) == []


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    "path",
    sorted((DATA / "fhir-examples" / "r4-core").glob("*.json"))
    + sorted((DATA / "fhir-examples" / "radiation-dose-summary-ig" / "examples").glob("*.json"))
    + sorted((DATA / "fhir-examples" / "ihe-imr-r4").glob("*.json")),
    ids=lambda path: path.name,
)
def test_official_r4_examples_raise_no_false_alarm(path: Path) -> None:
    assert validate(decode(path.read_bytes())) == []


@pytest.mark.parametrize("kind", ["Observation", "Patient", "ImagingStudy", "MedicationAdministration"])
def test_an_independent_model_accepts_what_we_accept(kind: str) -> None:
    models = pytest.importorskip("fhir.resources.R4B")
    model = models.get_fhir_model_class(kind)
    assert model.model_validate_json(encode(MAKERS[kind]()))


def test_every_type_has_a_schema_that_compiles() -> None:
    for kind in definitions.resource_types():
        assert isinstance(validate({"resourceType": kind}), list)
