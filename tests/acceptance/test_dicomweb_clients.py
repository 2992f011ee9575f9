"""Other people's clients, each in its own environment: from FHIR facts to DataFrames, along the Endpoint to the images."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.sample import SampleStudy, generate_sample
from gateway.workbench.scu import send
from tests.conftest import ROOT
from tests.harness.account import settle
from tests.harness.chaos import Installation
from tests.harness.waiting import free_port

SLICES = 6

PYRATE = """
import json, pathlib, sys
from fhir_pyrate import DicomDownloader, Pirate
fhir, out = sys.argv[1:]
ship = Pirate(base_url=fhir, auth=None, disable_multiprocessing_requests=True, disable_multiprocessing_build=True)
studies = ship.steal_bundles_to_dataframe(
    resource_type='ImagingStudy', request_params={'modality': 'PT', '_sort': '_id'},
    fhir_paths=[('study', "identifier.where(system = 'urn:dicom:uid').value"), ('patient', 'subject.reference'),
                ('series_instance_uid', "series.where(modality.code = 'PT').uid"), ('endpoint', 'endpoint.reference')])
studies['study_instance_uid'] = studies['study'].str.removeprefix('urn:oid:')
given = ship.trade_rows_for_dataframe(
    studies, resource_type='MedicationAdministration', df_constraints={'patient': 'patient'},
    fhir_paths=[('dose', 'dosage.dose.value'), ('unit', 'dosage.dose.unit')])
endpoint = ship.steal_bundles_to_dataframe(
    resource_type='Endpoint', request_params={}, fhir_paths=[('id', 'id'), ('address', 'address'), ('kind', 'connectionType.code')])
where = endpoint.set_index('id').loc[studies['endpoint'][0].split('/')[1]]
with DicomDownloader(auth=None, dicom_web_url=where['address'], output_format='dicom', turn_off_checks=True) as loader:
    done, failed = loader.download_data_from_dataframe(studies, output_dir=out, series_uid_col='series_instance_uid')
print(json.dumps({'doses': sorted(f'{d:g}{u}' for d, u in zip(given['dose'], given['unit'])), 'failed': len(failed),
                  'series': sorted(done['deidentified_series_instance_uid']), 'kind': where['kind'],
                  'files': sorted(str(p) for p in pathlib.Path(out).rglob('*.dcm'))}))
"""

DICOMWEB = """
import json, sys
from dicomweb_client.api import DICOMwebClient
client = DICOMwebClient(url=sys.argv[1])
patient, study = sys.argv[2:]
found = client.search_for_studies(search_filters={'PatientID': patient})
series = client.search_for_series(study, search_filters={'Modality': 'PT'})[0]['0020000E']['Value'][0]
instances = client.search_for_instances(study, series)
one = instances[0]['00080018']['Value'][0]
whole = client.retrieve_study(study)
item = client.retrieve_instance(study, series, one)
metadata = client.retrieve_series_metadata(study, series)
frame = client.retrieve_instance_frames(study, series, one, [1])[0]
bulk = client.retrieve_bulkdata(next(m for m in metadata if m['00080018']['Value'][0] == one)['7FE00010']['BulkDataURI'])[0]
print(json.dumps({
    'studies': [s['0020000D']['Value'][0] for s in found], 'modalities': found[0]['00080061']['Value'],
    'between': len(client.search_for_studies(search_filters={'StudyDate': '20200101-20991231'})),
    'never': len(client.search_for_studies(search_filters={'StudyDate': '-19991231'})),
    'by_name': len(client.search_for_studies(search_filters={'PatientName': 'sample*'})),
    'instances': len(instances), 'whole': sorted(d.SOPInstanceUID for d in whole), 'item': item.SOPInstanceUID,
    'metadata': len(metadata), 'rows': metadata[0]['00280010']['Value'][0],
    'frame_is_pixels': frame == item.PixelData == bulk, 'limited': len(client.search_for_studies(limit=1)),
}))
"""

FHIRCLIENT = """
import json, sys
from fhirclient import client
from fhirclient.models.endpoint import Endpoint
from fhirclient.models.imagingstudy import ImagingStudy
from fhirclient.models.medicationadministration import MedicationAdministration
smart = client.FHIRClient(settings={'app_id': 'test', 'api_base': sys.argv[1]})
studies = ImagingStudy.where(struct={'modality': 'PT'}).perform_resources(smart.server)
study = studies[0]
endpoint = study.endpoint[0].resolved(Endpoint)
given = MedicationAdministration.where(struct={'patient': study.subject.reference}).perform_resources(smart.server)
print(json.dumps({'studies': len(studies), 'series': [s.modality.code for s in study.series], 'address': endpoint.address,
                  'doses': [f'{g.dosage.dose.value:g}{g.dosage.dose.unit}' for g in given]}))
"""


class Place:
    """A gateway with one published study."""

    def __init__(self, running: Installation, sample: SampleStudy, url: str) -> None:
        self.sample, self.url, self.data = sample, url, running.data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("clients")
    sample = generate_sample(directory / "sample", slices=SLICES)
    port = free_port()  # the Endpoint names the port before the gateway has it
    with Installation(directory / "gateway", settings={"web": {"bind": f"127.0.0.1:{port}"}}) as running:
        address = running.address
        assert address is not None
        assert send(sample.files, AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)).ok
        assert settle(running.data) == []
        yield Place(running, sample, f"http://127.0.0.1:{port}")


def run(peer: str, script: str, *arguments: str) -> Any:
    python = ROOT / ".peers" / peer / "bin" / "python"
    done = subprocess.run([python, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def pixels(path: Path) -> str:
    return hashlib.sha256(dcmread(path).PixelData).hexdigest()


@pytest.mark.needs("fhir-pyrate")
def test_fhir_pyrate_goes_from_dataframes_along_the_endpoint_to_the_images(place: Place, tmp_path: Path) -> None:
    told = run("fhir-pyrate", PYRATE, f"{place.url}/fhir", str(tmp_path / "out"))
    sent = [path for path in place.sample.files if dcmread(path, stop_before_pixels=True).Modality == "PT"]
    assert told["doses"] == [f"{place.sample.activity_mbq}MBq"]
    assert told["kind"] == "dicom-wado-rs"
    assert told["failed"] == 0
    assert told["series"] == [dcmread(sent[0], stop_before_pixels=True).SeriesInstanceUID]
    assert sorted(map(pixels, map(Path, told["files"]))) == sorted(map(pixels, sent))


@pytest.mark.needs("dicomweb-client")
def test_dicomweb_client_searches_and_retrieves(place: Place) -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in place.sample.files]
    study = place.sample.study_instance_uid
    told = run("dicomweb-client", DICOMWEB, f"{place.url}/dicom-web", headers[0].PatientID, study)
    pet = [header for header in headers if header.Modality == "PT"]
    assert told["studies"] == [study]
    assert told["modalities"] == ["CT", "PT", "SR"]
    assert (told["between"], told["never"], told["by_name"], told["limited"]) == (1, 0, 1, 1)
    assert told["instances"] == told["metadata"] == len(pet) == SLICES
    assert told["whole"] == sorted(header.SOPInstanceUID for header in headers)
    assert told["item"] in {header.SOPInstanceUID for header in pet}
    assert told["rows"] == pet[0].Rows
    assert told["frame_is_pixels"] is True


@pytest.mark.needs("fhirclient")
def test_smart_fhirclient_reads_study_endpoint_and_dose(place: Place) -> None:
    told = run("fhirclient", FHIRCLIENT, f"{place.url}/fhir")
    assert told["studies"] == 1
    assert "PT" in told["series"]
    assert told["address"] == f"{place.url}/dicom-web"
    assert told["doses"] == [f"{place.sample.activity_mbq}MBq"]
