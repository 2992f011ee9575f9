"""Deploying, rolling back and replaying while objects pour in and everything is killed at random: nothing half-switched, lost or doubled.

Two kinds of kills: the daemon (whole tree or one role), and the commands themselves, ``kill -9`` at a random moment of their work.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from gateway.spool.ledger import Ledger
from gateway.spool.mapping_versions import DIRECTORY, MappingVersions, snapshot
from tests import builders
from tests.few_mappings import few_mappings
from tests.harness import snapshot as fhir
from tests.harness.account import settle, settle_account
from tests.harness.chaos import REPOSITORY, Installation, Killer, clean_environment
from tests.harness.witness import Witness, address_in, read_log

KILLS = int(os.environ.get("ISOBRIDGE_KILLS", "4"))
#: How many deployments are killed.
DEPLOYMENTS = max(5, KILLS)
SLICES = 240
#: A study is one of few objects, so that many are sealed under fire.
STUDIES = 12


def _files(directory: Path) -> list[Path]:
    files = []
    for study in range(STUDIES):
        uids = {"StudyInstanceUID": builders.uid(f"fire-{study}"), "SeriesInstanceUID": builders.uid(f"fire-series-{study}")}
        words = {"StudyDescription": "old words", "SeriesDescription": "new words", "PatientID": f"FIRE-{study % 4}"}
        event = "RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalAdministrationEventUID"
        words[event] = builders.uid(f"fire-event-{study % 4}")  # one injection of each patient, told by three studies
        for number, one in enumerate(builders.pet_series(SLICES // STUDIES, **uids, **words)):
            one.SOPInstanceUID = builders.uid(f"fire-{study}-{number}")
            files.append(builders.write(one, directory / "fire" / f"{study}-{number}.dcm"))
    return files


def _changed(mappings: Path) -> None:
    path = mappings / "image.yaml"
    text = path.read_text()
    for old, new in (
        ("study.description: {from: StudyDescription", "study.description: {from: SeriesDescription"),
        ("study.description: PET/CT, ", ""),
        ("          description: PET/CT\n", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def _run(installation: Installation, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words, "--config", str(installation.config)],
        cwd=REPOSITORY, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def _done(installation: Installation, *words: str) -> None:
    process = _run(installation, *words)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()


def _check_history(installation: Installation) -> None:
    """What is in force is always whole, whatever was killed."""
    ledger = Ledger(f"sqlite:///{installation.data / 'ledger.db'}")
    versions = MappingVersions(installation.data)
    for item in ledger.mappings.listed():
        assert versions.read(item.version).version == item.version
    ledger.close()


def _versions(installation: Installation) -> dict[str, str]:
    """``Type/id`` -> versionId: a replay without a change leaves them as they are."""
    found: dict[str, str] = {}
    for kind in ("Patient", "ImagingStudy", "MedicationAdministration", "Provenance"):
        entries = requests.get(f"{installation.fhir_url}/{kind}?_count=1000", timeout=30).json().get("entry", [])
        found |= {f"{kind}/{entry['resource']['id']}": entry["resource"]["meta"]["versionId"] for entry in entries}
    return found


@pytest.mark.timeout(900)
def test_a_deployment_that_is_killed_changes_all_or_nothing(tmp_path: Path) -> None:
    rng = random.Random(random.SystemRandom().randrange(1 << 32))
    old, new = (few_mappings(tmp_path / name) for name in ("old", "new"))
    _changed(new)
    installation = Installation(tmp_path / "one", settings={"mappings": {"directory": str(old)}})
    with installation:
        pass
    wanted = {snapshot(old).version, snapshot(new).version}
    began = time.monotonic()
    _done(installation, "mappings", "deploy", str(new), "--yes")
    takes_secs = time.monotonic() - began
    for number in range(DEPLOYMENTS):
        process = _run(installation, "mappings", "deploy", str((old, new)[number % 2]), "--yes")
        # The switch stands at the end: half of the kills aim there.
        time.sleep(rng.uniform(0.5, 1.05) * takes_secs)
        process.kill()
        process.communicate()
        _check_history(installation)
    assert {path.name for path in (installation.data / DIRECTORY).iterdir() if not path.name.startswith(".")} == wanted
    with installation:  # and it starts by whatever is in force
        assert installation.address is not None


@pytest.mark.timeout(1200)
def test_deploy_rollback_and_replay_under_fire_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    files = _files(tmp_path)
    old, new = (few_mappings(tmp_path / name) for name in ("old", "new"))
    _changed(new)
    installation = Installation(tmp_path / "beaten", settings={"mappings": {"directory": str(old)}})
    log = tmp_path / "witness.jsonl"
    verbs = (
        ("mappings", "deploy", str(new), "--yes"),
        ("replay", "--since", "2000-01-01", "--no-wait"),
        ("mappings", "rollback", "--yes"),
        ("replay", "--since", "2000-01-01", "--no-wait"),
    )
    with installation:
        with Killer(installation, blows=KILLS, seed=seed, shortest_secs=1.0, longest_secs=5.0) as killer:
            witness, turn = Witness(log, address_in(installation.run_file), timeout_secs=10), 0
            while killer.running:
                part = files[: len(files) * min(turn + 1, 4) // 4]
                assert witness.send(part, seed=seed + turn) == []
                process = _run(installation, *verbs[turn % len(verbs)])
                turn += 1
                if rng.random() < 0.3:
                    time.sleep(rng.uniform(0.3, 4.0))
                    process.kill()
                process.communicate(timeout=300)
            assert witness.send(files) == []
        _check_history(installation)
        ledger = Ledger(f"sqlite:///{installation.data / 'ledger.db'}")
        current = ledger.mappings.in_force()
        ledger.close()
        assert current is not None
        if current.version != snapshot(new).version:
            _done(installation, "mappings", "deploy", str(new), "--yes", "--reason", "at last")
        _done(installation, "replay", "--since", "2000-01-01")
        assert settle(installation.data) == []
        resources, versions = fhir.fetch(installation.fhir_url), _versions(installation)
        _done(installation, "replay", "--since", "2000-01-01")
        assert settle(installation.data) == []
        assert _versions(installation) == versions
    account = settle_account(log, installation.data, resources)
    print(account.table())
    assert account.balanced, account.table()
    assert account.acknowledged == len(files) == len({answer.sop_instance_uid for answer in read_log(log) if answer.acknowledged})
    studies = [item for item in resources.values() if item["resourceType"] == "ImagingStudy"]
    assert {item["description"] for item in studies} == {"new words"}
    assert len(studies) == STUDIES
