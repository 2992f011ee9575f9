"""A researcher's own client against our endpoint, in its own environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.sample import generate_sample
from gateway.workbench.scu import send
from tests.conftest import ROOT
from tests.harness.account import settle
from tests.harness.chaos import Installation

FHIRPY = """
import json, sys
from fhirpy import SyncFHIRClient
client = SyncFHIRClient(sys.argv[1])
study = client.resources('ImagingStudy').search(modality='PT').first()
given = client.resources('MedicationAdministration').search(patient=study['subject']['reference']).fetch_all()
observations = client.resources('Observation').search(code='113507', patient=study['subject']['reference']).fetch_all()
everything = client.resources('ImagingStudy').limit(1).fetch_all()
print(json.dumps({
    'study': study['identifier'][0]['value'], 'instances': study['numberOfInstances'],
    'dose': [str(item['dosage']['dose']['value']) + item['dosage']['dose']['unit'] for item in given],
    'observed': [item['valueQuantity']['value'] for item in observations],
    'count': client.resources('ImagingStudy').count(), 'paged': len(everything),
    'patient': study['subject'].to_resource()['name'][0]['family'],
}))
"""


@pytest.mark.needs("fhirpy")
def test_fhirpy_fetches_studies_and_administrations(tmp_path: Path) -> None:
    sample = generate_sample(tmp_path / "sample", slices=4)
    other = generate_sample(tmp_path / "other", slices=2, seed=9)
    with Installation(tmp_path / "gateway") as running:
        address = running.address
        assert address is not None
        target = AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)
        assert send([*sample.files, *other.files], target).ok
        assert settle(running.data) == []
        python = ROOT / ".peers" / "fhirpy" / "bin" / "python"
        done = subprocess.run([python, "-c", FHIRPY, running.fhir_url], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    studies = {f"urn:oid:{study.study_instance_uid}": study for study in (sample, other)}
    expected = studies[told["study"]]
    assert told["instances"] == len(expected.files)
    assert f"{expected.activity_mbq}MBq" in told["dose"]
    assert float(expected.activity_mbq) in told["observed"]
    assert told["count"] == told["paged"] == 2
    assert told["patient"] == "SAMPLE"
