"""Promises of the FHIR endpoint, asked over a real socket the way real clients ask."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from gateway.config import Settings
from gateway.errors import Retryable
from gateway.r4.validate import validate
from gateway.store import FhirStore
from gateway.web import listen
from gateway.web.fhir import fhir_routes
from gateway.web.fhir_direct import Direct
from tests.fhir_samples import NM_STUDY, OBSERVATIONS, PATIENT, PT_STUDY, filled, transaction

TIMEOUT_SECS = 20


class Server:
    """The endpoint on a free port of loopback, over a store on disk."""

    def __init__(self, store: FhirStore, middleware: Sequence[Middleware] = (), routes: Sequence[Route] = ()) -> None:
        mounted = Mount("/fhir", routes=fhir_routes(store, Settings()))
        app = Starlette(routes=[mounted, *routes], middleware=list(middleware))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}/fhir"
        self.store = store
        self._server = listen.server(app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.listener]})
        self._thread.start()

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.base}/{path}", timeout=TIMEOUT_SECS, **options)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECS)
        self.listener.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = filled(FhirStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"))
    running = Server(store)
    yield running
    running.stop()
    store.close()


def outcome(response: requests.Response) -> dict[str, Any]:
    """The body of a failed request, proven to be a valid OperationOutcome."""
    body: dict[str, Any] = response.json()
    assert body["resourceType"] == "OperationOutcome"
    assert validate(body) == []
    assert response.headers["content-type"].startswith("application/fhir+json")
    return body


def ids(response: requests.Response) -> list[str]:
    body = response.json()
    assert response.status_code == 200, body
    return [f"{e['resource']['resourceType']}/{e['resource'].get('id')}" for e in body.get("entry", ())]


def test_the_capability_statement_is_valid_and_names_this_host(server: Server) -> None:
    statement = server.get("metadata").json()
    assert validate(statement) == []
    assert statement["implementation"]["url"] == server.base
    study = next(item for item in statement["rest"][0]["resource"] if item["type"] == "ImagingStudy")
    assert {"identifier", "modality", "started", "patient", "_lastUpdated"} <= {p["name"] for p in study["searchParam"]}


def test_read_answers_the_resource_with_version_and_time(server: Server) -> None:
    response = server.get("Patient/p1")
    assert response.status_code == 200
    assert response.headers["etag"] == 'W/"1"'
    assert "GMT" in response.headers["last-modified"]
    body = response.json()
    assert validate(body) == []
    assert {**body, "meta": None} == {**PATIENT, "meta": None}


def test_a_decimal_is_answered_as_it_was_written(server: Server) -> None:
    assert '"value":1.50,' in server.get("Observation/o2").text.replace(" ", "")
    assert '"value": 1.50,' in server.get("Observation/o2?_pretty=true").text
    assert '"value":1.50,' in server.get("Observation?_id=o2").text


def test_what_the_client_has_already_is_not_sent_again(server: Server) -> None:
    response = server.get("Patient/p1", headers={"If-None-Match": 'W/"1"'})
    assert (response.status_code, response.content) == (304, b"")


def test_head_answers_headers_only(server: Server) -> None:
    response = requests.head(f"{server.base}/Patient/p1", timeout=TIMEOUT_SECS)
    assert (response.status_code, response.content, response.headers["etag"]) == (200, b"", 'W/"1"')


def test_history_lists_every_version_and_each_can_be_read(server: Server) -> None:
    history = server.get("Device/d1/_history").json()
    assert validate(history) == []
    assert [entry["response"]["etag"] for entry in history["entry"]] == ['W/"2"', 'W/"1"']
    assert server.get("Device/d1/_history/1").json()["status"] == "active"
    assert server.get("Device/d1/_history/2").json()["status"] == "inactive"
    assert outcome(server.get("Device/d1/_history/3"))
    assert server.get("Device/d1/_history/x").status_code == 404


def test_a_deleted_resource_is_gone_but_its_history_stays(server: Server) -> None:
    assert outcome(server.get("Patient/deleted"))["issue"][0]["code"] == "deleted"
    assert server.get("Patient/deleted").status_code == 410
    assert [e["request"]["method"] for e in server.get("Patient/deleted/_history").json()["entry"]] == ["DELETE", "PUT"]
    assert ids(server.get("Patient?_id=deleted")) == []


def test_a_search_answers_a_valid_bundle_with_total_and_links_to_the_host_asked(server: Server) -> None:
    body = requests.get(
        server.base.replace("127.0.0.1", "localhost") + "/Observation?status=final&_count=2", timeout=TIMEOUT_SECS
    ).json()
    assert validate(body) == []
    assert body["total"] == len(OBSERVATIONS)
    assert len(body["entry"]) == 2
    links = {link["relation"]: link["url"] for link in body["link"]}
    assert links["next"].startswith("http://localhost:")
    assert links["self"].endswith("/fhir/Observation?status=final&_count=2")


def test_following_next_visits_every_match_once(server: Server) -> None:
    seen: list[str] = []
    url = f"{server.base}/Observation?_count=3&_sort=-date"
    while url:
        body = requests.get(url, timeout=TIMEOUT_SECS).json()
        assert body["total"] == len(OBSERVATIONS)
        seen += [entry["resource"]["id"] for entry in body["entry"]]
        url = next((link["url"] for link in body["link"] if link["relation"] == "next"), "")
    assert sorted(seen) == sorted(item["id"] for item in OBSERVATIONS)


def test_search_by_post_is_the_same_as_by_get(server: Server) -> None:
    response = requests.post(f"{server.base}/ImagingStudy/_search", data={"modality": "PT"}, timeout=TIMEOUT_SECS)
    assert ids(response) == ["ImagingStudy/pt"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("identifier=urn:dicom:uid|urn:oid:1.2.840.99.1", ["pt"]),
        ("identifier=urn:oid:1.2.840.99.1", ["pt"]),
        ("identifier=1.2.840.99.1", ["pt"]),
        ("started=ge2026-01-01T00:00&started=lt2026-02-01T00:00", ["pt"]),
        ("patient=p1", ["pt", "nm"]),
        ("patient=Patient/p1&modality=NM", ["nm"]),
        ("subject:Patient=p1&modality:not=PT", ["nm"]),
        ("patient.identifier=urn:hospital|H1", ["pt", "nm"]),
        ("subject:Patient.family=muller", ["pt", "nm"]),
        ("patient=http://elsewhere.example/Patient/p1", []),
    ],
)
def test_studies_are_found_in_the_ways_researchers_ask(server: Server, query: str, expected: list[str]) -> None:
    assert ids(server.get(f"ImagingStudy?{query}")) == [f"ImagingStudy/{name}" for name in expected]


def test_an_absolute_reference_to_this_endpoint_is_ours(server: Server) -> None:
    assert len(ids(server.get(f"ImagingStudy?patient={server.base}/Patient/p1"))) == 2


def test_includes_come_behind_the_matches_and_are_not_counted(server: Server) -> None:
    body = server.get("ImagingStudy?_id=pt&_include=ImagingStudy:patient&_revinclude=Observation:derived-from").json()
    assert body["total"] == 1
    modes = [(entry["resource"]["resourceType"], entry["search"]["mode"]) for entry in body["entry"]]
    assert modes[0] == ("ImagingStudy", "match")
    assert ("Patient", "include") in modes
    assert ("Observation", "include") in modes


def test_counting_by_count_zero_needs_no_entries(server: Server) -> None:
    body = server.get("Observation?_count=0&_totalMethod=count").json()
    assert body["total"] == len(OBSERVATIONS)
    assert "entry" not in body
    assert server.get("Observation?_summary=count").json()["total"] == len(OBSERVATIONS)


def test_an_unknown_parameter_is_ignored_with_a_warning_or_refused_when_strict(server: Server) -> None:
    body = server.get("Patient?shoesize=43").json()
    assert body["entry"][-1]["search"]["mode"] == "outcome"
    assert "shoesize" in body["entry"][-1]["resource"]["issue"][0]["diagnostics"]
    assert "shoesize" not in body["link"][0]["url"]
    assert validate(body) == []
    strict = server.get("Patient?shoesize=43", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400
    assert outcome(strict)


def test_summary_and_elements_show_a_part_and_say_so(server: Server) -> None:
    study = server.get("ImagingStudy/pt?_summary=true").json()
    assert "instance" not in study["series"][0]
    assert study["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert validate(study) == []
    entry = server.get("Observation?_id=o2&_elements=valueQuantity,value").json()["entry"][0]["resource"]
    assert set(entry) == {"resourceType", "id", "meta", "status", "code", "valueQuantity"}


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/fhir+json; fhirVersion=4.0", "text/html,application/xml;q=0.9"]
)
def test_json_is_answered_to_whoever_takes_it(server: Server, accept: str) -> None:
    assert server.get("Patient/p1", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(("path", "accept"), [("Patient/p1", "text/turtle"), ("Patient?_format=ttl", "*/*")])
def test_what_is_neither_json_nor_xml_is_not_offered_and_the_answer_says_so(server: Server, path: str, accept: str) -> None:
    response = server.get(path, headers={"Accept": accept})
    assert response.status_code == 406
    assert "xml" in outcome(response)["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "Patient"),
        ("PUT", "Patient/p1"),
        ("DELETE", "Patient/p1"),
        ("PATCH", "Patient/p1"),
        ("GET", "Patient/_search/x/y/z"),
    ],
)
def test_clients_cannot_write(server: Server, method: str, path: str) -> None:
    response = requests.request(method, f"{server.base}/{path}", json=PATIENT, timeout=TIMEOUT_SECS)
    assert response.status_code in (404, 405)
    assert outcome(response)
    assert server.get("Patient/p1").headers["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    "path", ["Patient/none", "Nonsense", "Nonsense/1", "Patient/%00", "Patient/a%20b", "", "a/b/c/d", "Patient/" + "x" * 9000]
)
def test_what_is_not_there_is_404_in_fhir(server: Server, path: str) -> None:
    response = server.get(path)
    assert response.status_code == 404
    assert outcome(response)


@pytest.mark.parametrize(
    "query",
    [
        "birthdate=yesterday",
        "birthdate=2026-02-30",
        "birthdate=xx2026",
        "birthdate=2026-01-01T25:00",
        "birthdate=0000",
        "_count=-1",
        "_count=ten",
        "_sort=shoesize",
        "_include=Patient:shoesize",
        "_include=Nonsense:x",
        "_has:Observation:shoesize:code=1",
        "_has:x=1",
        "_total=many",
        "_summary=maybe",
        "identifier=a|b|c",
        "name:phonetically=x",
        "active:missing=perhaps",
        "_page=AAAA",
        "_page=WzEsMiwzXQ",
        "_page=" + "e" * 300,
        "family=" + "x" * 10_000,
        "family=%00",
        "family=%FF",
        "gender.name=x",
        "&".join(["gender=male"] * 300),
    ],
)
def test_a_value_in_the_wrong_form_is_400_in_fhir(server: Server, query: str) -> None:
    response = server.get(f"Patient?{query}")
    assert response.status_code == 400, response.text
    assert outcome(response)


@pytest.mark.parametrize(
    "query",
    [
        "birthdate=9999-12-31",
        "birthdate=le9999",
        "birthdate=ap9999",
        "birthdate=0001",
        "family=' OR 1=1 --",
        "family=%25",
        "family=x&family:contains=_",
        "identifier=" + "x" * 3000,
        "_id=" + ",".join("abc" for _ in range(400)),
        "family=%F0%9F%98%80",
        "name=,,,",
        "_lastUpdated=ge9999",
        "link=Patient/x'--",
    ],
)
def test_a_strange_value_finds_nothing_wrong(server: Server, query: str) -> None:
    response = server.get(f"Patient?{query}")
    assert response.status_code == 200, response.text
    assert validate(response.json()) == []


@pytest.mark.parametrize("number", ["1e400", "9" * 30, "-0", "1e-400", "1e999", "5.4e99||x"])
def test_extreme_numbers_are_compared_and_never_crash(server: Server, number: str) -> None:
    for prefix in ("", "ne", "gt", "ap"):
        assert server.get(f"Observation?value-quantity={prefix}{number}").status_code == 200


def test_large_answers_are_compressed_for_those_who_want_it(server: Server) -> None:
    response = server.get("ImagingStudy/pt", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["id"] == "pt"


def test_a_form_that_is_too_large_or_no_form_is_refused(server: Server) -> None:
    url = f"{server.base}/Patient/_search"
    assert requests.post(url, data={"family": "x" * 70_000}, timeout=TIMEOUT_SECS).status_code == 413
    assert requests.post(url, json={"family": "x"}, timeout=TIMEOUT_SECS).status_code == 415


class _Broken(FhirStore):
    """A store whose reads fail in a way nobody foresaw, or for a while."""

    def read(self, kind: str, logical_id: str, **_: Any) -> Any:
        if logical_id == "later":
            raise Retryable("the database could not be read (locked)")
        raise ZeroDivisionError("secret name MUSTERMANN")


def test_a_fault_of_ours_is_500_with_a_number_and_without_details(tmp_path: Path) -> None:
    store = _Broken(f"sqlite:///{tmp_path / 'store.db'}")
    running = Server(store)
    try:
        response = running.get("Patient/p1")
        assert response.status_code == 500
        assert "MUSTERMANN" not in response.text
        assert "internal error" in outcome(response)["issue"][0]["diagnostics"]
        busy = running.get("Patient/later")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
        assert outcome(busy)
    finally:
        running.stop()
        store.close()


def test_readers_get_whole_pages_while_a_writer_writes(tmp_path: Path) -> None:
    store = filled(FhirStore(f"sqlite:///{tmp_path / 'store.db'}"))
    running = Server(store)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.transact(transaction({**PT_STUDY, "id": f"extra{number}"}, {**NM_STUDY, "description": str(number)}))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            found = ids(running.get("ImagingStudy?_count=2"))
            assert found == ["ImagingStudy/pt", "ImagingStudy/nm"]
    finally:
        stop.set()
        writer.join(TIMEOUT_SECS)
        running.stop()
        store.close()


def test_routes_need_no_other_application(tmp_path: Path) -> None:
    store = FhirStore(f"sqlite:///{tmp_path / 'store.db'}")
    assert all(isinstance(route, Route | Direct) for route in fhir_routes(store, Settings()))
    store.close()
