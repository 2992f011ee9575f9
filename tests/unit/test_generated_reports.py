"""Dose reports as whole files, written and read by pydicom: what a CT comes to as HL7's Radiation Dose Summary, enhanced reports, patient
dose reports."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway import config
from gateway.fhir.radiation_dose_summary import MODALITY_DEVICE, RDS, lacks_of_device, lacks_of_summary
from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.understanding import Understanding, understanding
from gateway.workbench.convert import convert
from gateway.workbench.coverage import coverage
from gateway.workbench.sample_report import container
from tests.builders import CASE, ct, rrdsr, write
from tests.builders_sr import ct_dose_report, dcm, enhanced_dose_report, patient_dose_report, table
from tests.unit.mapping_files import SHIPPED

TYPES = "http://hl7.org/fhir/uv/radiation-dose-summary/CodeSystem/dicom-identifier-type"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Understanding:
    data = tmp_path_factory.mktemp("data")
    return understanding(config.load(None, overrides=[f"data.directory={data}"]).settings, directory=SHIPPED)


@pytest.fixture
def publish(site: Understanding, tmp_path: Path) -> Any:
    def published(*objects: Dataset) -> list[JsonObject]:
        paths = [write(one, tmp_path / f"{number}.dcm") for number, one in enumerate(objects)]
        made = convert(paths, site, recorded="2026-01-01T00:00:00.000+00:00")
        assert made.complete, made.problems
        return [item for bundle in made.bundles for item in resources_of(bundle)]

    return published


def of_type(resources: list[JsonObject], kind: str) -> list[JsonObject]:
    return [one for one in resources if one["resourceType"] == kind]


def with_code(resources: list[JsonObject], code: str) -> list[JsonObject]:
    return [
        one
        for one in of_type(resources, "Observation")
        if code in [coding.get("code") for coding in one["code"].get("coding", ())]
    ]


def test_a_ct_report_is_hl7s_summary_with_each_required_element(publish: Any) -> None:
    resources = publish(ct(), ct_dose_report(VerificationFlag="VERIFIED"))
    (summary,) = with_code(resources, "73569-6")
    (study,) = of_type(resources, "ImagingStudy")
    (patient,) = {one["id"] for one in of_type(resources, "Patient")}
    image = f"ImagingStudy/{study['id']}"
    assert summary["meta"]["profile"] == [RDS]
    (identifier,) = summary["identifier"]
    assert identifier["type"]["coding"][0] == {"system": TYPES, "code": "sop-instance-uid", "display": "SOP Instance UID"}
    assert (identifier["system"], identifier["value"]) == ("urn:dicom:uid", f"urn:oid:{ct_dose_report().SOPInstanceUID}")
    (part,) = summary["partOf"]
    assert part["reference"] == image
    assert part["identifier"]["type"]["coding"][0]["code"] == "study-instance-uid"
    assert part["identifier"]["value"] == f"urn:oid:{CASE.uid('study')}"
    (order,) = summary["basedOn"]
    assert order["type"] == "ServiceRequest"
    assert order["identifier"]["type"]["coding"] == [
        {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN", "display": "Accession ID"}
    ]
    accession = next(one for one in study["identifier"] if one["value"] == CASE.accession_number)
    assert (order["identifier"]["system"], order["identifier"]["value"]) == (accession["system"], accession["value"])
    assert summary["status"] == "final"
    assert summary["code"]["coding"][0]["system"] == "http://loinc.org"
    assert summary["subject"] == {"reference": f"Patient/{patient}"}
    assert summary["focus"] == [{"reference": image}]
    assert summary["effectiveDateTime"] == CASE.pet_at.isoformat()
    (performer,) = summary["performer"]
    person = next(one for one in of_type(resources, "Practitioner") if performer["reference"] == f"Practitioner/{one['id']}")
    assert person["name"][0]["family"] == "INVENTED"
    assert summary["valueString"] == "CT dose-length product total 412.5 mGy.cm"
    assert "dataAbsentReason" not in summary
    assert "specimen" not in summary
    told = {part["code"]["coding"][0]["code"]: part for part in summary["component"]}
    assert told["121058"]["valueCodeableConcept"]["coding"][0]["code"] == "77477000"
    assert told["113813"]["valueQuantity"]["value"] == Decimal("412.5")
    assert list(lacks_of_summary(summary)) == []


def test_the_modality_device_of_a_ct_has_its_ae_title_and_type(publish: Any) -> None:
    resources = publish(ct_dose_report())
    (summary,) = with_code(resources, "73569-6")
    device = next(one for one in of_type(resources, "Device") if summary["device"]["reference"] == f"Device/{one['id']}")
    assert device["meta"]["profile"] == [MODALITY_DEVICE]
    assert {one["type"]["coding"][0]["code"]: one["value"] for one in device["identifier"]} == {
        "application-entity": "CT1",
        "SNO": "S-42",
        "device-uid": f"urn:oid:{ct_dose_report().ContentSequence[2].UID}",
    }
    assert device["type"]["coding"][0]["code"] == "CT"
    assert {one["type"]: one["name"] for one in device["deviceName"]} == {
        "manufacturer-name": "Example",
        "model-name": "CT-1",
        "user-friendly-name": "CT 1",
    }
    assert list(lacks_of_device(device)) == []


@pytest.mark.parametrize(
    "header",
    [{"StationAETitle": ""}, {"ManufacturerModelName": "Dose software"}],
    ids=["no AE title", "the header is that of other software"],
)
def test_a_device_whose_ae_title_nobody_tells_is_the_author_of_the_report_only(publish: Any, header: JsonObject) -> None:
    resources = publish(ct_dose_report(**header))
    (summary,) = with_code(resources, "73569-6")
    (document,) = of_type(resources, "DocumentReference")
    assert "device" not in summary
    assert summary["meta"]["profile"] == [RDS]  # the device is not required
    device = next(one for one in of_type(resources, "Device") if {"reference": f"Device/{one['id']}"} in document["author"])
    assert (device["serialNumber"], "profile" in device.get("meta", {})) == ("S-42", False)


@pytest.mark.parametrize("authorizer", [None, "Nobody", "Unknown"])
def test_without_somebody_who_authorised_it_a_ct_claims_our_profile(publish: Any, authorizer: str | None) -> None:
    (summary,) = with_code(publish(ct_dose_report(authorizer=authorizer)), "73569-6")
    assert "performer" not in summary
    assert summary["meta"]["profile"] == ["http://isobridge.org/fhir/StructureDefinition/nm-radiation-dose-summary"]


def test_objects_of_one_study_that_name_two_orders_leave_the_order_out(publish: Any) -> None:
    (summary,) = with_code(publish(ct(AccessionNumber="OTHER"), ct_dose_report()), "73569-6")
    assert "basedOn" not in summary


def test_the_summary_of_an_administration_names_its_order(publish: Any) -> None:
    (summary,) = with_code(publish(rrdsr()), "73569-6")
    assert summary["basedOn"][0]["identifier"]["value"] == CASE.accession_number


def test_an_enhanced_report_of_a_ct_is_read_by_its_concepts(site: Understanding, publish: Any, tmp_path: Path) -> None:
    resources = publish(enhanced_dose_report())
    (length,) = (one for one in with_code(resources, "113813") if "valueQuantity" in one)
    assert (length["valueQuantity"]["value"], length["valueQuantity"]["code"]) == (Decimal("412.5"), "mGy.cm")
    (area,) = with_code(resources, "113722")
    assert (area["valueQuantity"]["value"], area["valueQuantity"]["code"]) == (Decimal("0.000015"), "Gy.m2")
    assert unknown(site, write(enhanced_dose_report(), tmp_path / "enhanced.dcm")) == 0


def test_a_patient_dose_report_is_bound_to_the_administration_that_it_names(
    site: Understanding, publish: Any, tmp_path: Path
) -> None:
    resources = publish(rrdsr(), patient_dose_report())
    (given,) = of_type(resources, "MedicationAdministration")
    (dose,) = with_code(resources, "128533")
    assert (dose["valueQuantity"]["value"], dose["valueQuantity"]["code"]) == (Decimal("4.36"), "Gy")
    assert dose["partOf"] == [{"reference": f"MedicationAdministration/{given['id']}"}]
    assert (dose["bodySite"]["coding"][0]["code"], dose["status"]) == ("64033007", "preliminary")
    assert "7771000" in [c["code"] for p in dose["component"] for c in p.get("valueCodeableConcept", {}).get("coding", ())]
    assert unknown(site, write(patient_dose_report(), tmp_path / "patient.dcm")) == 0


def test_a_table_in_a_report_is_left_with_a_reason_and_gives_no_number(site: Understanding, publish: Any, tmp_path: Path) -> None:
    """TID 10043 tells the irradiation moment by moment; also under a name that is read elsewhere."""
    rows = [["1", "0.2"], ["2", "0.3"]]
    columns = [(dcm("130502", "Time"), "s"), (dcm("113813", "CT Dose Length Product Total"), "mGy.cm")]
    tables = [table(dcm(code, "A table"), columns, rows) for code in ("113813", "130503")]
    document = enhanced_dose_report(container(dcm("130500", "Accumulated Dose Data"), tables))
    path = write(document, tmp_path / "table.dcm")
    assert unknown(site, path) == 0
    left = [one for one in coverage([path], site.mappings).ignored if "table" in one.reason]
    assert sorted(one.path.split(" / ")[-1] for one in left) == ["113813 DCM", "130503 DCM"]
    told = with_code(publish(document), "113813")
    assert [one["valueQuantity"]["value"] for one in told if "valueQuantity" in one] == [Decimal("412.5")]
    (without,) = (one for one in told if "valueQuantity" not in one)  # something was told there, and nobody can use it
    assert without["dataAbsentReason"]["coding"][0]["code"] == "error"
    assert "value type that holds no value" in " ".join(issue.reason for issue in site.read(path).shared.issues)


def unknown(site: Understanding, path: Path) -> int:
    """How many content items are neither read nor left on purpose."""
    (tree,) = coverage([path], site.mappings).trees.values()
    assert tree.read >= 10
    return tree.unknown
