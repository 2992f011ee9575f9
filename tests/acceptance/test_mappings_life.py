"""The life of mappings as people live it: a running gateway, the commands, SQLite and PostgreSQL, and kills in between."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.spool.ledger import Ledger
from gateway.spool.mapping_versions import DIRECTORY
from tests import builders
from tests.few_mappings import few_mappings
from tests.harness.chaos import REPOSITORY, Installation, clean_environment
from tests.harness.waiting import until
from tests.harness.witness import Witness, address_in

SHIPPED, OURS = "Fluorodeoxyglucose F-18", "Fluorodeoxyglucose as we call it"
OVERLAY = """extends: pet_image
priority: 10
shadow: true
match: {StationName: SAMPLEPETCT}
tests: [{name: none, given: {StationName: SAMPLEPETCT}, expect: {fields: {series.modality: PT}}}]
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def ledger_url(request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Mappings of a site with a code table of its own: what the gateway starts with."""
    made = few_mappings(tmp_path / "ours")
    table = made / "codes" / "radiopharmaceuticals.yaml"
    text = table.read_text()
    assert f"  {SHIPPED}:" in text
    table.write_text(text.replace(f"  {SHIPPED}:", f"  {OURS}:"))
    return made


@pytest.fixture
def gateway(tmp_path: Path, folder: Path, ledger_url: str | None) -> Iterator[Installation]:
    settings: dict[str, dict[str, Any]] = {"mappings": {"directory": str(folder)}}
    if ledger_url:
        settings["ledger"] = {"url": ledger_url}
    with Installation(tmp_path / "gateway", settings=settings) as running:
        yield running


def run(gateway: Installation, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words, "--config", str(gateway.config)],
        cwd=REPOSITORY, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def done(gateway: Installation, *words: str) -> str:
    process = run(gateway, *words)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def send(gateway: Installation, tmp_path: Path, study: str, slices: int = 3) -> None:
    """All of it must be acknowledged."""
    uids = {"StudyInstanceUID": builders.uid(study), "SeriesInstanceUID": builders.uid(f"{study}-series"), "PatientID": study}
    files = []
    for number, one in enumerate(builders.pet_series(slices, **uids)):
        one.SOPInstanceUID = builders.uid(f"{study}-{number}")
        files.append(builders.write(one, tmp_path / study / f"{number}.dcm"))
    assert Witness(tmp_path / f"{study}.jsonl", address_in(gateway.run_file), timeout_secs=30).send(files) == []


def studies(gateway: Installation) -> int:
    return int(requests.get(f"{gateway.fhir_url}/ImagingStudy", timeout=30).json()["total"])


def medication(gateway: Installation) -> str:
    """Every word about the medications that administrations refer to."""
    asked = f"{gateway.fhir_url}/MedicationAdministration?_include=MedicationAdministration:medication"
    found = requests.get(asked, timeout=30).json()
    return json.dumps([item["resource"] for item in found.get("entry", []) if item["resource"]["resourceType"] == "Medication"])


@pytest.mark.timeout(900)
def test_rollback_brings_other_code_tables_back_whatever_is_killed(gateway: Installation, tmp_path: Path) -> None:
    rng = random.Random(random.SystemRandom().randrange(1 << 32))
    send(gateway, tmp_path, "LIFE-1")
    until(lambda: studies(gateway) == 1 and OURS in medication(gateway))
    done(gateway, "mappings", "deploy", str(few_mappings(tmp_path / "shipped")), "--yes")
    assert OURS in medication(gateway)  # published studies stay as they are
    done(gateway, "replay", "--since", "2000-01-01")
    until(lambda: OURS not in medication(gateway) and SHIPPED in medication(gateway))
    done(gateway, "mappings", "rollback", "--yes")
    for _ in range(4):  # a replay is asked for whole or not at all, and is worked off by whoever comes next
        asked = run(gateway, "replay", "--since", "2000-01-01", "--no-wait")
        time.sleep(rng.uniform(0.3, 2.0))
        asked.kill()
        asked.communicate()
        gateway.kill_one_role(rng)
    said = done(gateway, "replay", "--since", "2000-01-01", "--no-wait")
    assert "asked for; a running gateway works on it" in said
    until(lambda: OURS in medication(gateway) and SHIPPED not in medication(gateway))
    # The running gateway knows where its images are, whatever the command is told.
    told = done(gateway, "replay", "--since", "2000-01-01", "--dry-run", "--set", "web.bind=127.0.0.1:9999")
    assert "nothing would change in 1 studies" in told
    assert studies(gateway) == 1


@pytest.mark.timeout(900)
def test_a_shadow_is_approved_and_what_waited_is_published(gateway: Installation, folder: Path, tmp_path: Path) -> None:
    (folder / "sites").mkdir(exist_ok=True)
    (folder / "sites" / "ours.yaml").write_text(OVERLAY)
    shutil.copy(REPOSITORY / "mappings" / "codes" / "radiopharmaceuticals.yaml", folder / "codes")  # its tests ask for these
    before = sorted(path.name for path in (gateway.data / DIRECTORY).iterdir())
    assert "in shadow, published when approved: ours" in done(gateway, "mappings", "deploy", str(folder), "--dry-run")
    assert sorted(path.name for path in (gateway.data / DIRECTORY).iterdir()) == before
    done(gateway, "mappings", "deploy", str(folder), "--yes")
    send(gateway, tmp_path, "LIFE-2")
    until(lambda: "in shadow: 3 objects of 1 studies" in done(gateway, "mappings", "history"))
    assert studies(gateway) == 0
    assert "3 held objects are published" in done(gateway, "mappings", "approve", "ours", "--reason", "a phantom was measured")
    until(lambda: studies(gateway) == 1)
    assert "in shadow:" not in done(gateway, "mappings", "history")


@pytest.mark.timeout(900)
def test_mappings_that_vanished_stop_no_receiver(tmp_path: Path, folder: Path) -> None:
    gateway = Installation(tmp_path / "gateway", settings={"mappings": {"directory": str(folder)}})
    with gateway:
        send(gateway, tmp_path, "LIFE-3")
        until(lambda: studies(gateway) == 1)
    shutil.rmtree(gateway.data / DIRECTORY)
    gateway.launch()
    try:
        until(lambda: gateway.address is not None)
        send(gateway, tmp_path, "LIFE-4")
        url = json.loads(gateway.run_file.read_text())["http"]["url"]
        until(lambda: "mappings" in health(url))
        assert health(url)["mappings"].startswith("what is in force cannot be used; objects are received and wait")
        assert "are gone; restore the data directory, or deploy again" in gateway.log.read_text()
        shutil.copy(REPOSITORY / "mappings" / "codes" / "radiopharmaceuticals.yaml", folder / "codes")
        done(gateway, "mappings", "deploy", str(folder), "--yes")
        until(lambda: studies(gateway) == 2)
        until(lambda: health(url)["mappings"] == "ok")
        shutil.rmtree(gateway.data / DIRECTORY)
        assert "are brought back" in done(gateway, "mappings", "deploy", str(folder), "--yes")
    finally:
        gateway.stop()
    ledger = Ledger(f"sqlite:///{gateway.data / 'ledger.db'}")
    assert [item.kind for item in ledger.mappings.listed()] == ["deploy", "first"]
    assert ledger.overview.counts()["instances"]["normalised"] == 6
    ledger.close()


def health(url: str) -> dict[str, str]:
    try:
        found: dict[str, str] = requests.get(f"{url}/readyz", timeout=30).json()
    except requests.RequestException:
        return {}
    return found
