"""Promises of DICOMweb over a real socket: the bytes that came in, clear answers for what is not served."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.builders import ct, nm, part10, pet, pet_series, uid
from tests.web_site import Site

STUDY = str(pet().StudyInstanceUID)
SERIES = str(pet().SeriesInstanceUID)
SLICES = 4
OTHER_STUDY = uid("other-study")


def compressed(dataset: Dataset) -> Dataset:
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = uid("rle"), uid("rle-series")
    dataset.StudyInstanceUID = OTHER_STUDY
    part10(dataset)  # gives it the file meta that compression looks at
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("site"))
    running.put(*pet_series(SLICES), calling_ae="PET1")
    running.put(ct(), syntax=ImplicitVRLittleEndian)
    running.put(nm(StudyInstanceUID=OTHER_STUDY), syntax=DeflatedExplicitVRLittleEndian)
    running.put(compressed(pet()), syntax=RLELossless)
    held = pet(SOPInstanceUID=uid("held"), SeriesInstanceUID=uid("held-series"), PatientID="SOMEBODY-ELSE")
    running.put(held, pet(SOPInstanceUID=uid("bad"), Modality=None, StudyInstanceUID=uid("bad-study")))
    running.work()
    yield running
    running.close()


def parts(answer: requests.Response) -> list[tuple[str, bytes]]:
    """Content type and body of each part, read by Python's own mail parser."""
    assert answer.status_code in (200, 206), answer.text
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    )
    assert message.is_multipart()
    found = []
    for part in message.walk():
        body = part.get_payload(decode=True)
        if not part.is_multipart() and isinstance(body, bytes):
            # The parser puts quotes around parameters that need none.
            found.append((str(part["content-type"]).replace('"', "").replace("; ", ";"), body))
    return found


def spooled(site: Site, **wanted: str) -> list[bytes]:
    found = site.ledger.archive.served(**wanted)
    return sorted(site.files.locate(item.day, item.digest).read_bytes() for item in found)


@pytest.mark.parametrize(
    "accept",
    ["*/*", 'multipart/related; type="application/dicom"; transfer-syntax=*', "multipart/related;type=application/dicom"],
)
def test_a_study_comes_back_byte_for_byte_in_its_own_encodings(site: Site, accept: str) -> None:
    answer = site.get(f"/dicom-web/studies/{STUDY}", headers={"Accept": accept})
    got = parts(answer)
    assert sorted(body for _, body in got) == spooled(site, study=STUDY)
    assert len(got) == SLICES + 1
    assert {kind.partition("transfer-syntax=")[2] for kind, _ in got} == {ExplicitVRLittleEndian, ImplicitVRLittleEndian}


def test_a_series_and_an_instance_come_alone(site: Site) -> None:
    assert len(parts(site.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}"))) == SLICES
    one = uid("pet-series/2")
    ((_, body),) = parts(site.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{one}"))
    assert dcmread(io.BytesIO(body)).SOPInstanceUID == one
    bare = site.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{one}", headers={"Accept": "application/dicom"})
    assert (bare.headers["content-type"], bare.content) == ("application/dicom", body)


def test_only_the_encoding_that_was_asked_for_comes_and_206_says_that_it_is_a_part(site: Site) -> None:
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={ImplicitVRLittleEndian}'
    answer = site.get(f"/dicom-web/studies/{STUDY}", headers={"Accept": accept})
    assert answer.status_code == 206
    ((kind, _),) = parts(answer)
    assert kind.endswith(ImplicitVRLittleEndian)


@pytest.mark.parametrize(
    ("path", "accept", "status", "text"),
    [
        (f"studies/{STUDY}", "image/jpeg", 406, "transfer-syntax=\\*"),
        (f"studies/{STUDY}", "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", 406, "nothing is trans"),
        (f"studies/{STUDY}/metadata", "application/dicom+xml", 406, "dicom\\+json"),
        ("studies/1.2.3.4.5", "*/*", 404, "nothing is known"),
        ("studies/not-a-uid", "*/*", 400, "not a UID"),
        (f"studies/{uid('bad-study')}", "*/*", 404, "1 quarantined"),
        (f"studies/{STUDY}/series/{uid('held-series')}", "*/*", 404, "1 conflict"),
        (f"studies/{STUDY}/series/{SERIES}/instances/{uid('pet-series/0')}/frames/2", "*/*", 404, "1 frame"),
        (f"studies/{STUDY}/series/{SERIES}/instances/{uid('pet-series/0')}/frames/0", "*/*", 400, "from 1"),
        ("studies?limit=many", "*/*", 400, "whole number"),
        ("studies?Nonsense=1", "*/*", 400, "neither a DICOM keyword"),
        ("anything", "*/*", 404, "begins with"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_said_clearly(site: Site, path: str, accept: str, status: int, text: str) -> None:
    answer = site.get(f"/dicom-web/{path}", headers={"Accept": accept})
    assert answer.status_code == status
    assert re.search(text, answer.json()["error"])


def test_metadata_are_dicom_json_with_addresses_for_large_values(site: Site) -> None:
    answer = site.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}/metadata", headers={"Accept": "application/dicom+json"})
    assert answer.headers["content-type"] == "application/dicom+json"
    found = [Dataset.from_json(item, bulk_data_uri_handler=lambda *_: b"") for item in answer.json()]
    assert sorted(item.SOPInstanceUID for item in found) == sorted(uid(f"pet-series/{number}") for number in range(SLICES))
    assert str(found[0].PatientName) == str(pet().PatientName)
    assert found[0].RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == 350_000_000
    first = answer.json()[0]
    assert first["00080005"]["Value"] == ["ISO_IR 192"]
    one = first["00080018"]["Value"][0]
    bulk = requests.get(first["7FE00010"]["BulkDataURI"], headers={"Accept": "application/octet-stream"}, timeout=10)
    stored = next(dcmread(io.BytesIO(body)) for body in spooled(site, study=STUDY, series=SERIES) if one.encode() in body)
    assert bulk.content == stored.PixelData


def test_metadata_of_all_kinds_of_encodings(site: Site) -> None:
    answer = site.get(f"/dicom-web/studies/{OTHER_STUDY}/metadata")
    modalities = {item["00080060"]["Value"][0]: item for item in answer.json()}
    assert set(modalities) == {"NM", "PT"}
    assert "7FE00010" not in modalities["PT"], "compressed pixels have frames, no bulk data"
    assert "BulkDataURI" in modalities["NM"]["7FE00010"]


def test_native_frames_are_the_pixels_in_order(site: Site) -> None:
    series = str(nm().SeriesInstanceUID)
    one = str(nm().SOPInstanceUID)
    (stored,) = (dcmread(io.BytesIO(body)) for body in spooled(site, study=OTHER_STUDY, series=series))
    size = len(stored.PixelData) // int(stored.NumberOfFrames)
    answer = site.get(f"/dicom-web/studies/{OTHER_STUDY}/series/{series}/instances/{one}/frames/2,1")
    got = parts(answer)
    assert [body for _, body in got] == [stored.PixelData[size : 2 * size], stored.PixelData[:size]]
    assert all(kind.startswith("application/octet-stream") for kind, _ in got)


def test_compressed_frames_come_as_they_were_compressed(site: Site) -> None:
    place = f"/dicom-web/studies/{OTHER_STUDY}/series/{uid('rle-series')}/instances/{uid('rle')}/frames/1"
    ((kind, body),) = parts(site.get(place))
    assert kind == f"image/dicom-rle;transfer-syntax={RLELossless}"
    assert int.from_bytes(body[:4], "little") in (1, 2), "an RLE header begins with its number of segments (PS3.5 G.5)"
    assert site.get(place, headers={"Accept": "application/octet-stream"}).status_code == 406


def search(site: Site, path: str) -> list[dict[str, Any]]:
    answer = site.get(f"/dicom-web/{path}", headers={"Accept": "application/dicom+json"})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("studies", {STUDY, OTHER_STUDY}),
        (f"studies?StudyInstanceUID={STUDY}", {STUDY}),
        (f"studies?0020000D={STUDY},{OTHER_STUDY}", {STUDY, OTHER_STUDY}),
        ("studies?PatientID=TEST-0001", {STUDY, OTHER_STUDY}),
        ("studies?PatientID=TEST-000%25", set()),
        ("studies?PatientID=TEST*", {STUDY, OTHER_STUDY}),
        ("studies?PatientID=SOMEBODY-ELSE", set()),
        ("studies?PatientName=test^inv*", {STUDY, OTHER_STUDY}),
        ("studies?ModalitiesInStudy=NM", {OTHER_STUDY}),
        ("studies?ModalitiesInStudy=CT&StudyDate=20250310", {STUDY}),
        ("studies?StudyDate=20250311-", set()),
        ("studies?StudyDate=-20250310&includefield=all", {STUDY, OTHER_STUDY}),
        ("studies?limit=1&offset=5", set()),
    ],
)
def test_studies_are_found_by_what_their_headers_say(site: Site, query: str, found: set[str]) -> None:
    assert {item["0020000D"]["Value"][0] for item in search(site, query)} == found


def test_counts_modalities_and_addresses_stand_in_the_answer(site: Site) -> None:
    (study,) = search(site, f"studies?StudyInstanceUID={STUDY}")
    assert study["00081190"]["Value"] == [f"{site.url}/dicom-web/studies/{STUDY}"]
    assert study["00201208"]["Value"] == [SLICES + 1], "what is held is not counted"
    assert study["00080061"]["Value"] == ["CT", "PT"]
    assert {item["0008103E"].get("Value", [""])[0] for item in search(site, f"studies/{STUDY}/series")}
    assert len(search(site, f"studies/{STUDY}/series/{SERIES}/instances?InstanceNumber=2")) == 1
    assert len(search(site, "series?Modality=PT")) == 2
    assert len(search(site, f"instances?SeriesInstanceUID={SERIES}")) == SLICES


def test_what_was_not_matched_and_what_is_left_is_told_in_a_warning(site: Site) -> None:
    answer = site.get("/dicom-web/studies?limit=1&ReferringPhysicianName=x")
    assert "ReferringPhysicianName" in answer.headers["warning"]
    assert "more results" in answer.headers["warning"]


def test_a_file_that_retention_let_go_is_410(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        first, second = site.put(*pet_series(2))
        site.work()
        site.files.remove(first.instance.day, first.instance.digest)
        assert site.get(f"/dicom-web/studies/{STUDY}").status_code == 206
        site.files.remove(second.instance.day, second.instance.digest)
        gone = site.get(f"/dicom-web/studies/{STUDY}/metadata")
        assert (gone.status_code, "retention" in gone.json()["error"]) == (410, True)
    finally:
        site.close()


def test_the_imaging_study_leads_to_an_endpoint(site: Site) -> None:
    study = site.get(f"/fhir/ImagingStudy?identifier=urn:oid:{STUDY}&_include=ImagingStudy:endpoint").json()
    kinds = {entry["resource"]["resourceType"]: entry["resource"] for entry in study["entry"]}
    assert kinds["Endpoint"]["address"] == "http://images.example/dicom-web"
    assert kinds["ImagingStudy"]["endpoint"] == [{"reference": f"Endpoint/{kinds['Endpoint']['id']}"}]
    provenance = site.get(f"/fhir/Provenance?target=ImagingStudy/{kinds['ImagingStudy']['id']}").json()["entry"][0]["resource"]
    assert not [target for target in provenance["target"] if target["reference"].startswith("Endpoint/")]
    assert json.dumps(kinds["Endpoint"]).count("TEST") == 0


def test_an_encapsulated_pdf_has_a_rendered_form_without_its_padding(site: Site) -> None:
    body = b"%PDF-1.4 an invented dosimetry report"
    assert len(body) % 2, "the object must hold a byte of padding"
    document = ct(
        SOPInstanceUID=uid("pdf"), SeriesInstanceUID=uid("pdf-series"), SOPClassUID=EncapsulatedPDFStorage, Modality="DOC"
    )
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument, document.EncapsulatedDocumentLength = body + b"\0", len(body)
    del document.PixelData
    site.put(document)
    site.work()
    address = f"/dicom-web/studies/{STUDY}/series/{uid('pdf-series')}/instances/{uid('pdf')}/rendered"
    answer = site.get(address, headers={"Accept": "application/pdf"})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/pdf", body)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    image = sorted(site.ledger.archive.served(study=STUDY, series=SERIES), key=lambda item: item.sop_instance_uid)[
        0
    ].sop_instance_uid
    assert site.get(f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{image}/rendered").status_code == 404
