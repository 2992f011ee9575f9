"""One SOP Instance UID, several contents: what comes of it is the same at every door (DICOM, STOW-RS, folder, backfill)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset

from gateway.backfill.taker import SpoolTaker
from gateway.folder_settings import FolderSettings
from gateway.model import Door as DoorName
from gateway.receive.direct import DirectDoor
from gateway.receive.file_stream import Sender
from gateway.receive.folder import WatchedFolder
from gateway.receive.folder_state import FolderMemory
from tests.builders import part10, pet, uid
from tests.integration.receiving import PET, data_set_of, raw_peer, receiving
from tests.integration.test_stow import files, post
from tests.web_site import Site

#: Hands one object to a door; True when the door says that it has it.
Bring = Callable[[Dataset], bool]


def by_dimse(site: Site, stack: ExitStack, tmp_path: Path) -> Bring:
    receiver = stack.enter_context(receiving(site.settings.spool_directory, rows=site.ledger.intake, acknowledge_after="row"))  # type: ignore[arg-type]

    def bring(dataset: Dataset) -> bool:
        with raw_peer(receiver) as peer:
            peer.associate()
            return peer.store(PET, dataset.SOPInstanceUID, data_set_of(part10(dataset)))[0] == 0x0000

    return bring


def by_stow(site: Site, stack: ExitStack, tmp_path: Path) -> Bring:
    return lambda dataset: post(site, files(part10(dataset))).status_code == 200


def by_folder(site: Site, stack: ExitStack, tmp_path: Path) -> Bring:
    directory = tmp_path / "in"
    directory.mkdir()
    settings = FolderSettings(name="import", directory=directory)
    memory = FolderMemory(tmp_path / "memory", "import")
    sender = Sender(calling_ae="import", called_ae="ISOBRIDGE")
    folder = WatchedFolder(settings, DirectDoor(site.door, site.ledger.intake), sender, memory)

    def bring(dataset: Dataset) -> bool:
        path = directory / "one.dcm"
        path.write_bytes(part10(dataset))
        for _ in range(2):
            folder.look(lambda: False)
        return not path.exists() and not list((directory / "failed").rglob("*.dcm"))

    return bring


def by_backfill(site: Site, stack: ExitStack, tmp_path: Path) -> Bring:
    sender = Sender(calling_ae="past", called_ae="ISOBRIDGE")
    taker = SpoolTaker(DirectDoor(site.door, site.ledger.intake), sender, peer="", per_minute=0, stop=threading.Event())

    def bring(dataset: Dataset) -> bool:
        taker.begin()
        taker.take(part10(dataset))
        taker.flush()
        return (taker.objects, taker.refused) == (1, 0)

    return bring


class House:
    def __init__(self, site: Site, bring: Bring, door: DoorName) -> None:
        self.site = site
        self.door = door
        self._bring = bring

    def bring(self, dataset: Dataset) -> None:
        """It is taken, and everything that follows is done."""
        assert self._bring(dataset)
        while self.site.worker.compare_one():
            pass
        self.site.work()

    def rows(self, dataset: Dataset) -> list[tuple[str, str]]:
        """State and reason of every content of an object, the oldest first."""
        return [(item["state"], item["reason"] or "") for item in self.site.ledger.overview.find(dataset.SOPInstanceUID)]

    def published(self) -> dict[str, list[Any]]:
        """Each published resource by type, with its version."""
        found: dict[str, list[Any]] = {}
        for kind in ("Patient", "ImagingStudy", "MedicationAdministration"):
            answer = requests.get(f"{self.site.url}/fhir/{kind}", timeout=30).json()
            found[kind] = [entry["resource"] for entry in answer.get("entry", ())]
        return found

    def kept(self) -> int:
        """Files in the spool."""
        return sum(len(list(self.site.files.digests(day))) for day in self.site.files.partitions())


DOORS = {DoorName.DIMSE: by_dimse, DoorName.STOW: by_stow, DoorName.FOLDER: by_folder, DoorName.BACKFILL: by_backfill}


@pytest.fixture(params=list(DOORS), ids=str)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    site = Site(tmp_path / "data")
    with ExitStack() as stack:
        stack.callback(site.close)
        yield House(site, DOORS[request.param](site, stack, tmp_path), request.param)


def test_one_identity_with_several_contents(house: House) -> None:
    first = pet()
    house.bring(first)
    told = house.published()
    assert [len(told[kind]) for kind in told] == [1, 1, 1]
    assert house.rows(first) == [("normalised", "")]

    # The same bytes: success, and nothing else happens.
    house.bring(first)
    assert (house.rows(first), house.kept(), house.published()) == ([("normalised", "")], 1, told)
    assert house.site.ledger.overview.counts()["doors"] == {str(house.door): 2}

    # Another content: taken and kept, the first stays published, a person decides.
    house.bring(pet(PatientWeight="81"))
    assert (house.kept(), house.published()) == (2, told)
    _, (state, reason) = house.rows(first)
    assert (state, reason.endswith("These differ: PatientWeight. A person decides.")) == ("conflict", True)

    # Another patient: kept and held, and nothing of it is published.
    house.bring(pet(PatientID="OTHER"))
    assert (house.kept(), house.published()) == (3, told)
    _, _, (state, reason) = house.rows(first)
    assert (state, "PatientID" in reason, "OTHER" in reason) == ("conflict", True, False)

    # A new object of the study that names another patient: held for its patient, told in the study's own words.
    stranger = pet(SOPInstanceUID=uid("stranger"), PatientID="OTHER")
    again = pet(SOPInstanceUID=uid("again"))
    house.bring(again)
    house.bring(stranger)
    ((state, reason),) = house.rows(stranger)
    assert (state, "more than one patient id" in reason) == ("conflict", True)
    now = house.published()
    assert [item["id"] for item in now["Patient"]] == [item["id"] for item in told["Patient"]]
    (study,) = now["ImagingStudy"]
    assert study["numberOfInstances"] == 2


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("house", [DoorName.DIMSE, DoorName.STOW], indirect=True, ids=str)
def test_a_uid_with_leading_zeros_is_published_as_it_stands(house: House) -> None:
    study, instance = "1.2.826.0.1.03", "1.2.826.0.1.03.007"
    house.bring(pet(StudyInstanceUID=study, SOPInstanceUID=instance))
    assert house.rows(pet(SOPInstanceUID=instance)) == [("normalised", "")]
    (published,) = house.published()["ImagingStudy"]
    assert published["series"][0]["instance"][0]["uid"] == instance
    found = requests.get(f"{house.site.url}/fhir/ImagingStudy?identifier=urn:dicom:uid|urn:oid:{study}", timeout=30).json()
    assert [entry["resource"]["id"] for entry in found["entry"]] == [published["id"]]
    assert requests.get(f"{house.site.url}/dicom-web/studies/{study}", timeout=30).status_code == 200
