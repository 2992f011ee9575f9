"""Originals leave the spool when a real Orthanc holds them, come back by their digest, and rot is found and mended."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from pydicom.dataset import Dataset

from gateway import model
from gateway.cli import main
from gateway.config import Settings
from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import read_file_meta
from gateway.errors import Retryable
from gateway.keep.originals import Originals
from gateway.keep.reconcile import Reconciled, Reconciler
from gateway.keep.retention import Retention
from gateway.keep.scrub import Scrubber
from gateway.lanes import FactLane, ImageLane, LaneSettings
from gateway.line import Line
from gateway.model import Arrival
from gateway.publish.embedded import EmbeddedTarget
from gateway.publish.fhir_http import Access
from gateway.publish.orthanc import MARK, OrthancTarget
from gateway.receive.door import Door, Expected
from gateway.receive.rows import settle_spares
from gateway.spool.decisions import By
from gateway.spool.files import SpoolFiles
from gateway.spool.keeping import Found
from gateway.spool.ledger import Ledger
from gateway.spool.proof import digest_of_file
from gateway.spool.replays import Scope
from gateway.spool.timers import QuietPolicy
from gateway.store.store import FhirStore
from gateway.understanding import understanding
from gateway.workers import Marker, Worker, WorkSettings, caught
from tests import builders
from tests.conftest import ROOT
from tests.harness.peers import Orthanc

pytestmark = pytest.mark.needs("orthanc")

HOUR = LaneSettings(lease_secs=60, retry_budget_secs=3600)
DAY_SECS = 86_400.0


class House:
    """A gateway without its daemon, whose retention believes that some days have passed."""

    def __init__(self, folder: Path, orthanc: Orthanc, access: Access | None = None, *, ledger_url: str | None = None) -> None:
        settings = Settings()
        self.settings = dataclasses.replace(
            settings,
            data=dataclasses.replace(settings.data, directory=folder),
            mappings=dataclasses.replace(settings.mappings, directory=ROOT / "mappings"),
        )
        self.days_ahead = 0.0
        self.orthanc = orthanc
        self.files = SpoolFiles(self.settings.spool_directory, now=lambda: dt.datetime.fromtimestamp(self.now(), dt.UTC))
        self.ledger = Ledger(ledger_url or self.settings.ledger_url, QuietPolicy(quiet_secs=0, cap_secs=0))
        self.ledger.migrate()
        self.store = FhirStore(self.settings.store_url)
        self.target = OrthancTarget("archive", access or Access(url=orthanc.url, connect_timeout_secs=2))
        self.originals = Originals(self.files, self.ledger.keeping, [self.target], now=self.now)
        self.line = Line(
            understanding=understanding(self.settings),
            files=self.files,
            ledger=self.ledger,
            targets=[EmbeddedTarget(self.store)],
            archives=[self.target],
            originals=self.originals,
        )
        work = WorkSettings(lease_secs=60, batch_instances=500, poll_secs=0.1, retry_budget_secs=3600)
        self.worker = Worker(self.line, work, Marker(folder / "work.current"), threading.Event())
        self.images = ImageLane(self.target, self.line, HOUR, caught)
        self.facts = FactLane(self.line.targets[0], self.line, HOUR, caught)
        self.door = Door(self.files)

    def now(self) -> float:
        return time.time() + self.days_ahead * DAY_SECS

    def put(self, *datasets: Dataset) -> None:
        received = []
        for dataset in datasets:
            content = builders.part10(dataset)
            meta, start = read_file_meta(content)
            inputs = FileMetaInputs(
                transfer_syntax_uid=meta[0x00020010].decode().strip(" \0"),
                sop_class_uid=dataset.SOPClassUID,
                sop_instance_uid=dataset.SOPInstanceUID,
                calling_ae="PET1",
                called_ae="ISOBRIDGE",
            )
            at = dt.datetime.fromtimestamp(self.now(), dt.UTC)
            arrival = Arrival(door=model.Door.DIMSE, calling_ae="PET1", called_ae="ISOBRIDGE", peer="127.0.0.1", received_at=at)
            received.append(self.door.store([content[start:]], inputs, arrival, Expected()))
        settle_spares(self.ledger.intake, self.files, self.ledger.intake.record_arrivals(received))
        self.work()

    def work(self) -> None:
        while self.worker.normalise_batch() or self.worker.replay_batch():
            pass
        while self.worker.seal_one():
            pass

    def deliver(self) -> None:
        while self.images.step() or self.facts.step():
            pass

    def spooled(self) -> dict[str, Path]:
        return {digest: self.files.locate(day, digest) for day in self.files.partitions() for digest in self.files.digests(day)}

    def release(self, *, facts: tuple[str, ...] = ("embedded",)) -> tuple[int, int]:
        """How many left, and of how many the archive said no."""
        retention = Retention(self.files, self.ledger.keeping, [self.target], facts, days=7, now=self.now)
        done = retention.run(threading.Event())
        return done.objects, done.lost

    def scrub(self) -> tuple[int, int, int, int]:
        done = Scrubber(self.files, self.ledger.keeping, self.originals, now=self.now).run(threading.Event())
        assert done.finished
        return done.objects, done.damaged, done.missing, done.mended

    def reconcile(self, *, since: float = 0.0) -> tuple[Reconciled, Reconciled]:
        """The archive, and the embedded store."""
        reconciler = Reconciler(self.files, self.ledger.keeping, self.ledger.deliveries, self.originals, now=self.now)
        stop = threading.Event()
        return reconciler.images(self.target, stop, since=since), reconciler.facts(self.line.targets[0], stop, since=since)

    def findings(self) -> dict[str, int]:
        found: dict[str, int] = self.ledger.keeping.counts()["findings"]
        return {kind: number for kind, number in found.items() if number}

    def lose_store(self) -> None:
        """The FHIR store begins empty."""
        self.store.close()
        for file in self.settings.data.directory.glob("store.db*"):
            file.unlink()
        self.store = FhirStore(self.settings.store_url)
        self.line.targets = [EmbeddedTarget(self.store)]
        self.facts = FactLane(self.line.targets[0], self.line, HOUR, caught)

    def close(self) -> None:
        self.images.close()
        self.ledger.close()
        self.store.close()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        assert isinstance(server, Orthanc)
        yield server


@pytest.fixture
def house(orthanc: Orthanc, tmp_path: Path) -> Iterator[House]:
    empty(orthanc)
    built = House(tmp_path, orthanc)
    yield built
    built.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def any_house(request: pytest.FixtureRequest, orthanc: Orthanc, tmp_path: Path) -> Iterator[House]:
    """With a ledger in each kind of database."""
    empty(orthanc)
    built = House(tmp_path, orthanc, ledger_url=None if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield built
    built.close()


def empty(orthanc: Orthanc) -> None:
    for identifier in requests.get(f"{orthanc.url}/instances", timeout=10).json():
        requests.delete(f"{orthanc.url}/instances/{identifier}", timeout=10)


def test_originals_leave_after_their_days_and_come_back_for_a_replay(any_house: House) -> None:
    any_house.put(*builders.pet_series(3))
    any_house.deliver()
    before = {digest: path.read_bytes() for digest, path in any_house.spooled().items()}
    assert len(before) == 3
    any_house.days_ahead = 6.9
    assert any_house.release() == (0, 0)
    any_house.days_ahead = 7.1
    assert any_house.release() == (3, 0)
    assert any_house.spooled() == {}
    assert any_house.ledger.keeping.counts()["left"] == 3
    assert any_house.scrub() == (0, 0, 0, 0), "what left is not missing"

    any_house.ledger.replays.ask(Scope(), now=time.time())
    any_house.work()
    assert {digest: path.read_bytes() for digest, path in any_house.spooled().items()} == before
    assert any_house.ledger.keeping.counts()["left"] == 0
    any_house.deliver()
    assert any_house.release() == (0, 0), "its days count anew"
    any_house.days_ahead = 14.3
    assert any_house.release() == (3, 0)


def test_what_somebody_still_needs_stays(house: House) -> None:
    house.put(*builders.pet_series(2))
    house.days_ahead = 8
    assert house.release() == (0, 0), "nothing is verified"
    house.days_ahead = 0
    house.deliver()
    house.days_ahead = 8
    assert house.release(facts=("embedded", "research")) == (0, 0), "a FHIR server was never told"
    (study,) = house.ledger.studies.recent(limit=9)
    by = By(name="radiographer", reason="mixed up", at=time.time())
    house.ledger.decisions.withdraw(study.uid, by)
    house.work()
    house.deliver()
    house.days_ahead = 16
    assert house.release() == (0, 0), "withdrawn"
    house.ledger.decisions.undo(study.uid, by)
    house.days_ahead = 0
    house.work()
    house.deliver()
    house.days_ahead = 8
    assert house.release() == (2, 0)


def test_an_archive_that_lost_an_object_or_is_away_lets_nothing_go(any_house: House) -> None:
    any_house.put(*builders.pet_series(2))
    any_house.deliver()
    any_house.days_ahead = 8
    identifier = requests.get(f"{any_house.orthanc.url}/instances", timeout=10).json()[0]
    requests.delete(f"{any_house.orthanc.url}/instances/{identifier}", timeout=10)
    assert any_house.release() == (1, 1)
    assert len(any_house.spooled()) == 1
    assert any_house.findings() == {"lost": 1}
    away = OrthancTarget("archive", Access(url="http://127.0.0.1:1", connect_timeout_secs=1))
    done = Retention(any_house.files, any_house.ledger.keeping, [away], ["embedded"], days=7, now=any_house.now).run(
        threading.Event()
    )
    assert (done.objects, done.lost, bool(done.problem)) == (0, 0, True)
    assert len(any_house.spooled()) == 1


def test_a_kill_between_the_ledger_and_the_file_is_finished_by_the_next_pass(any_house: House) -> None:
    any_house.put(*builders.pet_series(2))
    any_house.deliver()
    any_house.days_ahead = 8
    retention = Retention(any_house.files, any_house.ledger.keeping, [any_house.target], ["embedded"], days=7, now=any_house.now)
    first, second = any_house.ledger.keeping.ripe(retention.terms(), after=0, limit=9)
    assert any_house.ledger.keeping.depart(
        first, retention.terms(), target="archive", now=any_house.now()
    )  # killed: its file stands
    assert any_house.ledger.keeping.depart(second, retention.terms(), target="archive", now=any_house.now())
    any_house.files.remove(second.day, second.digest)  # killed: the ledger does not know that it is gone
    assert any_house.release() == (2, 0)
    assert (any_house.spooled(), any_house.ledger.keeping.counts()["left"]) == ({}, 2)


def test_what_comes_again_stands_in_the_spool_again(house: House) -> None:
    (dataset,) = builders.pet_series(1)
    house.put(dataset)
    house.deliver()
    house.days_ahead = 8
    assert house.release() == (1, 0)
    house.put(dataset)
    (path,) = house.spooled().values()
    assert path.parent.name == dt.datetime.fromtimestamp(house.now(), dt.UTC).date().isoformat()
    assert house.ledger.keeping.counts()["left"] == 0
    assert house.scrub() == (1, 0, 0, 0)


def test_without_the_archive_a_replay_waits_and_keeps_the_record(house: House) -> None:
    house.put(*builders.pet_series(1))
    house.deliver()
    house.days_ahead = 8
    assert house.release() == (1, 0)
    house.originals._archives["archive"] = OrthancTarget("archive", Access(url="http://127.0.0.1:1", connect_timeout_secs=1))
    house.ledger.replays.ask(Scope(), now=time.time())
    house.worker.replay_batch()
    assert house.spooled() == {}
    with house.ledger.database.read() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM instance WHERE replay IS NOT NULL").scalar() == 1, (
            "asked for still"
        )
    (digest,) = {item["digest"] for item in house.ledger.overview.instances("normalised")}
    with pytest.raises(Retryable):
        house.line.original(house.ledger.overview.instances("normalised")[0]["day"], digest)


def test_a_scrub_finds_rot_and_mends_it_from_the_archive(any_house: House) -> None:
    any_house.put(*builders.pet_series(4))
    any_house.deliver()
    rotten, cut, gone, _sound = sorted(any_house.spooled().values())
    content = bytearray(rotten.read_bytes())
    content[-1] ^= 1
    rotten.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    assert any_house.scrub() == (4, 2, 1, 3)
    assert all(digest_of_file(path) == path.stem for path in any_house.spooled().values())
    assert len(any_house.spooled()) == 4
    assert any_house.findings() == {}
    assert any_house.scrub() == (4, 0, 0, 0)


def test_rot_that_no_archive_can_mend_stays_a_finding_until_it_is_mended(house: House) -> None:
    (dataset,) = builders.pet_series(1)
    house.put(dataset)
    (path,) = house.spooled().values()
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert house.scrub() == (1, 1, 0, 0)
    assert house.findings() == {"damaged": 1}
    assert house.ledger.keeping.findings()[0]["kind"] == Found.DAMAGED
    assert path.read_bytes() == whole[:-2], "the file stays as evidence"
    path.write_bytes(whole)
    assert house.scrub() == (1, 0, 0, 0)
    assert house.findings() == {}


@pytest.fixture
def own_orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """One whose storage may be rolled back."""
    with Orthanc(tmp_path / "orthanc") as server:
        assert isinstance(server, Orthanc)
        yield server


def test_an_orthanc_rolled_back_to_an_older_copy_gets_exactly_what_is_missing(own_orthanc: Orthanc, tmp_path: Path) -> None:
    house = House(tmp_path / "gateway", own_orthanc)
    series = list(builders.pet_series(8))
    house.put(*series[:5])
    house.deliver()
    own_orthanc.stop()
    shutil.copytree(own_orthanc.directory / "storage", tmp_path / "older")
    own_orthanc.start()
    before = own_orthanc.held()
    since = time.time()
    house.put(*series[5:])
    house.deliver()
    held = own_orthanc.held()
    assert (len(before), len(held)) == (5, 8)
    archive, _ = house.reconcile()
    assert (archive.asked, archive.again, archive.stuck, archive.problem) == (8, 0, 0, "")

    own_orthanc.stop()
    shutil.rmtree(own_orthanc.directory / "storage")
    shutil.copytree(tmp_path / "older", own_orthanc.directory / "storage")
    own_orthanc.start()
    assert own_orthanc.held() == before
    assert spool_reconcile(house) == "archive: 8 asked for, 3 missing and sent again\n"
    assert house.ledger.overview.counts()["deliveries"]["archive"] == {"pending": 3, "verified": 5}
    before_that = len(stored(own_orthanc))
    house.deliver()
    assert own_orthanc.held() == held, "every object once, by the digests of what it gives back"
    assert len(stored(own_orthanc)) - before_that == 3, "nothing else was uploaded"
    assert spool_reconcile(house) == "archive: 8 asked for, 0 missing and sent again\n"
    assert house.reconcile(since=since)[0].asked == 3
    assert house.findings() == {}
    house.close()


def spool_reconcile(house: House) -> str:
    """What ``isobridge spool reconcile`` says, with settings of its own over the same folder."""
    file = house.settings.data.directory / "gateway.yaml"
    file.write_text(
        f"data: {{directory: {house.settings.data.directory}}}\nmappings: {{directory: {ROOT / 'mappings'}}}\n"
        f"targets: {{archive: {{kind: orthanc, url: '{house.orthanc.url}'}}}}\n"
    )
    result = CliRunner().invoke(main, ["spool", "reconcile", "--target", "archive", "--config", str(file)])
    assert result.exit_code == 0, result.output
    return result.stdout


def stored(orthanc: Orthanc) -> list[str]:
    """Orthanc's ids of all that was ever new to this storage, as it tells itself."""
    changes = requests.get(f"{orthanc.url}/changes?limit=1000", timeout=10).json()["Changes"]
    return [change["ID"] for change in changes if change["ChangeType"] == "NewInstance"]


def test_what_nobody_has_any_more_is_told_and_not_sent(house: House) -> None:
    house.put(*builders.pet_series(2))
    house.deliver()
    rotten, sound = sorted(house.spooled().values())
    rotten.write_bytes(rotten.read_bytes()[:-2])
    empty(house.orthanc)
    archive, _ = house.reconcile()
    assert (archive.asked, archive.again, archive.stuck) == (2, 1, 1)
    house.deliver()
    assert [digest for digests in house.orthanc.held().values() for digest in digests] == [sound.stem]
    assert house.findings() == {"lost": 1}


def test_the_mark_of_a_reassigned_object_is_told_again_behind_it(house: House) -> None:
    house.put(*builders.pet_series(1))
    house.deliver()
    (study,) = house.ledger.studies.recent(limit=9)
    by = By(name="radiographer", reason="mixed up", at=time.time())
    house.ledger.decisions.reassign(study.uid, f"{house.settings.site.patient_id_system}|OTHER", by)
    house.work()
    house.deliver()
    empty(house.orthanc)
    assert house.reconcile()[0].again == 1
    house.deliver()
    (identifier,) = requests.get(f"{house.orthanc.url}/instances", timeout=10).json()
    told = requests.get(f"{house.orthanc.url}/instances/{identifier}/metadata/{MARK}", timeout=10).text
    assert "another patient" in told


def test_a_fhir_store_rolled_back_gets_what_it_lost_and_nothing_else(any_house: House) -> None:
    any_house.put(*builders.pet_series(2))
    any_house.deliver()
    _, facts = any_house.reconcile()
    assert (facts.asked, facts.again) == (2, 0), "a study and a dossier"
    held = versions(any_house.store)
    assert held
    any_house.lose_store()
    assert versions(any_house.store) == {}
    _, facts = any_house.reconcile()
    assert (facts.asked, facts.stuck, facts.problem) == (2, 0, "")
    assert facts.again == 2
    any_house.work()
    any_house.deliver()
    assert versions(any_house.store) == held
    assert any_house.reconcile()[1].again == 0


def test_a_fhir_store_that_lost_one_resource_gets_that_one(house: House) -> None:
    house.put(*builders.pet_series(2))
    house.deliver()
    held = versions(house.store)
    (lost,) = [key for key in held if key.startswith("MedicationAdministration/")]
    entry = {"request": {"method": "DELETE", "url": lost}}
    house.store.transact({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    _, facts = house.reconcile()
    assert (facts.asked, facts.again) == (2, 1)
    house.work()
    house.deliver()
    assert versions(house.store) == held | {lost: held[lost] + 2}, "deleted, and there again"
    assert house.reconcile()[1].again == 0


def versions(store: FhirStore) -> dict[str, int]:
    """What a store holds: ``Type/id`` -> version."""
    with store._database.read() as connection:
        rows = connection.exec_driver_sql("SELECT type, id, version FROM res WHERE NOT deleted")
        return {f"{row.type}/{row.id}": row.version for row in rows}
