"""Tables through a watched folder and over HTTP, and the page on which a person assigns them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests

from gateway.errors import Rejected, Retryable
from gateway.folder_settings import FolderSettings
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.receive.folder import WatchedFolder
from gateway.receive.folder_state import FolderMemory
from gateway.spool.table_files import TableFiles, digest_of
from gateway.table_door import TableDoor
from gateway.workbench.sample import generate_cycle
from tests.integration.test_tables import table
from tests.web_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    for study in generate_cycle(tmp_path_factory.mktemp("cycle"), slices=2)[:1]:
        for path in study.files:
            made.put(pydicom.dcmread(path))
    made.work()
    yield made
    made.close()


def post(site: Site, content: bytes, kind: str = "text/csv", **headers: str) -> requests.Response:
    named = {"Content-Type": kind, "Content-Disposition": 'attachment; filename="C:\\\\exports\\\\cycle1.csv"', **headers}
    return requests.post(f"{site.url}/tables", data=content, headers=named, timeout=60)


def test_a_table_is_taken_over_http_once(site: Site) -> None:
    content = table().encode("cp1252")
    first, second = post(site, content), post(site, content)
    assert first.status_code == 200
    (answer,) = first.json()["tables"]
    assert (answer["state"], answer["adapter"], answer["facts"]) == ("taken", "example_lutetium_csv", 6)
    assert second.json()["tables"][0]["state"] == "known"
    listed = site.ledger.tables.listed()
    assert [part.name for part in listed] == ["cycle1.csv"]
    assert TableFiles(site.settings.spool_directory).read(answer["digest"]) == content


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"a;b\n1;2\n", "text/csv", 415, "No adapter reads this table"),
        (b"a;b\n", "application/xml", 415, "is accepted"),
        (b"x" * (17 << 20), "text/csv", 413, "larger than"),
        (b"", "text/csv", 422, "empty"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(site: Site, content: bytes, kind: str, status: int, words: str) -> None:
    answer = post(site, content, kind)
    assert answer.status_code == status
    assert words in answer.text


def test_a_page_elsewhere_cannot_bring_tables(site: Site) -> None:
    assert post(site, table().encode(), Origin="http://elsewhere.example").status_code == 403


def test_several_tables_in_one_message_are_judged_each_on_its_own(site: Site) -> None:
    files = {"a": ("bad.csv", b"a;b\n1;2\n"), "b": ("good.csv", table(dose="4,48").encode())}
    answer = requests.post(f"{site.url}/tables", files=files, timeout=60)
    assert answer.status_code == 415
    assert [("error" in one, one.get("state")) for one in answer.json()["tables"]] == [(True, None), (False, "taken")]


def test_a_person_assigns_on_the_page(site: Site) -> None:
    post(site, table(dose="4,49").encode("cp1252"))
    part = site.ledger.tables.listed()[0]
    browser = requests.Session()
    page = browser.get(f"{site.url}/tables/{part.id}", timeout=60).text
    assert "cycle1.csv" in page
    token, choice = (
        re.search(pattern, page) for pattern in (r'name="form_token" value="([^"]+)"', r'name="choice" value="([^"]+)"')
    )
    assert token is not None
    assert choice is not None
    form = {"form_token": token[1], "part": str(part.id), "decision": "assign", "choice": choice[1], "cycle": "1", "reason": ""}
    refused = browser.post(f"{site.url}/actions/table", data=form, timeout=60)
    assert "needs a reason" in refused.text
    done = browser.post(f"{site.url}/actions/table", data={**form, "reason": "export without issuer"}, timeout=60)
    assert "export without issuer" in done.text
    site.work()
    found = requests.get(f"{site.url}/fhir/Observation?code=organ-absorbed-dose&value-quantity=4.49", timeout=60).json()
    assert found["total"] == 1
    without = requests.post(f"{site.url}/actions/table", data=form, timeout=60)
    assert without.status_code == 403


def test_another_patient_is_looked_for_without_an_id_in_the_address(site: Site) -> None:
    post(site, table(dose="4,50").replace("SAMPLE-0003", "NOBODY").encode("cp1252"))
    part = site.ledger.tables.listed()[0]
    browser = requests.Session()
    page = browser.get(f"{site.url}/tables/{part.id}", timeout=60).text
    assert "No known patient" in page
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token is not None
    found = browser.post(f"{site.url}/tables/{part.id}", data={"form_token": token[1], "patient": "SAMPLE-0003"}, timeout=60)
    assert 'name="choice"' in found.text
    assert "SAMPLE-0003" not in found.url


def test_the_first_page_says_that_tables_wait(site: Site) -> None:
    post(site, table(dose="4,51").encode("cp1252"))
    assert "to be assigned" in requests.get(f"{site.url}/", timeout=60).text


def test_a_watched_folder_takes_tables_and_tells_why_not(site: Site, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    door = TableDoor(site.ledger, TableFiles(site.settings.spool_directory), site.site.refresh)
    is_down = threading.Event()

    def take(content: bytes, name: str, folder: str) -> object:
        if is_down.is_set():
            raise Retryable("The spool's disk is full.")
        return door.take(content, name, door="folder", sender=folder, now=time.time())

    settings = FolderSettings(name="station", directory=inbox)
    sender = Sender(calling_ae="station", called_ae="ISOBRIDGE")
    folder = WatchedFolder(
        settings, DirectDoor(Door(site.files), site.ledger.intake), sender, FolderMemory(tmp_path, "station"), take
    )
    (inbox / "cycle1.csv").write_bytes(table(dose="4,52").encode("cp1252"))
    (inbox / "limits.csv").write_bytes(b"Organ,Limit\nLiver,30\n")
    is_down.set()
    for _ in range(3):
        folder.look(lambda: False)
    assert sorted(path.name for path in inbox.iterdir()) == ["cycle1.csv", "limits.csv"]
    is_down.clear()
    for _ in range(2):
        folder.look(lambda: False)
    assert [path.name for path in (inbox / "done").iterdir()] == ["cycle1.csv"]
    assert "No adapter reads this table" in (inbox / "failed" / "limits.csv.reason.txt").read_text()
    assert site.ledger.tables.listed()[0].sender == "station"


def test_what_is_refused_leaves_nothing(site: Site) -> None:
    door = TableDoor(site.ledger, TableFiles(site.settings.spool_directory), site.site.refresh)
    before = len(site.ledger.tables.listed(everything=True))
    content = b"a;b\n8;9\n"
    with pytest.raises(Rejected):
        door.take(content, "a.csv", door="import", sender="", now=time.time())
    assert len(site.ledger.tables.listed(everything=True)) == before
    assert not TableFiles(site.settings.spool_directory).path(digest_of(content)).exists()
