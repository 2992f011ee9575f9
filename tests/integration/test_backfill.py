"""The past from real peers (Orthanc by REST, C-GET and C-MOVE; DCMTK's dcmqrscp; a DICOMweb server): each object once, resumable."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset

from gateway.backfill.build import build_source
from gateway.backfill.run import Backfill, Progress
from gateway.backfill.source import Source, Taker
from gateway.backfill.taker import SpoolTaker
from gateway.errors import Quarantined, Retryable
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.source_settings import SourceSettings
from gateway.spool.backfills import Order, StudyRef
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from tests import builders
from tests.conftest import ORTHANC_DICOMWEB
from tests.harness.peers import Orthanc
from tests.harness.waiting import free_port
from tests.integration.ledgers import QUIET
from tests.integration.receiving import Receiving, receiving
from tests.web_site import Site

ORDER = Order(source="past", from_day="2025-03-01", to_day="2025-03-20")


def studies() -> dict[str, list[Dataset]]:
    """Three studies by name: two within the order, one of them with CT beside the PET; one that is too old."""

    def one(name: str, day: str, dataset: Dataset, number: int) -> Dataset:
        dataset.StudyInstanceUID, dataset.StudyDate = builders.uid(f"study/{name}"), day
        dataset.SeriesInstanceUID = builders.uid(f"series/{name}/{dataset.Modality}")
        dataset.SOPInstanceUID = builders.uid(f"object/{name}/{dataset.Modality}/{number}")
        return dataset

    return {
        "newer": [one("newer", "20250310", builders.pet(), number) for number in range(3)]
        + [one("newer", "20250310", builders.ct(), number) for number in range(2)],
        "older": [one("older", "20250302", builders.pet(), number) for number in range(2)],
        "too old": [one("too old", "20240302", builders.pet(), 0)],
    }


def digest(part10: bytes) -> str:
    """By another route than the gateway's: SHA-256 of transfer syntax and data set of a file by the builders."""
    length = int.from_bytes(part10[140:144], "little")
    return hashlib.sha256(b"1.2.840.10008.1.2.1" + part10[144 + length :]).hexdigest()


def expected(*names: str, modality: str = "") -> set[str]:
    return {
        digest(builders.part10(item)) for name in names for item in studies()[name] if modality in ("", item.Modality)
    }  # fmt: skip


class House:
    """The spool and the ledger that a backfill writes to."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.stop = threading.Event()
        self.files = SpoolFiles(folder / "spool", writer="backfill")
        self.ledger = ledger
        self.told: list[Progress] = []

    def backfill(self, source: Source, *, night: bool = True, per_minute: int = 0) -> Backfill:
        sender = Sender(calling_ae="past", called_ae="ISOBRIDGE")
        direct = DirectDoor(Door(self.files), self.ledger.intake)
        taker = SpoolTaker(direct, sender, peer="", per_minute=per_minute, stop=self.stop)
        return Backfill(self.ledger.backfills, source, taker, may_work=lambda: night, tell=self.told.append)

    def held(self) -> set[str]:
        return {name for day in self.files.partitions() for name in self.files.digests(day)}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", QUIET)
    opened.migrate()
    yield House(tmp_path / "gateway", opened)
    opened.close()


@pytest.fixture
def any_house(tmp_path: Path, ledger: Ledger) -> House:
    """With a ledger in each kind of database."""
    return House(tmp_path / "gateway", ledger)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with receiving(tmp_path_factory.mktemp("receiver")) as opened:
        yield opened


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, receiver: Receiving) -> Iterator[tuple[Orthanc, int]]:
    port = free_port()
    known = {"isobridge": ["ISOBRIDGE", "127.0.0.1", receiver.port]}
    folder = tmp_path_factory.mktemp("orthanc")
    plugins = [str(ORTHANC_DICOMWEB)] if ORTHANC_DICOMWEB.exists() else []
    dicom_server: dict[str, Any] = {"DicomServerEnabled": True, "DicomAet": "PACS", "DicomPort": port, "DicomModalities": known}
    with Orthanc(folder, Plugins=plugins, **dicom_server) as server:
        assert isinstance(server, Orthanc)
        for item in (item for those in studies().values() for item in those):
            assert requests.post(f"{server.url}/instances", data=builders.part10(item), timeout=10).ok
        yield server, port


@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory, receiver: Receiving) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("dcmqrscp"), free_port()
    store = folder / "store"
    store.mkdir()
    for number, item in enumerate(item for those in studies().values() for item in those):
        file = builders.write(item, store / f"{number}.dcm")
        subprocess.run(["dcmqridx", str(store), str(file)], check=True, capture_output=True)
    (folder / "cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nisobridge = (ISOBRIDGE, 127.0.0.1, {receiver.port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {store} RW (200, 1024mb) ANY\nAETable END\n"
    )
    program = shutil.which("dcmqrscp")
    assert program is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "cfg")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait()


def dicom(port: int, retrieve: str = "get") -> Source:
    settings = SourceSettings(name="past", kind="dicom", address=f"PACS@127.0.0.1:{port}", retrieve=retrieve)  # type: ignore[arg-type]
    return build_source(settings, ae_title="ISOBRIDGE")


def check_all(house: House, source: Source) -> None:
    done = house.backfill(source).run(ORDER, house.stop)
    assert house.held() == expected("newer", "older")
    assert (done.studies, done.failed, done.objects, done.refused) == (2, 0, 7, 0)
    (told,) = house.ledger.backfills.listing()
    assert (told["listed_day"], told["done"], told["objects"]) == ("2025-03-01", 2, 7)
    assert house.ledger.overview.counts()["doors"] == {"backfill": 7}
    assert house.backfill(source).run(ORDER, house.stop).studies == 0, "all is fetched already"


def check_modality(house: House, source: Source) -> None:
    order = Order(source="past", from_day="2025-03-10", to_day="2025-03-10", modalities=("CT",))
    house.backfill(source).run(order, house.stop)
    assert house.held() == expected("newer", modality="CT")


@pytest.mark.needs("orthanc")
@pytest.mark.parametrize("how", ["rest", "get", pytest.param("dicomweb", marks=pytest.mark.needs("orthanc-dicomweb"))])
@pytest.mark.parametrize("check", [check_all, check_modality])
def test_the_past_of_an_orthanc(house: House, orthanc: tuple[Orthanc, int], how: str, check: type[object]) -> None:
    server, port = orthanc
    ways = {
        "rest": SourceSettings(name="past", kind="orthanc", url=server.url),
        "dicomweb": SourceSettings(name="past", kind="dicomweb", url=f"{server.url}/dicom-web"),
    }
    check(house, build_source(ways[how], ae_title="ISOBRIDGE") if how in ways else dicom(port))  # type: ignore[call-arg]


@pytest.mark.needs("dcmtk")
@pytest.mark.parametrize("check", [check_all, check_modality])
def test_the_past_of_a_pacs_by_get(house: House, dcmqrscp: int, check: type[object]) -> None:
    check(house, dicom(dcmqrscp))  # type: ignore[call-arg]


@pytest.mark.needs("orthanc", "dcmtk")
@pytest.mark.parametrize("peer", ["orthanc", "dcmqrscp"])
def test_the_past_of_a_pacs_by_move_comes_through_the_receiver(
    house: House, receiver: Receiving, orthanc: tuple[Orthanc, int], dcmqrscp: int, peer: str
) -> None:
    before = len(receiver.rows.received)
    done = house.backfill(dicom(orthanc[1] if peer == "orthanc" else dcmqrscp, "move")).run(ORDER, house.stop)
    assert (done.studies, done.objects, done.refused, done.failed) == (2, 7, 0, 0)
    came = receiver.rows.wait_for(before + 7)[before:]
    assert {item.instance.digest for item in came} == expected("newer", "older")
    assert house.held() == set()


def test_the_past_of_a_dicomweb_server(house: House, tmp_path: Path) -> None:
    site = Site(tmp_path / "other")
    try:
        for those in studies().values():
            site.put(*those)
        site.work()
        source = build_source(SourceSettings(name="past", kind="dicomweb", url=f"{site.url}/dicom-web"), ae_title="ISOBRIDGE")
        check_modality(house, source)
        done = house.backfill(source).run(ORDER, house.stop)
        assert (done.studies, done.objects, house.held()) == (2, 7, expected("newer", "older"))
    finally:
        site.close()


class Interrupted:
    """A source that is killed, away or refuses where a test says so; else it holds the studies."""

    def __init__(self) -> None:
        self.after_objects = 99
        self.error: Exception = KeyboardInterrupt()  # type: ignore[assignment]
        self.fetched: list[str] = []

    def studies(self, day: str, modalities: Sequence[str]) -> list[StudyRef]:
        wanted = day.replace("-", "")
        return [
            StudyRef(study_uid=those[0].StudyInstanceUID, day=day, handle=name)
            for name, those in studies().items()
            if those[0].StudyDate == wanted
        ]

    def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
        self.fetched.append(study.handle)
        for item in studies()[study.handle]:
            if self.after_objects == 0:
                raise self.error
            self.after_objects -= 1
            taker.take(builders.part10(item))


def test_a_kill_costs_the_study_in_hand_and_nothing_twice(any_house: House) -> None:
    source = Interrupted()
    source.after_objects = 6
    with pytest.raises(KeyboardInterrupt):
        any_house.backfill(source).run(ORDER, any_house.stop)
    source.after_objects = 99
    done = any_house.backfill(source).run(ORDER, any_house.stop)
    assert source.fetched == ["newer", "older", "older"]
    assert (done.studies, done.objects) == (1, 2)
    assert any_house.held() == expected("newer", "older")
    assert any_house.ledger.overview.counts()["instances"]["received"] == 7
    (told,) = any_house.ledger.backfills.listing()
    assert (told["done"], told["objects"]) == (2, 7)


def test_a_study_that_the_source_refuses_costs_itself_and_is_tried_again_when_asked_again(any_house: House) -> None:
    source = Interrupted()
    source.after_objects, source.error = 0, Quarantined("The source refused to send it (status C000).")

    def heal(done: Progress) -> None:
        if done.failed:
            source.after_objects = 99

    run = any_house.backfill(source)
    run._tell = heal
    done = run.run(ORDER, any_house.stop)
    assert (done.studies, done.failed, any_house.held()) == (1, 1, expected("older"))
    assert any_house.backfill(source).run(ORDER, any_house.stop).studies == 1
    assert any_house.held() == expected("newer", "older")


def test_a_study_that_the_source_never_gives_holds_no_other(any_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an Orthanc answers 500 for a file that it has lost."""
    monkeypatch.setattr("gateway.backfill.run._WAIT_SECS", 0.001)

    class Lost(Interrupted):
        def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
            if study.handle == "newer":
                raise Retryable("The source refused (HTTP 500).", peer_down=True)
            super().fetch(study, modalities, taker)

    done = any_house.backfill(Lost()).run(ORDER, any_house.stop)
    assert (done.studies, done.failed, any_house.held()) == (1, 1, expected("older"))


def test_a_source_that_is_away_stops_the_run_with_its_reason(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.backfill.run._WAIT_SECS", 0.01)
    with pytest.raises(Retryable):
        house.backfill(dicom(free_port())).run(ORDER, house.stop)
    assert "cannot be reached" in house.ledger.backfills.listing()[0]["problem"]


def test_outside_the_night_window_nothing_is_asked_and_the_pace_is_kept(any_house: House) -> None:
    source = Interrupted()
    ended = threading.Timer(0.3, any_house.stop.set)
    ended.start()
    assert any_house.backfill(source, night=False).run(ORDER, any_house.stop).studies == 0
    assert source.fetched == []
    ended.join()
    any_house.stop.clear()
    began = time.monotonic()
    any_house.backfill(source, per_minute=600).run(ORDER, any_house.stop)
    assert time.monotonic() - began >= 7 * 0.1
