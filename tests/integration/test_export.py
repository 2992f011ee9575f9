"""Promises of bulk export, asked over a real socket, on both databases."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.config import Settings
from gateway.r4.canonical import encode
from gateway.r4.validate import validate
from gateway.store import FhirStore, dates
from gateway.store import writer as store_writer
from gateway.store.export import Patients, Wanted, read_filter
from gateway.store.export_jobs import ExportJobs, Order
from gateway.store.tables import RES
from gateway.web import listen
from gateway.web.export import ExportApi
from gateway.web.fhir import fhir_routes
from tests.conftest import ROOT
from tests.fhir_samples import OBSERVATIONS, PATIENT, PT_STUDY, deletion, filled, transaction

TIMEOUT_SECS = 20
ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}

OTHER = {**PATIENT, "id": "p2"}
OF_OTHER = {**OBSERVATIONS[0], "id": "other", "subject": {"reference": "Patient/p2"}}
COHORT = {
    "resourceType": "Group",
    "id": "cohort",
    "type": "person",
    "actual": True,
    "member": [
        {"entity": {"reference": "Patient/p1"}},
        {"entity": {"reference": "Patient/p2"}, "inactive": True},
    ],
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FhirStore]:
    sqlite = request.param == "sqlite"
    url: str = f"sqlite:///{tmp_path / 'store.db'}" if sqlite else request.getfixturevalue("postgres_url")
    opened = filled(FhirStore(url))
    opened.transact(transaction(OTHER, OF_OTHER, COHORT))
    yield opened
    opened.close()


class Server:
    """The endpoint on a free port of loopback."""

    def __init__(self, store: FhirStore, directory: Path, api: ExportApi | None = None) -> None:
        data = replace(Settings().data, directory=directory)
        routes = api.routes() if api else fhir_routes(store, replace(Settings(), data=data))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}/fhir"
        app = Starlette(routes=[Mount("/fhir", routes=routes)])
        self._server = listen.server(app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.base}/{path}", timeout=TIMEOUT_SECS, **options)

    def manifest(self, path: str) -> dict[str, Any]:
        """Kick off, follow the status until it is done."""
        started = self.get(path, headers=ASYNC)
        assert started.status_code == 202, started.text
        return followed(started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECS)
        self._listener.close()


def followed(started: requests.Response) -> dict[str, Any]:
    where = started.headers["content-location"]
    end = time.monotonic() + TIMEOUT_SECS
    while time.monotonic() < end:
        status = requests.get(where, timeout=TIMEOUT_SECS)
        if status.status_code != 202:
            assert status.status_code == 200, status.text
            assert "GMT" in status.headers["expires"]
            manifest: dict[str, Any] = status.json()
            return {**manifest, "status_url": where}
        assert int(status.headers["retry-after"]) > 0
        assert status.headers["x-progress"]
        time.sleep(0.02)
    raise AssertionError("the export did not come to an end")


@pytest.fixture
def server(store: FhirStore, tmp_path: Path) -> Iterator[Server]:
    running = Server(store, tmp_path)
    yield running
    running.stop()


def lines(manifest: dict[str, Any], member: str = "output") -> list[dict[str, Any]]:
    """Every resource of the files, with the counts of the manifest checked."""
    found = []
    for item in manifest[member]:
        answer = requests.get(item["url"], timeout=TIMEOUT_SECS)
        assert answer.headers["content-type"].startswith("application/fhir+ndjson")
        resources = [json.loads(line) for line in answer.text.splitlines()]
        assert [resource["resourceType"] for resource in resources] == [item["type"]] * item["count"]
        found += resources
    return found


def names(resources: list[dict[str, Any]]) -> list[str]:
    return sorted(f"{item['resourceType']}/{item['id']}" for item in resources)


ALL = sorted(
    [f"Observation/o{number}" for number in range(1, 9)] + ["Device/d1", "ImagingStudy/nm", "ImagingStudy/pt", "Patient/p1"]
)


def test_the_whole_system_is_exported_as_it_is_read(server: Server, store: FhirStore) -> None:
    manifest = server.manifest("$export")
    resources = lines(manifest)
    assert names(resources) == sorted([*ALL, "Patient/p2", "Observation/other", "Group/cohort"])
    assert all(validate(resource) == [] for resource in resources)
    assert manifest["request"] == f"{server.base}/$export"
    assert (manifest["requiresAccessToken"], manifest["error"], manifest["deleted"]) == (False, [], [])
    written = next(item for item in manifest["output"] if item["type"] == "Observation")
    stored = store.read("Observation", "o2")
    assert stored is not None
    assert stored.body in requests.get(written["url"], timeout=TIMEOUT_SECS).content.split(b"\n")


def test_files_are_sent_packed_or_plain_as_the_client_likes(server: Server) -> None:
    url = server.manifest("$export?_type=Patient")["output"][0]["url"]
    packed = requests.get(url, headers={"Accept-Encoding": "gzip"}, timeout=TIMEOUT_SECS, stream=True)
    assert packed.headers["content-encoding"] == "gzip"
    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=TIMEOUT_SECS)
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed.raw.read(decode_content=False)) == plain.content
    assert plain.content.count(b"\n") == 2


def test_types_filters_and_times_narrow_an_export(server: Server) -> None:
    only = server.manifest("$export?_type=Patient,Device&_outputFormat=application%2Ffhir%2Bndjson")
    assert names(lines(only)) == ["Device/d1", "Patient/p1", "Patient/p2"]
    narrow = "_typeFilter=Observation%3Fvalue-quantity%3Dgt5%26patient%3Dp1&_typeFilter=Observation%3F_id%3Do1"
    assert names(lines(server.manifest(f"$export?_type=Observation&{narrow}"))) == [f"Observation/o{n}" for n in (1, 6, 7, 8)]
    assert lines(server.manifest("$export?_since=2999-01-01T00:00:00Z")) == []


def test_what_changed_and_what_was_deleted_since_the_last_export(server: Server, store: FhirStore) -> None:
    first = server.manifest("$export")
    assert first["deleted"] == []
    store.transact(transaction({**OTHER, "gender": "other"}))
    store.transact(deletion("Observation", "o3"))
    following = server.manifest(f"$export?_since={first['transactionTime']}")
    assert names(lines(following)) == ["Patient/p2"]
    gone = lines(following, "deleted")
    assert [entry["request"] for bundle in gone for entry in bundle["entry"]] == [{"method": "DELETE", "url": "Observation/o3"}]
    assert all(validate(bundle) == [] for bundle in gone)
    last = server.manifest(f"$export?_since={following['transactionTime']}")
    assert (last["output"], last["deleted"]) == ([], [])


def test_an_export_by_patient_leaves_out_cohorts(server: Server) -> None:
    assert names(lines(server.manifest("Patient/$export"))) == sorted([*ALL, "Patient/p2", "Observation/other"])


def test_a_cohort_holds_its_active_members_only(server: Server, store: FhirStore) -> None:
    with_device = {**OBSERVATIONS[0], "device": {"reference": "Device/d1"}}
    store.transact(transaction(with_device, {"resourceType": "Device", "id": "unnamed", "status": "active"}))
    first = server.manifest("Group/cohort/$export")
    assert names(lines(first)) == ALL
    store.transact(deletion("Observation", "o4"))
    store.transact(deletion("Observation", "other"))
    gone = lines(server.manifest(f"Group/cohort/$export?_since={first['transactionTime']}"), "deleted")
    assert [entry["request"]["url"] for bundle in gone for entry in bundle["entry"]] == ["Observation/o4"]
    assert server.get("Group/nobody/$export", headers=ASYNC).status_code == 404


def test_a_post_with_parameters_asks_for_the_same(server: Server) -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueString": "Patient"},
            {"name": "_since", "valueInstant": "2000-01-01T00:00:00Z"},
        ],
    }
    started = requests.post(f"{server.base}/$export", json=body, headers=ASYNC, timeout=TIMEOUT_SECS)
    assert started.status_code == 202, started.text
    assert names(lines(followed(started))) == ["Patient/p1", "Patient/p2"]


@pytest.mark.parametrize(
    "query",
    [
        "_type=Nonsense",
        "_type=patient",
        "_since=yesterday",
        "_typeFilter=Observation",
        "_typeFilter=Observation%3Fnonsense%3D1",
        "_type=Patient&_typeFilter=Observation%3F_id%3Do1",
        "_outputFormat=text%2Fcsv",
        "_elements=id",
        "_since=%FF",
        "&".join(["_typeFilter=Observation%3Fdate%3D" + "%2C".join(["2026"] * 300)] * 2),
    ],
)
def test_what_cannot_be_done_is_refused_and_never_widened(server: Server, query: str) -> None:
    answer = server.get(f"$export?{query}", headers=ASYNC)
    assert answer.status_code == 400
    assert validate(answer.json()) == []


def test_a_lenient_client_gets_what_is_known(server: Server) -> None:
    lenient = {**ASYNC, "Prefer": "respond-async, handling=lenient"}
    started = server.get("$export?_type=Condition,Patient&includeAssociatedData=x", headers=lenient)
    assert names(lines(followed(started))) == ["Patient/p1", "Patient/p2"]
    assert server.get("$export").status_code == 400  # an export is asynchronous or not at all


def test_an_export_that_is_deleted_is_gone_with_its_files(server: Server, tmp_path: Path) -> None:
    manifest = server.manifest("$export")
    assert list(tmp_path.glob("exports/*/*.gz"))
    assert requests.delete(manifest["status_url"], timeout=TIMEOUT_SECS).status_code == 202
    assert list(tmp_path.glob("exports/*")) == []
    for url in (manifest["status_url"], manifest["output"][0]["url"]):
        answer = requests.get(url, timeout=TIMEOUT_SECS)
        assert answer.status_code == 404
        assert validate(answer.json()) == []
    assert server.get("$export-file/../../store.db").status_code == 404


def test_an_export_expires(store: FhirStore, tmp_path: Path) -> None:
    now = [1_000.0]
    jobs = ExportJobs(tmp_path / "exports", store.exporter(), keep_secs=60, clock=lambda: now[0])
    job_id = jobs.start(Order("x"))
    jobs.wait(job_id, TIMEOUT_SECS)
    now[0] += 59
    job = jobs.get(job_id, "")
    assert job is not None
    assert job.state == "done"
    now[0] += 1
    assert jobs.get(job_id, "") is None
    jobs.sweep()
    assert list((tmp_path / "exports").iterdir()) == []


def test_an_export_belongs_to_who_asked_for_it(store: FhirStore, tmp_path: Path) -> None:
    jobs = ExportJobs(tmp_path / "exports", store.exporter())
    job_id = jobs.start(Order("x", user="anna"))
    assert jobs.get(job_id, "bert") is None
    assert jobs.get(job_id, "anna") is not None
    assert jobs.get("../" + job_id, "anna") is None


def test_an_export_survives_a_restart(store: FhirStore, tmp_path: Path) -> None:
    """The first process ends in the middle: a file half written, the job not done. The second one does it anew."""
    jobs = ExportJobs(tmp_path / "exports", store.exporter())
    job_id = jobs.start(Order("x", types=("Patient",)))
    jobs.wait(job_id, TIMEOUT_SECS)
    folder = tmp_path / "exports" / job_id
    accepted = json.loads((folder / "job.json").read_bytes())
    kept = {key: accepted[key] for key in ("id", "order", "accepted")}
    (folder / "job.json").write_text(json.dumps(kept))
    (folder / "Patient.1.ndjson.gz").write_bytes(b"half a fi")
    (folder / "Device.1.ndjson.gz").write_bytes(b"of another type")
    again = ExportJobs(tmp_path / "exports", store.exporter())
    again.wait(job_id, TIMEOUT_SECS)
    job = again.get(job_id, "")
    assert job is not None
    assert [(item.name, item.count) for item in job.output] == [("Patient.1.ndjson", 2)]
    assert gzip.decompress((folder / "Patient.1.ndjson.gz").read_bytes()).count(b"\n") == 2
    assert not (folder / "Device.1.ndjson.gz").exists()


def test_a_resource_that_changes_meanwhile_is_exported_as_it_was(store: FhirStore) -> None:
    exporter = store.exporter()
    until = exporter.moment()
    store.transact(transaction({**PATIENT, "gender": "male"}, {**PATIENT, "id": "late"}))
    store.transact(deletion("ImagingStudy", "nm"))
    patients = {item.id: json.loads(item.body) for item in exporter.resources(Wanted("Patient", until))}
    assert patients.keys() == {"p1", "p2"}
    assert (patients["p1"]["gender"], patients["p1"]["meta"]["versionId"]) == ("female", "1")
    assert {item.id for item in exporter.resources(Wanted("ImagingStudy", until))} == {"pt", "nm"}
    assert list(exporter.deletions(Wanted("ImagingStudy", until, since=0))) == []
    assert list(exporter.deletions(Wanted("ImagingStudy", exporter.moment(), since=0))) == [("ImagingStudy", "nm")]


def test_a_time_of_an_export_is_not_before_any_write_it_holds(store: FhirStore) -> None:
    written = store.transact(transaction({**PT_STUDY, "description": "x"}))["entry"][0]["response"]["lastModified"]
    assert store.exporter().moment() >= dates.from_datetime(dt.datetime.fromisoformat(written))


def test_a_search_narrows_a_cohort_as_well(store: FhirStore) -> None:
    exporter = store.exporter()
    filters = (read_filter("Observation", [("value-quantity", "lt1")]),)
    for patients, expected in ((None, {"o1", "other"}), (Patients("cohort"), {"o1"})):
        wanted = Wanted("Observation", exporter.moment(), None, filters, patients)
        assert {item.id for item in exporter.resources(wanted)} == expected


@pytest.mark.needs("smart-fetch")
def test_smart_fetch_downloads_a_cohort_and_clears_up(server: Server, tmp_path: Path) -> None:
    program = ROOT / ".peers" / "smart-fetch" / "bin" / "smart-fetch"
    out = tmp_path / "fetched"
    chosen = ["--group", "cohort", "--type", "Patient,Observation,Device", "--no-default-filters"]
    done = subprocess.run(
        [program, "bulk", out, "--fhir-url", server.base, "--no-compression", *chosen],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for path in out.glob("[A-Z]*.ndjson") for line in path.read_text().splitlines()]
    expected = ["Patient/p1", *(f"Observation/o{number}" for number in range(1, 9))]
    assert names(found) == sorted(expected)
    assert list((tmp_path / "exports").iterdir()) == []  # it deletes what it has fetched


@pytest.mark.needs("sekmet")
def test_sekmet_follows_an_export(server: Server, tmp_path: Path) -> None:
    settings = tmp_path / "peer.yaml"
    settings.write_text(json.dumps({"peers": {"us": {"base_url": server.base}}, "data_dir": str(tmp_path / "sekmet")}))
    program = str(ROOT / ".peers" / "sekmet-fhir" / "bin" / "python")  # its script names the place where it was installed
    words = [
        program,
        "-m",
        "sekmet.cli",
        "bulk",
        "export",
        "--peer",
        "us",
        "--group",
        "cohort",
        "--type",
        "Patient,Observation",
        "--config",
        str(settings),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines_told = [line.split() for line in done.stdout.splitlines()]
    assert ["Patient", "1", "lines", "declared=1", "invalid=0"] in lines_told
    assert ["Observation", "8", "lines", "declared=8", "invalid=0"] in lines_told
    assert lines_told[-1] == ["VALID"]


def test_memory_does_not_grow_with_the_number_of_resources(tmp_path: Path) -> None:
    """Eight times as many: the peak may grow by row numbers, which is below a tenth of the bodies."""

    def peak_bytes(count: int) -> int:
        store = FhirStore(f"sqlite:///{tmp_path / f'{count}.db'}")
        body = store_writer.compress(encode({**OBSERVATIONS[0], "note": [{"text": "x" * 500}]}))
        row = {"type": "Observation", "version": 1, "updated": 1, "deleted": False, "hash": "x", "body": body}
        engine = sa.create_engine(f"sqlite:///{tmp_path / f'{count}.db'}")
        with engine.begin() as connection:
            connection.execute(sa.insert(RES), [{**row, "rid": number, "id": f"o{number}"} for number in range(1, count + 1)])
        engine.dispose()
        jobs = ExportJobs(tmp_path / f"exports{count}", store.exporter())
        tracemalloc.start()
        job_id = jobs.start(Order("x"))
        jobs.wait(job_id, 200)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        job = jobs.get(job_id, "")
        store.close()
        assert job is not None
        assert [item.count for item in job.output] == [count]
        return peak

    peak_bytes(1000)  # what is imported and cached once
    small, large = peak_bytes(3000), peak_bytes(24000)
    assert large - small < 21000 * len(encode(OBSERVATIONS[0])) // 5
