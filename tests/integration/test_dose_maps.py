"""Dose maps and dose sheets end to end: through the door, the worker and the store to what a researcher finds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from tests.builders import ct, pet, rt_dose, structure_set, uid
from tests.conftest import ROOT
from tests.web_site import Site

PDF = b"%PDF-1.4 an invented dosimetry report"
SHEET = ROOT.parent / "shared" / "data" / "sc" / "encapsulated_pdf_dosimetry_dcmtk.dcm"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path / "site")
    yield running
    running.close()


def found(site: Site, kind: str, **query: str) -> list[dict[str, Any]]:
    answer = site.get(f"/fhir/{kind}", params={"_count": "100", **query}).json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def absorbed(site: Site) -> list[dict[str, Any]]:
    return found(site, "Observation", code="organ-absorbed-dose")


def pdf() -> Dataset:
    dataset = ct(
        SOPInstanceUID=uid("pdf"), SeriesInstanceUID=uid("pdf-series"), SOPClassUID=EncapsulatedPDFStorage, Modality="DOC"
    )
    del dataset.PixelData
    dataset.MIMETypeOfEncapsulatedDocument, dataset.DocumentTitle = "application/pdf", "Dosimetry report"
    dataset.EncapsulatedDocument, dataset.EncapsulatedDocumentLength = PDF + b"\0", len(PDF)
    return dataset


def test_a_dose_map_without_names_gets_them_when_the_structure_set_comes(site: Site) -> None:
    site.put(pet(), rt_dose())
    site.work()
    first = {item["id"]: item for item in absorbed(site)}
    assert len(first) == 6
    assert {item["bodySite"]["text"] for item in first.values()} == {"ROI 1", "ROI 2"}
    administration = f"MedicationAdministration/{found(site, 'MedicationAdministration')[0]['id']}"
    assert all(item["partOf"] == [{"reference": administration}] for item in first.values())
    site.put(structure_set())
    site.work()
    later = {item["id"]: item for item in absorbed(site)}
    assert later.keys() == first.keys()
    assert {item["bodySite"]["text"] for item in later.values()} == {"Left kidney", "VOI 7 (invented)"}
    mean = [item for item in later.values() if item["valueQuantity"]["value"] == 4.35564]
    assert [(item["bodySite"]["coding"][0]["code"], item["valueQuantity"]["code"], item["status"]) for item in mean] == [
        ("64033007", "Gy", "preliminary")
    ]
    [curve] = [
        item for item in found(site, "Observation", code="dose-volume-histogram") if item["bodySite"]["text"] == "Left kidney"
    ]
    told = {part["code"]["coding"][0]["code"]: part.get("valueString") or part.get("valueInteger") for part in curve["component"]}
    assert (told["dvh-type"], told["dvh-bins"], told["dvh-dose-widths"], told["dvh-volumes"]) == ("CUMULATIVE", 2, "1 1", "310 0")


def test_the_dose_of_external_beams_is_a_grid_without_numbers(site: Site) -> None:
    site.put(rt_dose(), structure_set())
    site.work()
    assert absorbed(site) == []
    [grid] = found(site, "Observation", code="dose-grid")
    assert "valueQuantity" not in grid
    assert "partOf" not in grid


def test_a_pdf_is_a_document_and_a_report_to_look_at_and_its_checksum_is_that_of_what_is_served(site: Site) -> None:
    site.put(pet(), pdf())
    site.work()
    [reference] = [item for item in found(site, "DocumentReference") if item["description"] == "Dosimetry report"]
    attachment = reference["content"][0]["attachment"]
    [report] = [item for item in found(site, "DiagnosticReport") if "presentedForm" in item]
    assert report["presentedForm"] == [attachment]
    assert "result" not in report
    assert attachment["contentType"] == "application/pdf"
    served = site.get(urlsplit(attachment["url"]).path)
    assert served.content == PDF
    assert attachment["size"] == len(PDF)
    assert attachment["hash"] == base64.b64encode(hashlib.sha1(served.content, usedforsecurity=False).digest()).decode()


def test_a_dose_sheet_is_a_document_and_an_ordinary_capture_is_none(site: Site) -> None:
    sheet = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT", "ConversionType": "WSD"}
    site.put(
        ct(SOPInstanceUID=uid("sheet"), SeriesInstanceUID=uid("sheets"), SeriesDescription="Dose Report", **sheet),
        ct(SOPInstanceUID=uid("shot"), SeriesInstanceUID=uid("shots"), SeriesDescription="Screen", **sheet),
    )
    site.work()
    [reference] = found(site, "DocumentReference")
    assert reference["identifier"][0]["value"] == f"urn:oid:{uid('sheet')}"
    assert reference["content"][0]["attachment"]["url"].endswith(f"/instances/{uid('sheet')}")
    assert found(site, "Observation") == []


@pytest.mark.skipif(not SHEET.is_file(), reason="needs the encapsulated PDF of the shared data")
def test_a_pdf_of_dcmtk_has_its_own_checksum(site: Site) -> None:
    dataset = dcmread(SHEET)
    site.put(dataset)
    site.work()
    [reference] = found(site, "DocumentReference")
    whole = bytes(dataset.EncapsulatedDocument)[: int(dataset.EncapsulatedDocumentLength)]
    expected = base64.b64encode(hashlib.sha1(whole, usedforsecurity=False).digest()).decode()
    assert reference["content"][0]["attachment"]["hash"] == expected
    assert site.get(urlsplit(reference["content"][0]["attachment"]["url"]).path).content == whole
