"""DICOMweb of what the spool has no more, or never had, from a real Orthanc: by its REST API and by its DICOMweb plugin.

The archive asks for a password. What a client is answered is the same as before the originals left, and tells nothing of the archive.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from gateway.audit.trail import Asked
from gateway.client_settings import ClientSettings
from gateway.config import Web
from gateway.publish.fhir_http import Access
from gateway.spool.decisions import By
from gateway.store.cohort import create_group
from gateway.target_settings import TargetSettings
from gateway.web import listen
from gateway.web.app import build
from gateway.web.passwords import hash_token
from tests.builders import ct, part10, pet, pet_series, uid
from tests.conftest import ORTHANC_DICOMWEB, ROOT
from tests.harness.peers import Orthanc
from tests.harness.waiting import free_port
from tests.integration.test_dicomweb import parts
from tests.integration.test_retention import House

pytestmark = pytest.mark.needs("orthanc")

SLICES = 3
PASSWORD = "not-for-clients"
STUDY, SERIES = str(pet().StudyInstanceUID), str(pet().SeriesInstanceUID)
HERE, WITHDRAWN, STRANGE = uid("study that stays"), uid("study that is withdrawn"), uid("study that never came")
ONE = f"/studies/{STUDY}/series/{SERIES}/instances/{uid('pet-series/1')}"
WAYS = ["rest", pytest.param("plugin", marks=pytest.mark.needs("orthanc-dicomweb"))]

CLIENTS = """
import json, pathlib, sys, pandas, requests
from {library} import {name}
url, token, study, series, out = sys.argv[1:]
session = requests.Session()
session.headers['Authorization'] = 'Bearer ' + token
"""
DICOMWEB = """
client = DICOMwebClient(url=url + '/dicom-web', session=session)
found = client.search_for_instances(study, series)
one = found[0]['00080018']['Value'][0]
metadata = client.retrieve_series_metadata(study, series)
whole = client.retrieve_study(study)
item = client.retrieve_instance(study, series, one)
frame = client.retrieve_instance_frames(study, series, one, [1])[0]
bulk = client.retrieve_bulkdata(next(m for m in metadata if m['00080018']['Value'][0] == one)['7FE00010']['BulkDataURI'])[0]
print(json.dumps({'instances': len(found), 'metadata': len(metadata), 'whole': sorted(d.SOPInstanceUID for d in whole),
                  'pixels': frame == bulk == item.PixelData}))
"""
PYRATE = """
facts = session.get(url + '/fhir/ImagingStudy?modality=PT&_summary=count').json()['total']
table = pandas.DataFrame([{'study_instance_uid': study, 'series_instance_uid': series}])
with DicomDownloader(auth=session, dicom_web_url=url + '/dicom-web', output_format='dicom', turn_off_checks=True) as loader:
    done, failed = loader.download_data_from_dataframe(table, output_dir=out, series_uid_col='series_instance_uid')
print(json.dumps({'facts': facts, 'failed': len(failed), 'files': sorted(str(p) for p in pathlib.Path(out).rglob('*.dcm'))}))
"""


class Place:
    """A gateway whose retention let a study go, and one more web side for each way to ask the archive."""

    def __init__(self, folder: Path, orthanc: Orthanc) -> None:
        self.orthanc = orthanc
        access = Access(url=orthanc.url, username="isobridge", password=PASSWORD)
        self.house = House(folder, orthanc, access)
        self._servers: list[tuple[uvicorn.Server, threading.Thread, Any]] = []
        self._urls: dict[str, str] = {}
        self._fill()

    def _fill(self) -> None:
        house = self.house
        house.put(*pet_series(SLICES), ct())
        withdrawn = {"StudyInstanceUID": WITHDRAWN, "SeriesInstanceUID": uid("w series")}
        house.put(pet(**withdrawn, SOPInstanceUID=uid("w object"), PatientID="THIRD"))
        house.deliver()
        self.before = {path: self.answer("off", path) for path in self.paths()}
        house.days_ahead = 8
        assert house.release() == (SLICES + 2, 0)
        house.ledger.decisions.withdraw(WITHDRAWN, By(name="radiographer", reason="wrong patient", at=house.now()))
        here = {"StudyInstanceUID": HERE, "SeriesInstanceUID": uid("h series"), "SOPInstanceUID": uid("h object")}
        house.put(pet(**here, PatientID="OTHER"))
        house.work()
        house.deliver()
        strange = {"StudyInstanceUID": STRANGE, "SeriesInstanceUID": uid("s series")}
        for number in range(2):
            self.store(pet(**strange, SOPInstanceUID=uid(f"strange {number}"), PatientID="STRANGER", InstanceNumber=number + 1))
        found = {
            one.stored.resource()["identifier"][0]["value"]: one.stored.id for one in house.store.search("Patient", []).entries
        }
        create_group(house.store, "lung", [f"Patient?_id={found[str(pet().PatientID)]}"])
        create_group(house.store, "others", [f"Patient?_id={found['OTHER']}"])

    @staticmethod
    def paths() -> list[str]:
        return [f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}", f"/studies/{STUDY}/metadata", ONE,
                f"{ONE}/metadata", f"{ONE}/frames/1", f"{ONE}/bulkdata/7FE00010"]  # fmt: skip

    def store(self, dataset: Any) -> str:
        """Straight into the archive, past us."""
        answer = self.ask("POST", "instances", data=part10(dataset)).json()
        assert answer["Status"] == "Success"
        return str(answer["ID"])

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, f"{self.orthanc.url}/{path}", auth=("isobridge", PASSWORD), timeout=20, **options)

    def url(self, way: str, **changes: Any) -> str:
        """A web side that asks the archive in this way: ``off``, ``departed`` or ``all``, by ``rest`` or ``plugin``."""
        key = f"{way} {changes}"
        if key not in self._urls:
            proxy, _, by = way.partition(" ")
            self._urls[key] = self._serve(
                {"dicomweb_proxy": proxy, "dicomweb_path": "dicom-web" if by == "plugin" else None, **changes}
            )
        return self._urls[key]

    def _serve(self, options: dict[str, Any]) -> str:
        dead = (
            [TargetSettings(name="dead", kind="orthanc", url=f"http://127.0.0.1:{free_port()}")]
            if options.pop("dead", False)
            else []
        )
        given: dict[str, Any] = {"url": self.orthanc.url, "username": "isobridge", "password": PASSWORD, **options}
        clients = [
            ClientSettings(name=name, token_hash=hash_token(name), scopes=scopes, group=group)
            for name, scopes, group in (
                ("all", "system/*.rs", None),
                ("lung", "system/*.rs", "lung"),
                ("others", "system/*.rs", "others"),
                ("observations", "system/Observation.rs system/Patient.r", None),
            )
        ]
        own = self.house.settings.data.directory.parent / f"web{len(self._servers)}"  # a trail is one process's
        own.mkdir()
        settings = dataclasses.replace(
            self.house.settings,
            data=dataclasses.replace(self.house.settings.data, directory=own),
            targets=(*dead, TargetSettings(name="archive", kind="orthanc", **given)),
            web=Web(requests_per_minute=0),
            clients=tuple(clients),
        )
        app = build(settings, self.house.ledger, self.house.store, self.house.files)
        listener = socket.create_server(("127.0.0.1", 0))
        server = listen.server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self._servers.append((server, thread, app))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def get(self, way: str, path: str, *, who: str = "all", **options: Any) -> requests.Response:
        changes = options.pop("changes", {})
        headers = {"Authorization": f"Bearer {who}", **options.pop("headers", {})}
        return requests.get(f"{self.url(way, **changes)}/dicom-web{path}", headers=headers, timeout=60, **options)

    def answer(self, way: str, path: str) -> object:
        """What is answered, without what is another each time: the boundary, our port, the order of parts of one series."""
        answer = self.get(way, path)
        assert answer.status_code == 200, answer.text
        if answer.headers["content-type"].startswith("multipart/"):
            return sorted(parts(answer))
        return json.loads(answer.text.replace(self.url(way), "us"))

    def studies(self, way: str, query: str = "", **options: Any) -> list[str]:
        answer = self.get(way, f"/studies?{query}", **options)
        assert answer.status_code == 200, answer.text
        return [item["0020000D"]["Value"][0] for item in answer.json()]

    def close(self) -> None:
        for server, thread, app in self._servers:
            server.should_exit = True
            thread.join(20)
            app.state.trail.close()
        self.house.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("proxy")
    plugins = [str(ORTHANC_DICOMWEB)] if ORTHANC_DICOMWEB.exists() else []
    with Orthanc(folder / "orthanc", user="isobridge", password=PASSWORD, Plugins=plugins) as orthanc:
        assert isinstance(orthanc, Orthanc)
        built = Place(folder / "gateway", orthanc)
        yield built
        built.close()


@pytest.mark.parametrize("by", WAYS)
def test_what_has_left_is_answered_as_before(place: Place, by: str) -> None:
    assert place.get("off", f"/studies/{STUDY}").status_code == 410
    for path in place.paths():
        assert place.answer(f"departed {by}", path) == place.before[path], path
    bare = place.get(f"departed {by}", ONE, headers={"Accept": "application/dicom"})
    assert [("application/dicom", bare.content)] == [
        ("application/dicom", body) for _, body in parts(place.get("departed rest", ONE))
    ]
    narrow = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50'
    assert place.get(f"departed {by}", ONE, headers={"Accept": narrow}).status_code == 406
    left = list(place.house.settings.data.directory.parent.glob("web*/cache/from-archive"))
    assert left
    assert not [file for folder in left for file in folder.iterdir()], "what was fetched goes with the answer"


@pytest.mark.parametrize("by", WAYS)
def test_nothing_of_the_archive_travels_to_the_client(place: Place, by: str) -> None:
    secret = base64.b64encode(f"isobridge:{PASSWORD}".encode()).decode()
    told = [
        place.get(f"all {by}", path)
        for path in (*place.paths(), "/studies", f"/studies/{STRANGE}/metadata", "/series", "/instances")
    ]
    for answer in told:
        text = f"{answer.headers}{answer.content.decode('latin-1')}"
        assert str(place.orthanc.port) not in text.replace(place.url(f"all {by}"), "")
        assert not [word for word in (PASSWORD, secret, "rthanc", "Set-Cookie") if word in text]
    addresses = [item["00081190"]["Value"][0] for item in place.get(f"all {by}", "/instances").json()]
    assert len(addresses) == SLICES + 1 + 1 + 2
    for address in addresses:
        assert address.startswith(place.url(f"all {by}") + "/dicom-web/")
        fetched = requests.get(address, headers={"Authorization": "Bearer all"}, timeout=20)
        assert fetched.status_code == 200


@pytest.mark.parametrize("by", WAYS)
def test_a_search_over_both_names_each_study_once_and_pages_without_gaps(place: Place, by: str) -> None:
    way = f"all {by}"
    everything = place.studies(way)
    assert sorted(everything) == sorted([STUDY, HERE, STRANGE]), "not what was withdrawn, though the archive holds it"
    assert [place.studies(way, f"limit=1&offset={number}") for number in range(4)] == [[uid_] for uid_ in everything] + [[]]
    assert place.studies(way, "limit=2&offset=1") == everything[1:]
    assert "more results" in place.get(way, "/studies?limit=2").headers["Warning"]
    assert "Warning" not in place.get(way, "/studies?limit=3").headers
    assert place.studies("departed rest") == everything[:2]
    name = "TEST^INVENTED" if by == "plugin" else "test^inv*"  # Orthanc's plugin compares letters of names as they are
    narrow = f"PatientName={name}&ModalitiesInStudy=PT&PatientID=STR*&StudyDescription=PET/CT torso*&StudyDate=20200101-20991231"
    assert place.studies(way, "PatientID=STRANGER") == place.studies(way, narrow) == [STRANGE]
    assert place.studies(way, "PatientID=STRANGER&StudyDescription=PET/CT%2Btorso*") == []
    assert place.studies(way, f"StudyInstanceUID={HERE},{STRANGE}") == [HERE, STRANGE]
    assert place.studies(way, "StudyDate=-19991231") == []
    (study,) = place.get(way, "/studies?PatientID=STRANGER").json()
    ours = place.get(way, f"/studies?StudyInstanceUID={HERE}").json()[0]
    assert study.keys() == ours.keys()
    assert (study["00201206"]["Value"], study["00201208"]["Value"], study["00080061"]["Value"]) == ([1], [2], ["PT"])
    series = place.get(way, f"/studies/{STRANGE}/series").json()
    assert [item["00200011"]["Value"] for item in series] == [[int(pet().SeriesNumber)]]
    instances = place.get(way, f"/studies/{STRANGE}/instances?limit=1&offset=1").json()
    assert [item["00080016"]["Value"] for item in instances] == [[str(pet().SOPClassUID)]]


@pytest.mark.parametrize("by", WAYS)
def test_who_sees_a_group_sees_its_studies_and_no_others(place: Place, by: str) -> None:
    way = f"all {by}"
    assert place.studies(way, who="lung") == [STUDY]
    assert place.studies(way, who="others") == [HERE]
    assert place.get(way, f"/studies/{STUDY}", who="lung").status_code == 200
    for study, who in ((STUDY, "others"), (STRANGE, "lung"), (STRANGE, "others"), (WITHDRAWN, "lung"), (WITHDRAWN, "all")):
        for path in ("", "/metadata"):
            answer = place.get(way, f"/studies/{study}{path}", who=who)
            assert (answer.status_code, STUDY in answer.text) == (404, False), (study, who)
    assert place.get(way, f"/studies/{STUDY}", who="observations").status_code == 403
    assert place.get(way, f"/studies/{STRANGE}", who="nobody").status_code == 401
    assert place.get(f"departed {by}", f"/studies/{STRANGE}").status_code == 404


def test_each_access_is_recorded_as_one_to_the_study(place: Place) -> None:
    for study, status in ((STUDY, 200), (STRANGE, 404)):
        assert place.get("all rest", f"/studies/{study}/metadata", who="lung").status_code == status
    trails = [app.state.trail for _, _, app in place._servers]
    for trail in trails:
        trail.flush()
    found = [one for trail in trails for one in trail.find(Asked(who="lung", count=500)).records]
    assert {("dicom", STUDY, 200, "lung"), ("dicom", STRANGE, 404, "lung")} <= {
        (one.what, one.id, one.status, one.group) for one in found
    }


@pytest.mark.parametrize("by", WAYS)
def test_only_uids_reach_the_archive(place: Place, by: str) -> None:
    base = f"/studies/{STRANGE}/series"
    for path in ("/studies/..", "/studies/%2e%2e/metadata", "/studies/1..2", f"{base}/../instances/..", f"{base}/1/instances/1%2F..%2F..",
                 "/studies/1%3Fincludefield=all", "/studies/1%2F..%2F..%2Fsystem", f"/studies/{'1' * 65}"):  # fmt: skip
        url = f"{place.url(f'all {by}')}/dicom-web"
        prepared = requests.Request("GET", url, headers={"Authorization": "Bearer all"}).prepare()
        prepared.url = url + path  # requests would tidy the path up
        with requests.Session() as session:
            answer = session.send(prepared, timeout=20)
        assert answer.status_code in (400, 403, 404), (path, answer.status_code, answer.text)
    assert place.studies(f"all {by}", "PatientID=STRANGER%26limit%3D1%00") == []


@pytest.mark.parametrize("by", WAYS)
def test_other_bytes_than_were_received_are_never_given(place: Place, by: str) -> None:
    """Somebody replaced one object in the archive."""
    one = uid("pet-series/2")
    (held,) = place.ask("POST", "tools/lookup", data=one).json()
    original = place.ask("GET", f"instances/{held['ID']}/file").content
    place.ask("DELETE", f"instances/{held['ID']}")
    gone = place.get(f"departed {by}", f"/studies/{STUDY}/series/{SERIES}/instances/{one}")
    part = place.get(f"departed {by}", f"/studies/{STUDY}/series/{SERIES}")
    assert (gone.status_code, part.status_code, len(parts(part))) == (410, 206, SLICES - 1)
    beside = {"dead": True}  # an archive that may have it does not answer: not by halves
    assert place.get(f"departed {by}", f"/studies/{STUDY}/series/{SERIES}", changes=beside).status_code in (502, 503)
    assert place.get(f"departed {by}", ONE, changes=beside).status_code == 200
    forged = place.store(_forged(one))
    try:
        answer = place.get(f"departed {by}", f"/studies/{STUDY}/series/{SERIES}/instances/{one}/metadata")
        assert (answer.status_code, "another object" in answer.json()["error"]) == (502, True)
        with pytest.raises(
            requests.RequestException
        ):  # the answer has begun: it breaks off, and is not closed as if it were whole
            place.get(f"departed {by}", f"/studies/{STUDY}/series/{SERIES}")
    finally:
        place.ask("DELETE", f"instances/{forged}")
        assert place.ask("POST", "instances", data=original).json()["Status"] == "Success"


def _forged(sop_instance_uid: str) -> Any:
    dataset = next(one for one in pet_series(SLICES) if sop_instance_uid == one.SOPInstanceUID)
    dataset.SeriesDescription = "forged"
    return dataset


def test_a_dead_archive_is_said_and_takes_nothing_from_what_is_here(place: Place) -> None:
    dead = {"url": f"http://127.0.0.1:{free_port()}"}
    answer = place.get("all rest", f"/studies/{STUDY}", changes=dead)
    assert (answer.status_code, "cannot be reached" in answer.json()["error"]) == (502, True)
    assert answer.headers["Retry-After"]
    again = place.get("all rest", f"/studies/{STUDY}", changes=dead)
    assert (again.status_code, "a moment ago" in again.json()["error"]) == (503, True)
    assert place.get("all rest", f"/studies/{HERE}", changes=dead).status_code == 200
    found = place.get("all rest", "/studies", changes=dead)
    assert [item["0020000D"]["Value"][0] for item in found.json()] == place.studies("departed rest")
    assert "is missing" in found.headers["Warning"]
    assert "Warning" not in place.get("all rest", f"/studies?StudyInstanceUID={HERE}", changes=dead).headers
    wrong = place.get("departed rest", f"/studies/{STUDY}", changes={"password": "wrong"})
    assert (wrong.status_code, "credentials" in wrong.json()["error"]) == (502, True)


def test_an_archive_that_hangs_holds_up_nobody_else(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        changes = {"url": f"http://127.0.0.1:{silent.getsockname()[1]}", "timeout_secs": 4}
        place.get("all rest", f"/studies/{HERE}", changes=changes)
        answers: list[int] = []
        waiting = [
            threading.Thread(target=lambda: answers.append(place.get("all rest", ONE, changes=changes).status_code))
            for _ in range(60)
        ]
        for thread in waiting:
            thread.start()
        began = time.monotonic()
        assert place.get("all rest", f"/studies/{HERE}", changes=changes).status_code == 200
        assert time.monotonic() - began < 3.5, "60 wait for the archive; what is here does not"
        for thread in waiting:
            thread.join(60)
        assert set(answers) == {503, 504}


@pytest.mark.needs("dicomweb-client", "fhir-pyrate")
def test_one_address_and_one_token_serve_the_clients_of_researchers(place: Place, tmp_path: Path) -> None:
    way = "departed plugin" if ORTHANC_DICOMWEB.exists() else "departed rest"
    arguments = [place.url(way), "lung", STUDY, SERIES, str(tmp_path / "out")]
    told = _run(
        "dicomweb-client",
        CLIENTS.format(library="dicomweb_client.api", name="DICOMwebClient").replace("pandas, ", "") + DICOMWEB,
        arguments,
    )
    whole = sorted([*(uid(f"pet-series/{number}") for number in range(SLICES)), str(ct().SOPInstanceUID)])
    assert told == {"instances": SLICES, "metadata": SLICES, "whole": whole, "pixels": True}
    arguments[0] = place.url("departed rest")
    told = _run("fhir-pyrate", CLIENTS.format(library="fhir_pyrate", name="DicomDownloader") + PYRATE, arguments)
    assert (told["facts"], told["failed"], len(told["files"])) == (1, 0, SLICES)


def _run(peer: str, script: str, arguments: list[str]) -> Any:
    python = ROOT / ".peers" / peer / "bin" / "python"
    done = subprocess.run([python, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
