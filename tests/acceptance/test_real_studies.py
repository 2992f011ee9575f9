"""Real studies, pushed by DCMTK as a scanner would, found by a researcher."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gateway.model import JsonObject
from tests.harness.account import settle
from tests.harness.chaos import Installation

pytestmark = [pytest.mark.needs("data"), pytest.mark.needs("dcmtk")]

VISION_STUDY = "1.2.840.113619.6.95.31.0.3.4.1.4400.13.8620675"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("real")) as running:
        yield running


@pytest.fixture(scope="module")
def acknowledged(installation: Installation) -> list[str]:
    """SOP Instance UIDs that DCMTK was told are safe, once everything is published."""
    from tests.conftest import data_directory

    uids = [uid for folder in ("pet", "ct") for uid in dcmsend(installation, data_directory() / folder)]
    assert settle(installation.data) == []
    return uids


def dcmsend(installation: Installation, folder: Path) -> list[str]:
    address = installation.address
    assert address is not None
    report = installation.directory / f"{folder.name}.txt"
    options = ["+sd", "+r", "+sp", "*.dcm", "--no-halt", "+crf", str(report), "-aec", address.ae_title]
    command = ["dcmsend", *options, address.host, str(address.port), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    told = re.findall(r"SOP Instance  : (\S+).*?DIMSE Status  : (\S+)", report.read_text(), flags=re.DOTALL)
    return [uid for uid, status in told if status == "0x0000"]


def search(installation: Installation, query: str) -> list[JsonObject]:
    answer = requests.get(f"{installation.fhir_url}/{query}", timeout=10)
    answer.raise_for_status()
    return [entry["resource"] for entry in answer.json().get("entry", ())]


def test_every_acknowledged_instance_is_in_exactly_one_study(installation: Installation, acknowledged: list[str]) -> None:
    assert len(acknowledged) == 78  # all but the colour palette, which belongs to no patient and is refused
    studies = search(installation, "ImagingStudy?_count=200")
    published = Counter(instance["uid"] for study in studies for series in study["series"] for instance in series["instance"])
    assert published == Counter(set(acknowledged))
    assert all(study["numberOfInstances"] == sum(len(s["instance"]) for s in study["series"]) for study in studies)


def test_the_siemens_vision_study_is_one_study_with_394_megabecquerels_of_fdg_once(
    installation: Installation, acknowledged: list[str]
) -> None:
    (study,) = search(installation, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{VISION_STUDY}")
    assert study["numberOfSeries"] == 3
    found = search(
        installation,
        f"MedicationAdministration?patient={study['subject']['reference']}&_include=MedicationAdministration:medication",
    )
    (given,) = [item for item in found if item["resourceType"] == "MedicationAdministration"]
    (medication,) = [item for item in found if item["resourceType"] == "Medication"]
    assert given["dosage"]["dose"] == {"value": 394, "unit": "MBq", "system": "http://unitsofmeasure.org", "code": "MBq"}
    assert given["effectiveDateTime"] == "2022-02-24T10:48:30+01:00"
    assert medication["code"]["coding"] == [{"system": "http://snomed.info/sct", "code": "35321007"}]
    administered_activity = "http://dicom.nema.org/resources/ontology/DCM|113507"
    asked = f"Observation?part-of=MedicationAdministration/{given['id']}&code={administered_activity}"
    (observation,) = search(installation, asked)
    assert observation["valueQuantity"]["value"] == 394


@pytest.mark.parametrize(
    ("patient", "activity", "started"),
    [
        ("STS_001", "388.777472", "2000-09-07T10:35:00+02:00"),
        ("STS_002", "433.344096", "2006-01-28T13:51:00+01:00"),  # the header says 29 January, a day after the scan
        ("999999", "474.592928", "2014-10-23T09:32:00+02:00"),
        ("ACRIN-FLT-Breast_028", "173.5299987793", "1960-01-14T11:19:59+01:00"),
    ],
)
def test_each_scanner_gives_the_activity_and_the_time_that_its_header_means(
    installation: Installation, acknowledged: list[str], patient: str, activity: str, started: str
) -> None:
    answer = requests.get(f"{installation.fhir_url}/MedicationAdministration?patient.identifier={patient}", timeout=10)
    assert answer.json()["total"] == 1
    assert f'"value":{activity},' in answer.text.replace(" ", "")  # the digits as the header has them
    (given,) = search(installation, f"MedicationAdministration?patient.identifier={patient}")
    period = given.get("effectivePeriod", {})  # where the header knows an end
    assert given.get("effectiveDateTime", period.get("start")) == started


def test_sending_it_all_again_makes_no_new_versions(installation: Installation, acknowledged: list[str]) -> None:
    from tests.conftest import data_directory

    def versions() -> dict[str, str]:
        kinds = ("Patient", "ImagingStudy", "Device", "Medication", "MedicationAdministration", "Observation", "Provenance")
        found = [item for kind in kinds for item in search(installation, f"{kind}?_count=200")]
        return {f"{item['resourceType']}/{item['id']}": item["meta"]["versionId"] for item in found}

    before = versions()
    assert sorted(dcmsend(installation, data_directory() / "pet")) == sorted(set(acknowledged) - _ct(installation))
    assert settle(installation.data) == []
    assert versions() == before
    assert set(before.values()) == {"1"}


def _ct(installation: Installation) -> set[str]:
    """What of the acknowledged came from the folder ct."""
    report = (installation.directory / "ct.txt").read_text()
    return set(re.findall(r"SOP Instance  : (\S+)", report))
