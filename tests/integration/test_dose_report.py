"""A radiopharmaceutical dose report from the file to FHIR: the worked example of an FDG PET, its twins, its corrections."""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest

from gateway.config import Settings
from gateway.dicom.reading import header_of
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.mapping.example import encode
from gateway.mapping.language import load
from gateway.model import JsonObject, Record
from gateway.normalise.record import SiteContext
from gateway.r4.bundles import resources_of
from gateway.understanding import Understanding
from gateway.workbench.convert import convert
from gateway.workbench.coverage import coverage
from tests.integration.test_reconciliation import Hospital
from tests.worked_example import ADMINISTRATION, REPORT, changed, of_kind, pet_header, retired

ROOT = Path(__file__).resolve().parents[2]
RECORDED = "2026-03-02T12:00:00.000+00:00"


@pytest.fixture(scope="module")
def understanding() -> Understanding:
    site, mappings = Settings().site, load(ROOT / "mappings")
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of thirty-two bytes, or so"), accession_system=site.accession_system),
    )


def record(understanding: Understanding, tree: JsonObject) -> Record:
    return understanding.understand(header_of(encode(tree)))


def facts(understanding: Understanding, *records: Record) -> list[JsonObject]:
    shared = [one.shared for one in records]
    bundle = understanding.dossier_bundle(understanding.dossier("sys|EX-1", shared, {}), shared, recorded=RECORDED)
    assert bundle is not None
    return [item for item in resources_of(bundle.body) if item["resourceType"] != "Provenance"]


def test_the_worked_example_comes_out_whole(understanding: Understanding) -> None:
    found = facts(understanding, record(understanding, REPORT))
    (given,) = (item for item in found if item["resourceType"] == "MedicationAdministration")
    assert given["dosage"]["dose"] == {"value": 350, "unit": "MBq", "system": "http://unitsofmeasure.org", "code": "MBq"}
    assert given["dosage"]["site"]["text"].endswith(", left")
    assert "note" not in given  # 382.0 MBq before and 8.4 MBq after come to 349.95 MBq: within 1 %
    (medication,) = (item for item in found if item["resourceType"] == "Medication")
    assert (medication["identifier"][0]["value"], medication["batch"]) == ("DU-778", {"lotNumber": "LOT-42"})
    (person,) = (item for item in found if item["resourceType"] == "Practitioner")
    assert given["performer"][0]["actor"] == {"reference": f"Practitioner/{person['id']}"}
    bladder = of_kind(found, "113518")
    quantity = bladder["valueQuantity"]
    assert (str(quantity["value"]), quantity["code"], bladder["status"]) == ("0.0455", "Gy", "final")
    stated = quantity["extension"][0]["valueQuantity"]
    assert (str(stated["value"]), stated["code"]) == ("45.5", "mGy")
    assert bladder["method"] == {"text": "ICRP Publication 128"}
    assert str(of_kind(found, "113839")["valueQuantity"]["value"]) == "6.65"
    assert [str(of_kind(found, code)["valueQuantity"]["value"]) for code in ("29463-7", "8302-2", "14749-6")] == [
        "75",
        "175",
        "5.4",
    ]
    observations = [item for item in found if item["resourceType"] == "Observation"]
    me = {"reference": f"MedicationAdministration/{given['id']}"}
    assert len(observations) == 7  # with the summary of the administration
    assert all(me in item["partOf"] for item in observations)
    (report,) = (item for item in found if item["resourceType"] == "DiagnosticReport")
    assert len(report["result"]) == 5  # all but the administered activity, which is the administration's own


def test_a_twin_in_retired_codes_gives_the_same_fhir(understanding: Understanding) -> None:
    twin = {**REPORT, "sr": retired(REPORT["sr"])}
    assert facts(understanding, record(understanding, twin)) == facts(understanding, record(understanding, REPORT))


@pytest.mark.parametrize(
    ("number", "unit"), [("350000000", "Bq"), ("0.35", "GBq"), ("9.45945945945946", "mCi"), ("350000", "kBq")]
)
def test_an_activity_in_any_unit_is_the_same_activity(understanding: Understanding, number: str, unit: str) -> None:
    found = facts(understanding, record(understanding, changed("113502 DCM/113507 DCM", {"num": number, "unit": unit})))
    (given,) = (item for item in found if item["resourceType"] == "MedicationAdministration")
    dose = given["dosage"]["dose"]
    assert (str(dose["value"]), dose["code"], dose["extension"][0]["valueQuantity"]["code"]) == ("350", "MBq", unit)
    assert "tag" not in given.get("meta", {})


def test_an_image_of_350_bq_is_repaired_and_stays_the_same_administration(understanding: Understanding) -> None:
    image = pet_header(
        RadionuclideCodeSequence=[{"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "^18^Fluorine"}]
    )
    header = record(understanding, image)
    alone = facts(understanding, header)
    (repaired,) = (item for item in alone if item["resourceType"] == "MedicationAdministration")
    stated = repaired["dosage"]["dose"]["extension"][0]["valueQuantity"]
    assert (str(stated["value"]), stated["code"]) == ("350", "Bq")
    assert repaired["note"][-1]["text"].startswith("Activity repaired: the source says 350 Bq;")
    assert header.shared.administrations[0]["activity"]["value"] == 350
    assert header.shared.administrations[0]["activity_repaired"] is True
    for order in ([REPORT, image], [image, REPORT]):
        found = facts(understanding, *(record(understanding, tree) for tree in order))
        (given,) = (item for item in found if item["resourceType"] == "MedicationAdministration")
        assert str(given["dosage"]["dose"]["value"]) == "350"
        assert "tag" not in given.get("meta", {})  # the report's number stands, and was never repaired


def test_what_is_withheld_is_told_where_the_document_is_told_of(understanding: Understanding) -> None:
    """A therapy whose report has nothing but an effective dose."""
    tree = changed("363589002 SCT/363703001 SCT", {"code": "262202000 SCT"})
    del tree["sr"]["113502 DCM"]["items"]["113517 DCM"], tree["sr"]["121118 DCM"]
    found = facts(understanding, record(understanding, tree))
    assert not any("effective-dose" in str(item.get("code")) for item in found if item["resourceType"] == "Observation")
    (report,) = (item for item in found if item["resourceType"] == "DiagnosticReport")
    assert "explicitly diagnostic" in report["extension"][0]["valueString"]
    assert "result" not in report


def test_a_partial_report_is_never_final_though_somebody_verified_it(understanding: Understanding) -> None:
    found = facts(understanding, record(understanding, {**REPORT, "CompletionFlag": "PARTIAL"}))
    assert {item["status"] for item in found if item["resourceType"] == "Observation"} == {"preliminary"}
    assert [item["status"] for item in found if item["resourceType"] == "DiagnosticReport"] == ["partial"]
    assert [item["docStatus"] for item in found if item["resourceType"] == "DocumentReference"] == ["preliminary"]


def test_converting_tells_what_is_withheld(tmp_path: Path, understanding: Understanding) -> None:
    path = tmp_path / "therapy.dcm"
    path.write_bytes(encode(changed("363589002 SCT/363703001 SCT", {"code": "262202000 SCT"})))
    made = convert([path], understanding, recorded=RECORDED)
    (told,) = (one for one in made.problems if one.field == "effective-dose")
    assert (told.path, made.complete) == (path, True)
    assert told.reason == "Effective dose is withheld: it is published only where the procedure is explicitly diagnostic."


def test_sending_it_again_changes_nothing(tmp_path: Path, understanding: Understanding) -> None:
    hospital = Hospital(tmp_path, understanding)
    hospital.take(record(understanding, REPORT))
    hospital.publish()
    before = hospital.resources()
    hospital.take(record(understanding, REPORT))
    hospital.publish()
    assert hospital.resources() == before
    hospital.ledger.close()


def test_a_successor_amends_what_it_changes_and_takes_back_what_it_leaves_out(
    tmp_path: Path, understanding: Understanding
) -> None:
    hospital = Hospital(tmp_path, understanding)
    hospital.take(record(understanding, REPORT))
    hospital.publish()
    first = {item["id"]: item for item in hospital.resources() if item["resourceType"] == "Observation"}
    item = copy.deepcopy(ADMINISTRATION["113517 DCM"])
    item["items"]["113518 DCM"]["num"] = "46.1"
    successor = changed("113502 DCM/113517 DCM", item)
    del successor["sr"]["113502 DCM"]["items"]["113839 DCM"]
    successor |= {
        "SOPInstanceUID": "2.25.32",
        "PredecessorDocumentsSequence": [
            {"ReferencedSeriesSequence": [{"ReferencedSOPSequence": [{"ReferencedSOPInstanceUID": "2.25.31"}]}]}
        ],
    }
    hospital.take(record(understanding, successor))
    hospital.publish()
    after = hospital.resources()
    bladder, effective = of_kind(after, "113518"), of_kind(after, "113839")
    assert (bladder["status"], str(bladder["valueQuantity"]["value"])) == ("amended", "0.0461")
    assert (effective["status"], str(effective["valueQuantity"]["value"])) == ("entered-in-error", "6.65")
    assert {bladder["id"], effective["id"]} <= first.keys()
    assert of_kind(after, "29463-7")["status"] == "final"
    documents = {item["status"]: item for item in after if item["resourceType"] == "DocumentReference"}
    assert documents["current"]["relatesTo"] == [
        {"code": "replaces", "target": {"reference": f"DocumentReference/{documents['superseded']['id']}"}}
    ]
    hospital.ledger.close()


@pytest.mark.needs("data")
def test_a_real_report_of_a_biograph_is_read_whole(data: Path, understanding: Understanding) -> None:
    """Compared with values read by pydicom alone: every organ dose, the effective dose of the private container, nothing unread."""
    path = data / "rrdsr" / "NM-RRDSR-Siemens.dcm"
    organs = {
        (site.ConceptCodeSequence[0].CodeMeaning, Decimal(str(dose.MeasuredValueSequence[0].NumericValue)) / 1000)
        for item in _below(pydicom.dcmread(path), "113502")
        if item.ConceptNameCodeSequence[0].CodeValue == "113517"
        for site in item.ContentSequence
        if site.ConceptNameCodeSequence[0].CodeMeaning == "Finding Site"
        for dose in item.ContentSequence
        if dose.ConceptNameCodeSequence[0].CodeValue == "113518"
    }
    found = facts(understanding, understanding.read(path))
    doses = [item for item in found if "113518" in [coding["code"] for coding in item.get("code", {}).get("coding", ())]]
    assert len(doses) == len(organs) == 22
    assert sorted(Decimal(item["valueQuantity"]["value"]) for item in doses) == sorted(number for _, number in organs)
    assert all(item["status"] == "preliminary" and "partOf" in item for item in doses)  # the report is UNVERIFIED
    assert str(of_kind(found, "113839")["valueQuantity"]["value"]) == "7.486"
    unread = coverage([path], understanding.mappings).unread
    assert [one.path for one in unread if one.vr == "SR"] == []


@pytest.mark.needs("data")
def test_totals_that_an_x_ray_system_names_without_a_number_are_told_as_unknown(data: Path, understanding: Understanding) -> None:
    read = understanding.read(data / "rdsr" / "DX-RDSR-Canon_CXDI_noDAP.dcm")
    empty = [one for one in read.shared.results if "value" not in one]
    assert {one["code"]["code"] for one in empty} == {"113722", "113725", "113727", "113729"}
    assert all(one["absent"] == "unknown" for one in empty)
    reasons = [issue.reason for issue in read.shared.issues if issue.field.startswith("results.xray_dose")]
    assert reasons == ["is named without a number"] * 4
    found = facts(understanding, read)
    for code in ("113722", "113725", "113727", "113729"):
        assert of_kind(found, code)["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert str(of_kind(found, "113855")["valueQuantity"]["value"]) == "0.0218"


def _below(dataset: pydicom.Dataset, code: str) -> list[pydicom.Dataset]:
    return [
        inner
        for item in dataset.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == code
        for inner in item.ContentSequence
    ]
