"""Normalised objects to a real Orthanc: what it holds, what people decide about it, what a second try changes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway import model, pipeline
from gateway.config import Settings
from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import header_of, read_file_meta, read_header
from gateway.errors import Quarantined, Retryable
from gateway.lanes import ImageLane, LaneSettings
from gateway.line import Line
from gateway.mapping.language import load
from gateway.model import Arrival
from gateway.publish.fhir_http import Access
from gateway.publish.orthanc import MARK, OrthancTarget
from gateway.receive.door import Door, Expected
from gateway.spool.decisions import By
from gateway.spool.deliveries import InstanceTicket
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.replays import Scope
from gateway.spool.timers import QuietPolicy
from gateway.understanding import understanding
from gateway.workers import Marker, Worker, WorkSettings, caught
from tests import builders
from tests.conftest import ROOT, data_directory
from tests.harness.peers import Orthanc
from tests.unit.mapping_files import directory

pytestmark = pytest.mark.needs("orthanc")

HOUR = LaneSettings(lease_secs=60, retry_budget_secs=3600)
ISSUER = "ISOBRIDGE-SAMPLE"  #: what the builders write
SYSTEM = Settings().site.patient_id_system
#: A site that swears to a weight: a changed number, so another object.
WEIGHT = """
match: everything
fields:
  patient.id: {from: PatientID, as: text}
  patient.name: {from: PatientName, as: person_name}
  study.uid: {from: StudyInstanceUID, as: uid}
  series.uid: {from: SeriesInstanceUID, as: uid}
  series.modality: {from: Modality, as: code}
  instance.uid: {from: SOPInstanceUID, as: uid}
  instance.sop_class: {from: SOPClassUID, as: uid}
dicom:
  charset: utf-8
  identity: effective
  elements:
    PatientWeight: {value: "80", when: {of: Modality, equals: PT}}
"""


class House:
    """A gateway without its daemon: objects go through the door, the worker reads them, one lane leads to Orthanc."""

    def __init__(self, folder: Path, orthanc: Orthanc, mappings: Path) -> None:
        settings = Settings()
        settings = dataclasses.replace(
            settings,
            data=dataclasses.replace(settings.data, directory=folder),
            mappings=dataclasses.replace(settings.mappings, directory=mappings),
        )
        self.orthanc = orthanc
        self.files = SpoolFiles(settings.spool_directory)
        self.ledger = Ledger(settings.ledger_url, QuietPolicy(quiet_secs=0, cap_secs=0))
        self.ledger.migrate()
        self.door = Door(self.files)
        self.target = OrthancTarget("archive", Access(url=orthanc.url), normalised=True)
        self.line = Line(
            understanding=understanding(settings), files=self.files, ledger=self.ledger, targets=[], archives=[self.target]
        )
        work = WorkSettings(lease_secs=60, batch_instances=500, poll_secs=0.1, retry_budget_secs=3600)
        self.worker = Worker(self.line, work, Marker(folder / "work.current"), threading.Event())
        self.lane = ImageLane(self.target, self.line, HOUR, caught)

    def put(self, *contents: bytes) -> None:
        arrival = Arrival(
            door=model.Door.DIMSE, calling_ae="PET1", called_ae="ISOBRIDGE", peer="127.0.0.1", received_at=dt.datetime.now(dt.UTC)
        )
        received = []
        for content in contents:
            meta, start = read_file_meta(content)
            syntax = meta[0x00020010].decode().strip(" \0")
            inputs = FileMetaInputs(transfer_syntax_uid=syntax, calling_ae="PET1", called_ae="ISOBRIDGE")
            received.append(self.door.store([content[start:]], inputs, arrival, Expected()))
        self.ledger.intake.record_arrivals(received)
        self.worker.normalise_batch()

    def deliver(self) -> None:
        while self.lane.step():
            pass

    def held(self) -> list[bytes]:
        found = requests.get(f"{self.orthanc.url}/instances", timeout=10).json()
        return [requests.get(f"{self.orthanc.url}/instances/{one}/file", timeout=10).content for one in found]

    def marks(self) -> list[str]:
        found = requests.get(f"{self.orthanc.url}/instances", timeout=10).json()
        answers = [requests.get(f"{self.orthanc.url}/instances/{one}/metadata/{MARK}", timeout=10) for one in found]
        return [answer.text for answer in answers if answer.ok]

    def states(self) -> dict[str, int]:
        counts: dict[str, int] = self.ledger.overview.counts()["deliveries"]["archive"]
        return counts

    def by(self) -> By:
        return By(name="radiographer", reason="mixed up", at=time.time())

    def close(self) -> None:
        self.lane.close()
        self.ledger.close()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    with server:
        yield server


@pytest.fixture
def house(orthanc: Orthanc, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    for identifier in requests.get(f"{orthanc.url}/instances", timeout=10).json():
        requests.delete(f"{orthanc.url}/instances/{identifier}", timeout=10)
    mappings = directory(tmp_path / "mappings", one=request.param) if hasattr(request, "param") else ROOT / "mappings"
    made = House(tmp_path / "house", orthanc, mappings)
    yield made
    made.close()


def pet(name: str = "one", **changes: Any) -> bytes:
    return builders.part10(builders.pet(SOPInstanceUID=builders.uid(name), SpecificCharacterSet="ISO_IR 100", **changes))


def read(content: bytes) -> Dataset:
    return dcmread(io.BytesIO(content))


def samples() -> dict[str, Path]:
    """Real objects that a gateway takes in and Orthanc needs, one of each SOP Instance UID."""
    found: dict[str, Path] = {}
    for folder in ("pet", "nm", "ct", "rrdsr", "rdsr", "sr", "rt", "seg", "sc", "odd"):
        for file in sorted((data_directory() / folder).rglob("*.dcm")):
            try:
                header = read_header(file)
            except Quarantined:
                continue
            needed = (0x00080018, 0x00100020, 0x0020000D, 0x0020000E)
            if header.file_meta and all(header.walk.text(tag) for tag in needed):
                found.setdefault(header.walk.text(0x00080018), file)
    return found


@pytest.mark.needs("data")
def test_real_objects_arrive_normalised_with_their_pixels_bit_for_bit(house: House) -> None:
    files = samples()
    house.put(*(file.read_bytes() for file in files.values()))
    house.deliver()
    assert set(house.states()) == {"verified"}, house.ledger.overview.deliveries("parked")
    held = {header.walk.text(0x00080018): header for header in map(header_of, house.held())}
    assert held.keys() == files.keys()
    changed = 0
    for uid, header in held.items():
        original = read_header(files[uid])
        assert header.raw(0x7FE00010) == original.raw(0x7FE00010)
        assert header.transfer_syntax_uid == original.transfer_syntax_uid
        is_changed = any(header.raw(tag) != original.raw(tag) for tag in original.walk.elements if tag & 0xFFFF)
        former = len(read_header(files[uid]).dataset.get("OriginalAttributesSequence") or ())
        now = len(header.dataset.get("OriginalAttributesSequence") or ())
        assert (now > former) is is_changed
        changed += is_changed
    assert changed > 50
    assert {read_header(file).transfer_syntax_uid for file in files.values()} >= {
        "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    }  # fmt: skip


def _errors(file: Path) -> set[str]:
    """What dciodvfy calls an error."""
    done = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, errors="replace", check=False)
    return {line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")}


@pytest.mark.needs("data", "dicom3tools")
def test_dciodvfy_finds_no_new_error(house: House, tmp_path: Path) -> None:
    checked = 0
    for number, file in enumerate(samples().values()):
        # dciodvfy does not inflate, so of a deflated object it reads noise; of a long series two slices are enough.
        if read_header(file).transfer_syntax_uid == "1.2.840.10008.1.2.1.99" or ("mini-petct" in str(file) and number % 20):
            continue
        house.put(file.read_bytes())
        (ticket,) = house.ledger.deliveries.lease_instances("archive", limit=1, now=time.time(), lease_secs=60)
        spooled = house.files.locate(ticket.day, ticket.digest)
        produced = pipeline.produce(ticket, spooled, house.line.understanding, house.ledger, house.line.original)
        house.ledger.deliveries.verified_instances([ticket], now=time.time())
        if produced is None or not produced.changes:
            continue
        after = tmp_path / "after.dcm"
        with after.open("wb") as out:
            produced.write_to(out)
        assert _errors(after) <= _errors(spooled), file.name
        checked += 1
    assert checked > 30


def test_sending_again_changes_nothing_and_a_kill_doubles_nothing(house: House) -> None:
    house.put(pet("one"), pet("two"))
    # Sent, and killed before the ledger heard of it: the lease runs out and the same is made and sent again.
    for ticket in house.ledger.deliveries.lease_instances("archive", limit=9, now=time.time(), lease_secs=0):
        pipeline.archive(ticket, house.target, house.line)
    once = sorted(house.held())
    house.deliver()
    assert house.states() == {"verified": 2}
    house.put(pet("one"), pet("two"))
    house.deliver()
    assert sorted(house.held()) == once
    assert all(read(content).SpecificCharacterSet == "ISO_IR 192" for content in once)


def test_an_object_that_belongs_to_another_patient_says_so_and_says_so_no_longer_when_that_is_undone(house: House) -> None:
    house.put(pet())
    house.put(pet("other", PatientID="EX-2", PatientName="Øster^An", StudyInstanceUID="2.25.99", SeriesInstanceUID="2.25.98"))
    house.deliver()
    study = str(builders.pet().StudyInstanceUID)
    before = sorted(house.held())
    house.ledger.decisions.reassign(study, house.line.understanding.patients.named("EX-2", ISSUER), house.by())
    house.deliver()
    moved = next(item for item in map(read, house.held()) if item.StudyInstanceUID == study)
    assert (len(house.held()), moved.PatientID, moved.IssuerOfPatientID) == (2, "EX-2", ISSUER)
    assert str(moved.PatientName) == "Øster^An"
    assert moved.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0].PatientID == "TEST-0001"
    assert house.marks() == []
    house.ledger.decisions.undo(study, house.by())
    house.deliver()
    assert sorted(house.held()) == before
    house.ledger.decisions.reassign(study, f"{SYSTEM}|NOBODY-KNOWS", house.by())
    house.deliver()
    unknown = next(item for item in map(read, house.held()) if item.StudyInstanceUID == study)
    assert (len(house.held()), unknown.PatientID, str(unknown.PatientName)) == (2, "NOBODY-KNOWS", "")
    assert "IssuerOfPatientID" not in unknown
    assert "parked" not in house.states()


def test_a_late_object_of_a_moved_study_arrives_with_the_right_patient_at_once(house: House) -> None:
    house.put(pet())
    house.ledger.decisions.reassign(str(builders.pet().StudyInstanceUID), f"{SYSTEM}|EX-2", house.by())
    house.put(pet("late"))
    house.deliver()
    assert [item.PatientID for item in map(read, house.held())] == ["EX-2", "EX-2"]
    assert "parked" not in house.states()


def test_a_withdrawn_object_is_marked_and_unmarked(house: House) -> None:
    house.put(pet())
    house.deliver()
    study = str(builders.pet().StudyInstanceUID)
    house.ledger.decisions.withdraw(study, house.by())
    house.deliver()
    assert house.marks() == ["isobridge: withdrawn, do not use"]
    house.ledger.decisions.undo(study, house.by())
    house.deliver()
    assert (house.marks(), len(house.held())) == ([], 1)


def test_an_object_that_no_mapping_understands_goes_out_as_it_is(house: House) -> None:
    house.put(pet(Modality=None))
    house.deliver()
    (digests,) = house.orthanc.held().values()
    (item,) = house.ledger.overview.instances("quarantined", limit=9)
    assert digests == [item["digest"]]


@pytest.mark.parametrize("house", [WEIGHT], indirect=True)
def test_a_changed_number_gets_a_new_uid_and_references_in_the_study_follow(house: House) -> None:
    received = str(builders.uid("one"))
    reference = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.128", "ReferencedSOPInstanceUID": received}
    report = builders.ct(SOPInstanceUID=builders.uid("ct"), ReferencedImageSequence=reference)
    house.put(builders.part10(report), pet())  # the reference comes before what it refers to
    house.deliver()
    held = {item.Modality: item for item in map(read, house.held())}
    sent = held["PT"].SOPInstanceUID
    assert sent != received
    assert held["CT"].ReferencedImageSequence[0].ReferencedSOPInstanceUID == sent
    assert held["CT"].SOPInstanceUID == builders.uid("ct")
    assert held["PT"].SourceImageSequence[-1].ReferencedSOPInstanceUID == received
    house.ledger.decisions.withdraw(str(builders.pet().StudyInstanceUID), house.by())
    house.deliver()
    assert house.marks() == ["isobridge: withdrawn, do not use"] * 2


def test_another_object_under_the_same_uid_is_told_and_not_touched(house: House) -> None:
    stranger = pet(SeriesDescription="somebody else's")
    assert requests.post(f"{house.orthanc.url}/instances", data=stranger, timeout=10).ok
    house.put(pet())
    house.deliver()
    assert house.held() == [stranger]
    assert "another object" in str(house.ledger.overview.deliveries("parked"))


@pytest.mark.parametrize("house", [WEIGHT], indirect=True)
def test_a_replay_replaces_what_comes_out_otherwise_and_sends_nothing_else(house: House, tmp_path: Path) -> None:
    def replay() -> None:
        house.ledger.replays.ask(Scope(study=str(read(first).StudyInstanceUID)), now=time.time())
        house.worker.replay_batch()
        assert house.states() == {"pending": 1}
        house.deliver()
        assert house.states() == {"verified": 1}

    house.put(pet())
    house.deliver()
    (first,) = house.held()
    replay()
    assert house.held() == [first]
    settings = Settings()
    mappings = directory(tmp_path / "other", one=WEIGHT.replace('"80"', '"81"'))
    settings = dataclasses.replace(
        settings,
        data=dataclasses.replace(settings.data, directory=tmp_path / "house"),
        mappings=dataclasses.replace(settings.mappings, directory=mappings),
    )
    house.line.understanding = understanding(settings)  # as after a deployment
    replay()
    (second,) = house.held()
    assert (read(first).PatientWeight, read(second).PatientWeight) == (80, 81)
    assert read(first).SOPInstanceUID != read(second).SOPInstanceUID


def _mapped(house: House, folder: Path, section: str) -> None:
    """The site changes its mind: another mapping is in force from now on."""
    mappings = load(directory(folder, one=section))
    house.line = dataclasses.replace(house.line, understanding=house.line.understanding.with_mappings(mappings))
    house.lane.close()
    house.lane = ImageLane(house.target, house.line, HOUR, caught)


@pytest.mark.parametrize(
    "element", ["PatientWeight", "StudyDescription"]
)  # a new SOP Instance UID each time; always the same one
def test_a_kill_after_the_upload_and_then_another_mapping_leaves_one_object(house: House, tmp_path: Path, element: str) -> None:
    house.put(pet())
    # Twice sent and killed before the ledger heard of it, each time by another mapping.
    for value in ("80", "81", "82"):
        _mapped(house, tmp_path / value, WEIGHT.replace("PatientWeight", element).replace('"80"', f'"{value}"'))
        if value != "82":
            (ticket,) = house.ledger.deliveries.lease_instances("archive", limit=9, now=time.time(), lease_secs=0)
            pipeline.archive(ticket, house.target, house.line)
    house.deliver()
    assert house.states() == {"verified": 1}, house.ledger.overview.deliveries("parked")
    (held,) = map(read, house.held())
    assert str(held[element].value) == "82"
    (ticket,) = _again(house)
    assert len(ticket.given) == 1  # what was only under way is forgotten


def _again(house: House) -> list[InstanceTicket]:
    """The tickets of a person's second thoughts, as somebody would hold them who then does nothing."""
    study = str(builders.pet().StudyInstanceUID)
    house.ledger.decisions.withdraw(study, house.by())
    return house.ledger.deliveries.lease_instances("archive", limit=9, now=time.time(), lease_secs=0)


def test_who_lost_the_lease_uploads_nothing(house: House) -> None:
    house.put(pet())
    (late,) = house.ledger.deliveries.lease_instances("archive", limit=9, now=time.time(), lease_secs=0)
    house.ledger.deliveries.lease_instances("archive", limit=9, now=time.time() + 1, lease_secs=60)
    with pytest.raises(Retryable):
        pipeline.archive(late, house.target, house.line)
    assert house.held() == []


def test_a_patient_whose_id_no_object_can_hold_is_marked_and_never_tried_for_ever(house: House) -> None:
    house.put(pet())
    house.deliver()
    study = str(builders.pet().StudyInstanceUID)
    house.ledger.decisions.reassign(study, f"{SYSTEM}|{'7' * 65}", house.by())
    house.put(pet("late"))
    house.deliver()
    assert house.marks() == ["isobridge: belongs to another patient than it says, see the FHIR record"] * 2
    assert set(house.states()) == {"verified"}, house.states()
    house.ledger.decisions.undo(study, house.by())
    house.deliver()
    assert (house.marks(), [read(item).PatientID for item in house.held()]) == ([], ["TEST-0001"] * 2)
