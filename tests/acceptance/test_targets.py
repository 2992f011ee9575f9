"""Real studies through a real daemon to a real Orthanc and a FHIR server of other people, in peace and under fire.

Every acknowledged object is in Orthanc byte for byte and in exactly one ImagingStudy at the FHIR server; what is held says why.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from gateway.r4.bundles import references
from gateway.spool.ledger import Ledger
from gateway.spool.overview import INSTANCE_STATES
from tests import builders
from tests.conftest import data_directory
from tests.harness import snapshot
from tests.harness.account import settle, settle_account
from tests.harness.chaos import REPOSITORY, Installation, Killer, clean_environment
from tests.harness.peers import Orthanc, Outages, Peer, Sekmet
from tests.harness.witness import Outgoing, Witness, address_in

pytestmark = [pytest.mark.needs(need) for need in ("orthanc", "sekmet", "data", "dcmtk")]

FOLDERS = ("pet", "nm", "ct", "rrdsr", "rdsr", "sr", "rt", "seg", "sc")
KINDS = (
    *("Patient", "ImagingStudy", "Device", "Practitioner", "Medication", "MedicationAdministration", "Procedure"),
    *("Observation", "BodyStructure", "DiagnosticReport", "DocumentReference", "Provenance"),
)

#: `make soak` asks for many more.
KILLS = int(os.environ.get("ISOBRIDGE_KILLS", "21")) // 3
BULK = 600  #: small slices, so that there is something under way at every blow


@dataclass(frozen=True)
class House:
    """A gateway and the two servers that it publishes to."""

    gateway: Installation
    orthanc: Orthanc
    fhir: Sekmet

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.gateway.data / 'ledger.db'}")

    def states(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """(SOP Instance UID, digest) -> state and reason, of every object that the gateway knows."""
        overview = self.ledger.overview
        items = [item for state in INSTANCE_STATES for item in overview.instances(state, limit=10_000)]
        return {(item["sop_instance_uid"], item["digest"]): (item["state"], item["reason"]) for item in items}

    def other_contents(self) -> set[tuple[str, str]]:
        """(SOP Instance UID, digest) of what came under a UID whose first content stays in force."""
        query = "SELECT sop_instance_uid, digest FROM instance WHERE state = 'variant' OR held_for IN ('content', 'comparison')"
        with self.ledger.database.read() as connection:
            return {(row.sop_instance_uid, bytes(row.digest).hex()) for row in connection.execute(sa.text(query))}

    def deliveries(self, target: str) -> dict[str, int]:
        found: dict[str, int] = self.ledger.overview.counts()["deliveries"].get(target, {})
        return found


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Builds a house; which servers run is up to the test. All end with the test."""
    with ExitStack() as ending:

        def make(*running: str, ids: str = "auto") -> House:
            orthanc, fhir = Orthanc(tmp_path / "orthanc"), Sekmet(tmp_path / "fhir")
            for peer in (orthanc, fhir):
                ending.callback(peer.stop)
            targets = {
                "embedded": {"kind": "embedded"},
                "archive": {"kind": "orthanc", "url": orthanc.url, "connect_timeout_secs": 2},
                "research": {"kind": "fhir_server", "url": fhir.fhir_url, "connect_timeout_secs": 2, "ids": ids},
            }
            gateway = Installation(tmp_path / "gateway", settings={"targets": targets, "work": {"lease_secs": 5}})
            for name, peer in (("orthanc", orthanc), ("fhir", fhir)):
                if name in running:
                    peer.start()
            ending.callback(gateway.stop)
            gateway.start()
            return House(gateway, orthanc, fhir)

        yield make


def dcmsend(gateway: Installation, folder: Path) -> list[str]:
    """Send a folder as a scanner would. Returns the SOP Instance UIDs that DCMTK was told are safe."""
    address = gateway.address
    assert address is not None
    report = gateway.directory / f"{folder.name}.txt"
    options = ["+sd", "+r", "--no-halt", "+crf", str(report), "-aec", address.ae_title]
    subprocess.run(
        ["dcmsend", *options, address.host, str(address.port), str(folder)], check=True, capture_output=True, timeout=120
    )
    told = re.findall(r"SOP Instance  : (\S+).*?DIMSE Status  : (\S+)", report.read_text(), flags=re.DOTALL)
    return [uid for uid, status in told if status == "0x0000"]


def isobridge(gateway: Installation, *arguments: str) -> str:
    command = [sys.executable, "-m", "gateway.cli", *arguments, "--config", str(gateway.config)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=clean_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def in_studies(fhir: Sekmet) -> dict[str, int]:
    """How often each SOP Instance UID is listed in the ImagingStudy resources of the FHIR server."""
    counts: dict[str, int] = {}
    for study in fhir.all("ImagingStudy"):
        for series in study.get("series", ()):
            for instance in series.get("instance", ()):
                counts[instance["uid"]] = counts.get(instance["uid"], 0) + 1
    return counts


def facts(fhir_url: str) -> snapshot.Snapshot:
    """What we publish, by name: the server of others has things of its own, and its CapabilityStatement does not tell all that it holds."""
    return snapshot.fetch(fhir_url, KINDS)


def needless_versions(fhir: Sekmet) -> list[str]:
    """Versions that say nothing else than the version before them."""
    found = []
    for key, version in fhir.versions(KINDS).items():
        if version == "1":
            continue
        history = requests.get(f"{fhir.fhir_url}/{key}/_history?_count=200", timeout=30).json()
        contents = [snapshot.canonical(entry["resource"]) for entry in history["entry"]]
        assert len(contents) == int(version)
        found += [f"{key} version {version}" for newer, older in pairwise(contents) if newer == older]
    return found


@pytest.mark.timeout(300)
def test_every_acknowledged_object_reaches_both_targets_and_what_is_held_is_explained(make_house: Callable[..., House]) -> None:
    house = make_house("orthanc", "fhir")
    acknowledged = [uid for folder in FOLDERS for uid in dcmsend(house.gateway, data_directory() / folder)]
    assert len(acknowledged) > 120
    assert settle(house.gateway.data) == []
    held, listed, states = house.orthanc.held(), in_studies(house.fhir), house.states()
    assert len(acknowledged) == len(states)  # two files call the object otherwise in their header, so the UIDs are not compared
    explained, others = 0, house.other_contents()
    for (uid, digest), (state, reason) in states.items():
        if (uid, digest) in others:
            explained += 1
            assert reason
            assert digest not in held[uid]
            continue
        assert held[uid] == [digest]
        if state == "normalised":
            assert listed[uid] == 1
        else:
            explained += 1
            assert reason
            assert uid not in listed
    assert explained < 10
    assert [item["reason"] for item in house.ledger.overview.deliveries("parked")] == []
    for target in ("embedded", "archive", "research"):
        assert house.deliveries(target).keys() == {"verified"}
    assert snapshot.differences(facts(house.gateway.fhir_url), facts(house.fhir.fhir_url)) == []
    # All of it once more: nothing anywhere becomes new.
    before = house.fhir.versions(KINDS)
    for folder in FOLDERS:
        dcmsend(house.gateway, data_directory() / folder)
    assert settle(house.gateway.data) == []
    assert house.fhir.versions(KINDS) == before
    assert house.orthanc.held() == held


@pytest.mark.timeout(300)
def test_a_server_that_gives_its_own_ids_holds_the_same_facts_once(make_house: Callable[..., House]) -> None:
    house = make_house("orthanc", "fhir", ids="server")
    acknowledged = [uid for folder in ("pet", "ct", "rrdsr") for uid in dcmsend(house.gateway, data_directory() / folder)]
    assert settle(house.gateway.data) == []
    ours, theirs = facts(house.gateway.fhir_url), facts(house.fhir.fhir_url)
    assert house.deliveries("research").keys() == {"verified"}
    assert Counter(key.partition("/")[0] for key in theirs) == Counter(key.partition("/")[0] for key in ours)
    assert not ours.keys() & theirs.keys()
    assert all(count == 1 for count in in_studies(house.fhir).values())
    assert in_studies(house.fhir).keys() <= set(acknowledged)
    dangling = [reference for resource in theirs.values() for reference in references(resource) if reference not in theirs]
    assert dangling == []
    before = house.fhir.versions(KINDS)
    dcmsend(house.gateway, data_directory() / "pet")
    assert settle(house.gateway.data) == []
    assert house.fhir.versions(KINDS) == before


@pytest.mark.timeout(300)
def test_a_dead_target_holds_no_other_and_gets_everything_when_it_is_back(make_house: Callable[..., House]) -> None:
    house = make_house("fhir")
    acknowledged = set(dcmsend(house.gateway, data_directory() / "pet"))
    settled = settle_others(house)
    assert set(in_studies(house.fhir)) == acknowledged
    waiting = house.deliveries("archive")
    assert set(waiting) <= {"pending", "leased"}
    assert sum(waiting.values()) == len(acknowledged)
    knocks = house.gateway.log.read_text().count('"target_down"')
    assert 0 < knocks < 10 + settled  # the lane pauses as a whole; it does not try each object
    house.orthanc.start()
    assert settle(house.gateway.data, timeout_secs=90) == []
    assert house.orthanc.held().keys() == acknowledged
    assert '"target_is_back"' in house.gateway.log.read_text()


def settle_others(house: House) -> float:
    """Wait until only the archive's deliveries are open. Returns how many seconds that took."""
    began = time.monotonic()
    while True:
        unfinished = settle(house.gateway.data, timeout_secs=0)
        others = [house.deliveries(target) for target in ("embedded", "research")]
        if all(line.endswith("deliveries under way") for line in unfinished) and all(
            set(found) == {"verified"} for found in others
        ):
            return time.monotonic() - began
        assert time.monotonic() - began < 90, unfinished
        time.sleep(0.2)


@pytest.mark.timeout(300)
def test_a_parked_delivery_says_why_and_is_replayed_by_one_command(make_house: Callable[..., House], tmp_path: Path) -> None:
    house = make_house("orthanc", "fhir")
    uid = builders.uid("contested")
    foreign = builders.write(builders.pet(SOPInstanceUID=uid, SeriesDescription="of somebody else"), tmp_path / "foreign.dcm")
    stored = requests.post(f"{house.orthanc.url}/instances", data=foreign.read_bytes(), timeout=10).json()
    builders.write(builders.pet(SOPInstanceUID=uid), tmp_path / "send" / "ours.dcm")
    dcmsend(house.gateway, tmp_path / "send")
    assert settle(house.gateway.data) == []
    listed = isobridge(house.gateway, "spool", "list", "--state", "parked")
    assert f"to archive  original instance {uid}" in listed
    assert "Orthanc holds another object under this SOP Instance UID" in listed
    requests.delete(f"{house.orthanc.url}/instances/{stored['ID']}", timeout=10)
    assert "1 of 1 items will be tried again" in isobridge(house.gateway, "spool", "retry", "parked")
    assert settle(house.gateway.data) == []
    ((found, digests),) = house.orthanc.held().items()
    assert found == uid
    assert [(uid, digest) in house.states() for digest in digests] == [True]


@pytest.mark.timeout(900 + 120 * KILLS)
def test_under_fire_nothing_is_lost_doubled_or_versioned_without_reason(make_house: Callable[..., House], tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    house = make_house("orthanc", "fhir")
    files = [*_real_files(), *_bulk(tmp_path / "bulk")]
    random.Random(seed).shuffle(files)
    log = tmp_path / "witness.jsonl"
    for portion in (1, 2, 3):
        _push_under_fire(house, files[: len(files) * portion // 3], log, seed=seed + portion)
    assert settle(house.gateway.data, timeout_secs=240) == []
    _assert_balanced(house, files, log)


def _push_under_fire(house: House, files: list[Path], log: Path, *, seed: int) -> None:
    witness = Witness(log, address_in(house.gateway.run_file), associations=4, timeout_secs=10)
    peers: list[Peer] = [house.orthanc, house.fhir]
    with (
        Outages(peers, blows=KILLS, seed=seed) as outages,
        Killer(house.gateway, blows=KILLS, seed=seed, longest_secs=1.5) as killer,
    ):
        rounds = 0
        while killer.running or outages.running or rounds == 0:
            assert witness.send(files, seed=seed + rounds) == []
            rounds += 1


def _assert_balanced(house: House, files: list[Path], log: Path) -> None:
    states = house.states()
    for source in (house.gateway.fhir_url, house.fhir.fhir_url):
        account = settle_account(log, house.gateway.data, facts(source))
        print(account.table())
        assert account.balanced, account.table()
        assert account.acknowledged == len({(sent.sop_instance_uid, sent.digest) for sent in map(Outgoing.read, files)})
    assert house.deliveries("archive").keys() == {"verified"}
    held = house.orthanc.held()
    assert {(uid, digest) for uid, digests in held.items() for digest in digests} == states.keys() - house.other_contents()
    assert [uid for uid, digests in held.items() if len(digests) > 1] == []
    assert snapshot.differences(*(snapshot.in_use(facts(url)) for url in (house.gateway.fhir_url, house.fhir.fhir_url))) == []
    assert needless_versions(house.fhir) == []
    print(f"starts: Orthanc {house.orthanc.starts}, FHIR server {house.fhir.starts}; {len(held)} objects archived")


def _real_files() -> list[Path]:
    """Real objects that any sender could send: with a file header that agrees with the data set."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (data_directory() / folder).rglob("*") if path.is_file()):
        try:
            dataset: Any = dcmread(path, stop_before_pixels=True)
            named = (dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID)
            if (
                named == (dataset.SOPClassUID, dataset.SOPInstanceUID)
                and dataset.StudyInstanceUID
                and dataset.file_meta.TransferSyntaxUID
            ):
                found.append(path)
        except (InvalidDicomError, AttributeError):
            continue
    return found


def _bulk(folder: Path) -> list[Path]:
    slices = builders.pet_series(BULK, StudyInstanceUID=builders.uid("bulk-study"), SeriesInstanceUID=builders.uid("bulk-series"))
    return [builders.write(one, folder / f"{number}.dcm") for number, one in enumerate(slices)]
