"""An archive of normalised objects while the daemon is killed at random and the mapping changes: each object stands there once.

The mapping changes a number, so what stands in the archive has a SOP Instance UID of its own: a double would not be seen by its UID.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset, dcmread

from gateway.spool.ledger import Ledger
from tests import builders
from tests.harness import snapshot
from tests.harness.account import settle, settle_account
from tests.harness.chaos import REPOSITORY, Installation, Killer, clean_environment
from tests.harness.peers import Orthanc
from tests.harness.witness import Witness, address_in, read_log

pytestmark = pytest.mark.needs("orthanc")

KILLS = int(os.environ.get("ISOBRIDGE_KILLS", "6"))
SLICES = 90
WEIGHTS = ("80", "81", "82")


def _mappings(folder: Path, weight: str) -> Path:
    shutil.copytree(REPOSITORY / "mappings", folder)
    section = f"dicom:\n  elements:\n    PatientWeight: {{value: '{weight}'}}\n    InstitutionName: {{value: Klinik Süd}}\n"
    (folder / "sites" / "fire.yaml").write_text(
        f"extends: pet_image\nmatch: {{StationName: FIRE}}\npriority: 100\n{section}"
        "example: {StationName: FIRE}\n"
        f"tests: [{{name: weight, given: {{}}, expect: {{dicom: {{PatientWeight: '{weight}'}}}}}}]\n"
    )
    return folder


def _deploy(gateway: Installation, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "mappings", "deploy", str(folder), "--yes", "--config", str(gateway.config)],
        cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _held(orthanc: Orthanc) -> list[Dataset]:
    found = requests.get(f"{orthanc.url}/instances", timeout=30).json()
    return [dcmread(io.BytesIO(requests.get(f"{orthanc.url}/instances/{one}/file", timeout=30).content)) for one in found]


@pytest.mark.timeout(900)
def test_each_object_stands_once_in_an_archive_of_normalised_objects(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    uids = {
        "StudyInstanceUID": builders.uid("fire-study"),
        "SeriesInstanceUID": builders.uid("fire-series"),
        "StationName": "FIRE",
    }
    series = list(builders.pet_series(SLICES, **uids))
    files = [builders.write(one, tmp_path / "send" / f"{number}.dcm") for number, one in enumerate(series)]
    folders = [_mappings(tmp_path / f"mappings_{weight}", weight) for weight in WEIGHTS]
    orthanc = Orthanc(tmp_path / "orthanc")
    settings: dict[str, dict[str, Any]] = {
        "targets": {"archive": {"kind": "orthanc", "url": orthanc.url, "send": "normalised", "connect_timeout_secs": 2}},
        "mappings": {"directory": str(folders[0])},
        "work": {"lease_secs": 5},
    }
    gateway = Installation(tmp_path / "gateway", settings=settings)
    log = tmp_path / "witness.jsonl"
    with orthanc, gateway:
        for number, folder in enumerate(folders):
            if number:
                _deploy(gateway, folder)
            witness = Witness(log, address_in(gateway.run_file), associations=4, timeout_secs=10)
            rounds = 0
            part = files[: SLICES * (number + 1) // len(folders)]
            with Killer(gateway, blows=KILLS // len(folders), seed=seed + number, longest_secs=1.5) as killer:
                while killer.running or rounds == 0:
                    assert witness.send(part, seed=seed + rounds) == []
                    rounds += 1
        assert settle(gateway.data, timeout_secs=240) == []
        account = settle_account(log, gateway.data, snapshot.fetch(gateway.fhir_url))
        assert account.balanced, account.table()
        assert account.acknowledged == SLICES
        held = _held(orthanc)
        ledger = Ledger(f"sqlite:///{gateway.data / 'ledger.db'}")
        assert ledger.overview.counts()["deliveries"]["archive"] == {"verified": SLICES}, ledger.overview.deliveries("parked")
        ledger.close()
    received = {str(one.SOPInstanceUID): one for one in series}
    sources = Counter(str(one.SourceImageSequence[-1].ReferencedSOPInstanceUID) for one in held)
    assert received.keys() == {answer.sop_instance_uid for answer in read_log(log) if answer.acknowledged}
    assert sources == Counter(received.keys())
    for one in held:
        source = received[str(one.SourceImageSequence[-1].ReferencedSOPInstanceUID)]
        assert one.SOPInstanceUID != source.SOPInstanceUID
        assert one.PixelData == source.PixelData
        assert str(one.PatientWeight) in WEIGHTS
        assert (one.InstitutionName, one.SpecificCharacterSet) == ("Klinik Süd", "ISO_IR 192")
    weights = Counter(str(one.PatientWeight) for one in held)
    print(f"seed {seed}; weights {dict(weights)}")
    assert len(weights) > 1  # the change of the mapping came in between
