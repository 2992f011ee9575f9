"""Promises of the write mode of the FHIR endpoint, asked over a real socket, on both databases."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.config import Settings
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.r4 import bundles
from gateway.r4.validate import validate
from gateway.r4.xml_read import from_xml
from gateway.r4.xml_write import to_xml
from gateway.scopes import DO_ALL, READ_ALL, read_scopes
from gateway.store import FhirStore
from gateway.web import listen
from gateway.web.access import ANYBODY_HERE, PRINCIPAL, Principal
from gateway.web.fhir import BaseWithoutSlash, fhir_routes
from tests.conftest import ROOT
from tests.fhir_samples import OBSERVATIONS, PATIENT, PT_STUDY, transaction

TIMEOUT_SECS = 30
JSON = {"Content-Type": "application/fhir+json"}
WRITER = Principal(name="trial", kind="token", scopes=DO_ALL)
PERSON = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}], "name": [{"family": "Invented"}]}
BODY_WEIGHT = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
    "subject": {"reference": "Patient/x"},
}


class As:
    """Says who asks, as the log-in would."""

    def __init__(self, app: ASGIApp, *, who: Callable[[], Principal | None]) -> None:
        self._app, self._who = app, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = self._who()
        await self._app({**scope, PRINCIPAL: principal} if principal else scope, receive, send)


class Server:
    """The endpoint on a free port of loopback. ``principal`` is who asks next."""

    def __init__(self, store: FhirStore, directory: Path, mode: Literal["off", "loopback", "scoped"] = "scoped") -> None:
        self.store, self.principal = store, WRITER
        default = Settings()
        web, data = replace(default.web, fhir_write=mode), replace(default.data, directory=directory)
        app = Starlette(
            routes=[Mount("/fhir", routes=fhir_routes(store, replace(default, web=web, data=data)))],
            middleware=[Middleware(As, who=lambda: self.principal), Middleware(BaseWithoutSlash)],
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}/fhir"
        self._server = listen.server(app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        """Underscores in the names of headers stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        url = f"{self.base}/{path}" if path else self.base
        given = {**(JSON if data is not None else {}), **named}
        return requests.request(method, url, data=data, headers=given, timeout=TIMEOUT_SECS, allow_redirects=False)

    def get(self, path: str) -> requests.Response:
        return self.ask("GET", path)

    def bundle(self, *entries: dict[str, Any], kind: str = "transaction", **headers: str) -> requests.Response:
        return self.ask("POST", "", {"resourceType": "Bundle", "type": kind, "entry": list(entries)}, **headers)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECS)
        self._listener.close()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirStore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"
    else:
        url = request.getfixturevalue("postgres_module_url")
    opened = FhirStore(url)
    opened.transact(transaction(PATIENT, PT_STUDY, *OBSERVATIONS))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def running(store: FhirStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(store, tmp_path_factory.mktemp("data"))
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.principal = WRITER
    return running


def entry(method: str, url: str, resource: dict[str, Any] | None = None, full_url: str = "", **request: str) -> dict[str, Any]:
    found: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        found["resource"] = resource
    return {**found, "fullUrl": full_url} if full_url else found


def person(value: str, **more: Any) -> dict[str, Any]:
    return {**PERSON, "identifier": [{"system": "urn:x", "value": value}], **more}


def outcome(response: requests.Response, status: int) -> str:
    """The first issue of a failed request, its body proven to be a valid OperationOutcome."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    assert validate(body) == []
    issue = body["issue"][0]
    return f"{issue['code']}: {issue['diagnostics']}"


def held(server: Server, value: str) -> list[dict[str, Any]]:
    return [item["resource"] for item in server.get(f"Patient?identifier=urn:x|{value}").json().get("entry", ())]


def test_what_is_created_can_be_read_changed_and_removed(server: Server) -> None:
    created = server.ask("POST", "Patient", person("life", id="mine", meta={"versionId": "9"}))
    assert created.status_code == 201
    name = created.json()["id"]
    assert name != "mine"
    assert created.headers["location"] == f"{server.base}/Patient/{name}/_history/1"
    assert created.headers["etag"] == 'W/"1"'
    changed = server.ask("PUT", f"Patient/{name}", person("life", id=name, gender="other"), If_Match='W/"1"')
    assert (changed.status_code, changed.headers["etag"], changed.json()["gender"]) == (200, 'W/"2"', "other")
    same = server.ask("PUT", f"Patient/{name}", person("life", id=name, gender="other"))
    assert (same.status_code, same.headers["etag"]) == (200, 'W/"2"')
    assert "expected is not the current" in outcome(
        server.ask("PUT", f"Patient/{name}", person("life", id=name), If_Match='W/"1"'), 412
    )
    assert server.ask("DELETE", f"Patient/{name}").status_code == 204
    assert outcome(server.get(f"Patient/{name}"), 410).startswith("deleted")
    assert server.ask("DELETE", f"Patient/{name}").status_code == 204
    history = server.get(f"Patient/{name}/_history").json()
    assert [item["request"]["method"] for item in history["entry"]] == ["DELETE", "PUT", "PUT"]
    again = server.ask("PUT", f"Patient/{name}", person("life", id=name))
    assert (again.status_code, again.headers["etag"]) == (201, 'W/"4"')


def test_a_put_to_a_new_id_creates_it_and_if_none_match_says_only_then(server: Server) -> None:
    assert server.ask("PUT", "Patient/my-own", person("own", id="my-own"), If_None_Match="*").status_code == 201
    assert "already" in outcome(server.ask("PUT", "Patient/my-own", person("own2", id="my-own"), If_None_Match="*"), 412)
    assert "must have the id" in outcome(server.ask("PUT", "Patient/my-own", person("own")), 400)
    assert "1 to 64" in outcome(server.ask("PUT", "Patient/a_b", person("own", id="a_b")), 400)


@pytest.mark.parametrize("way", ["header", "address"])
def test_a_conditional_create_finds_what_is_there(server: Server, way: str) -> None:
    value = f"cond-{way}"
    path, headers = (f"Patient?identifier=urn:x|{value}", {}) if way == "address" else ("Patient", {})
    if way == "header":
        headers = {"If_None_Exist": f"identifier=urn:x|{value}"}
    first, second = (server.ask("POST", path, person(value), **headers) for _ in range(2))
    assert [first.status_code, second.status_code] == [201, 200]
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["location"] == first.headers["location"]
    server.ask("POST", "Patient", person(value))
    assert outcome(server.ask("POST", path, person(value), **headers), 412).startswith("multiple-matches")


def test_criteria_in_a_header_are_read_as_they_were_meant(server: Server) -> None:
    body = person("utf8", name=[{"family": "Jünger-Ömer"}])
    told: dict[str, str | bytes | None] = {"If-None-Exist": "family=Jünger-Ömer".encode(), **JSON}
    url = f"{server.base}/Patient"
    answers = [requests.post(url, data=json.dumps(body), headers=told, timeout=TIMEOUT_SECS) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]


def test_a_conditional_update_creates_then_changes_and_a_conditional_delete_removes(server: Server) -> None:
    path = "Patient?identifier=urn:x|upsert"
    assert server.ask("PUT", path, person("upsert")).status_code == 201
    changed = server.ask("PUT", path, person("upsert", gender="male"))
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    assert "another id" in outcome(server.ask("PUT", path, person("upsert", id="no")), 400)
    assert "under this id already" in outcome(server.ask("PUT", "Patient?identifier=urn:x|none", person("none", id="p1")), 412)
    assert server.ask("DELETE", path).status_code == 204
    assert held(server, "upsert") == []
    assert server.ask("DELETE", path).status_code == 204


@pytest.mark.parametrize(
    "criteria", ["unknown=1", "identifier=", "general-practitioner.name=x", "_count=1", "_has:Observation:subject:code=x"]
)
def test_criteria_that_would_match_too_much_are_refused(server: Server, criteria: str) -> None:
    assert outcome(server.ask("DELETE", f"Patient?{criteria}"), 400)
    assert outcome(server.ask("POST", "Patient", person("never"), If_None_Exist=criteria), 400)
    assert held(server, "never") == []


def test_prefer_says_what_comes_back(server: Server) -> None:
    minimal = server.ask("POST", "Patient", person("prefer"), Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (201, b"")
    told = server.ask("POST", "Patient", person("prefer"), Prefer="return=OperationOutcome")
    assert (told.status_code, told.json()["resourceType"]) == (201, "OperationOutcome")
    assert server.ask("POST", "Patient", person("prefer"), Prefer="return=representation").json()["resourceType"] == "Patient"


def test_xml_is_taken_and_given_with_its_decimals(server: Server) -> None:
    weight = {**BODY_WEIGHT, "valueQuantity": {"value": 0, "system": "http://unitsofmeasure.org", "code": "kg"}}
    body = to_xml(weight).replace(b'<value value="0"', b'<value value="71.50"')
    created = server.ask("POST", "Observation", body, Content_Type="application/fhir+xml", Accept="application/fhir+xml")
    assert created.status_code == 201, created.text
    given = from_xml(created.content)
    assert str(given["valueQuantity"]["value"]) == "71.50"
    assert '"value":71.50' in server.get(f"Observation/{given['id']}").text
    assert outcome(server.ask("POST", "Patient", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", Content_Type="text/xml"), 400)


def test_what_the_gateway_published_is_for_nobody_else_to_change(server: Server) -> None:
    refused = outcome(server.ask("PUT", "Patient/p1", {**PATIENT, "gender": "male"}), 409)
    assert refused.startswith("business-rule")
    assert outcome(server.ask("DELETE", "Patient/p1"), 409)
    assert outcome(server.ask("DELETE", "Patient?identifier=urn:hospital|H1"), 409)
    assert outcome(server.bundle(entry("POST", "Patient", person("with-p1")), entry("DELETE", "Patient/p1")), 409)
    assert held(server, "with-p1") == []
    same = server.ask("PUT", "Patient/p1", PATIENT)
    assert (same.status_code, same.headers["etag"]) == (200, 'W/"1"')


def test_what_others_wrote_becomes_the_gateways_when_it_publishes_it(server: Server) -> None:
    taken = person("taken", id="taken")
    assert server.ask("PUT", "Patient/taken", taken).status_code == 201
    server.store.transact(transaction(taken))
    assert outcome(server.ask("PUT", "Patient/taken", {**taken, "gender": "male"}), 409)


MOTHER, CHILD = "urn:uuid:00000000-0000-4000-8000-000000000001", "urn:uuid:00000000-0000-4000-8000-000000000002"


def test_a_transaction_puts_its_references_in_place(server: Server) -> None:
    server.ask("PUT", "Patient/known", person("known", id="known"))
    observation = {
        **BODY_WEIGHT,
        "subject": {"reference": MOTHER},
        "focus": [{"reference": "Patient?identifier=urn:x|known"}, {"reference": f"{server.base}/Patient/p1"}],
        "derivedFrom": [{"reference": CHILD}],
        "extension": [{"url": "urn:e", "valueUri": MOTHER}, {"url": "urn:e", "valueString": MOTHER}],
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{MOTHER}">x</a></div>'},
    }
    done = server.bundle(
        entry("POST", "Observation", observation),
        entry("POST", "Patient", person("tx"), MOTHER, ifNoneExist="identifier=urn:x|tx"),
        entry("PUT", "Observation/child", {**BODY_WEIGHT, "id": "child"}, CHILD),
        entry("GET", "Observation/child"),
        entry("GET", "Patient?identifier=urn:x|tx&_elements=identifier&_revinclude=Observation:subject"),
        Prefer="return=representation",
    )
    assert done.status_code == 200, done.text
    answer = done.json()
    assert validate(answer) == []
    assert [item["response"]["status"][:3] for item in answer["entry"]] == ["201", "201", "201", "200", "200"]
    assert answer["entry"][3]["resource"]["id"] == "child"
    found = answer["entry"][4]["resource"]
    assert [(one["search"]["mode"], one["resource"]["resourceType"]) for one in found["entry"]] == [
        ("match", "Patient"),
        ("include", "Observation"),
    ]
    assert found["link"][0]["url"].startswith(f"{server.base}/Patient?identifier=urn:x%7Ctx")
    (mother,) = held(server, "tx")
    stored = answer["entry"][0]["resource"]
    assert stored["subject"]["reference"] == f"Patient/{mother['id']}"
    assert [item["reference"] for item in stored["focus"]] == ["Patient/known", "Patient/p1"]
    assert stored["derivedFrom"] == [{"reference": "Observation/child"}]
    assert [item.get("valueUri", item.get("valueString")) for item in stored["extension"]] == [f"Patient/{mother['id']}", MOTHER]
    assert MOTHER in stored["text"]["div"]
    assert server.get(f"Observation?subject=Patient/{mother['id']}").json()["total"] == 1


@pytest.mark.parametrize(
    ("spoiler", "status"),
    [
        (entry("PUT", "Patient/undone", person("undone", id="undone")), 400),  # the same identity twice
        (entry("POST", "Patient", person("undone"), ifNoneExist="identifier=urn:x|undone-c"), 400),  # the same criteria twice
        (entry("POST", "Observation", {**BODY_WEIGHT, "subject": {"reference": CHILD}}), 400),  # no such entry
        (entry("POST", "Observation", {**BODY_WEIGHT, "subject": {"reference": "Patient?identifier=urn:x|nobody"}}), 412),
        (entry("POST", "Patient", person("undone", gender="robot")), 422),
        (entry("PUT", "Patient/p1", {**PATIENT, "gender": "male"}), 409),
        (entry("PUT", "Observation/o1", {**BODY_WEIGHT, "id": "o1"}, ifMatch='W/"7"'), 412),
        (entry("DELETE", "AuditEvent/a"), 405),
        (entry("POST", "Condition/_x", {"resourceType": "Condition"}), 400),
        (entry("PATCH", "Patient/undone"), 405),
        (entry("GET", "Patient/nowhere"), 404),
        (entry("GET", "Patient?birthdate=soon"), 400),
        (entry("GET", "Patient/p1/_history"), 400),
        (entry("POST", "Observation", {**BODY_WEIGHT, "subject": {"reference": MOTHER}}, full_url=""), 422),
    ],
)
def test_a_transaction_that_fails_changes_nothing(server: Server, spoiler: dict[str, Any], status: int) -> None:
    before = server.store.counts()
    device = {"resourceType": "Device", "status": "active"}
    refused = server.bundle(
        entry("PUT", "Patient/undone", person("undone", id="undone")),
        entry("POST", "Patient", person("undone"), ifNoneExist="identifier=urn:x|undone-c"),
        entry("POST", "Organization", {"resourceType": "Organization", "name": "x"}, MOTHER),
        entry("POST", "Device", device),
        spoiler,
    )
    assert outcome(refused, status)
    assert server.store.counts() == before


def test_a_batch_does_each_entry_for_itself(server: Server) -> None:
    done = server.bundle(
        entry("POST", "Patient", person("batch")),
        entry("POST", "Patient", person("batch", gender="robot")),
        entry("GET", "Patient/p1"),
        entry("GET", "Patient?identifier=urn:x|batch&_summary=count"),
        entry("GET", "Patient/nowhere"),
        entry("GET", "Patient/p1", ifNoneMatch='W/"1"'),
        entry("GET", "$export"),
        entry("GET", "http://elsewhere.example/fhir/Patient/1"),
        entry("DELETE", "Patient/p1"),
        kind="batch",
    )
    assert done.status_code == 200, done.text
    answer = done.json()
    assert validate(answer) == []
    statuses = [item["response"]["status"][:3] for item in answer["entry"]]
    assert statuses == ["201", "422", "200", "200", "404", "304", "400", "400", "409"]
    assert answer["entry"][2]["resource"]["id"] == "p1"
    assert answer["entry"][3]["resource"]["total"] == 1
    assert answer["entry"][4]["response"]["outcome"]["issue"][0]["code"] == "not-found"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"resourceType":"Patient",', "application/json", 400),
        (b'["Patient"]', "application/json", 400),
        (b'{"resourceType":"Observation"}', "application/json", 400),
        (b'{"resourceType":"Patient","x":1}', "application/json", 422),
        (b'{"resourceType":"Patient","name":[{"family":"a\\u0000b"}]}', "application/json", 400),
        (b'{"resourceType":"Patient","extension":[{"url":"u","valueDecimal":1e999999}]}', "application/json", 400),
        (b'{"resourceType":"Patient","contact":' + b'[{"a":' * 500 + b"1" + b"}]" * 500 + b"}", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b"resourceType=Patient", "application/x-www-form-urlencoded", 415),
        (b'{"resourceType":"Patient"}', "text/plain", 415),
        (b'{"resourceType":"Patient"}', "application/json; charset=latin-1", 415),
        (b"\xff\xfe", "application/json", 400),
        (b" " * (33 << 20), "application/json", 413),
    ],
)
def test_a_bad_body_is_refused_before_anything_is_written(server: Server, body: bytes, kind: str, status: int) -> None:
    before = server.store.counts()
    assert outcome(server.ask("POST", "Patient", body, Content_Type=kind), status)
    assert server.store.counts() == before


def test_each_right_is_asked_for(server: Server) -> None:
    def scoped(text: str, group: str | None = None) -> None:
        server.principal = Principal(name="x", kind="client", scopes=read_scopes(text), group=group)

    new = entry("POST", "Patient", person("rights"))
    scoped("system/*.rs system/Observation.cud")
    assert "system/Patient.c" in outcome(server.ask("POST", "Patient", person("rights")), 403)
    assert outcome(server.bundle(new), 403)
    assert server.bundle(new, kind="batch").json()["entry"][0]["response"]["status"] == "403"
    scoped("system/Patient.c")
    assert "Patient.s" in outcome(server.ask("POST", "Patient", person("rights"), If_None_Exist="identifier=urn:x|rights"), 403)
    by_criteria = {**BODY_WEIGHT, "subject": {"reference": "Patient?identifier=urn:x|rights"}}
    scoped("system/Observation.c")
    assert "Patient.s" in outcome(server.ask("POST", "Observation", by_criteria), 403)
    read_too = server.bundle(entry("POST", "Observation", BODY_WEIGHT), entry("GET", "Patient/p1"))
    assert "Patient.r" in outcome(read_too, 403)
    scoped("system/*.cruds", group="cohort")
    assert outcome(server.ask("POST", "Patient", person("rights")), 403)
    scoped("system/Patient.cs")
    found = server.ask("POST", "Patient", {**PATIENT}, If_None_Exist="identifier=urn:hospital|H1")
    assert (found.status_code, found.content) == (200, b"")  # who may not read is not shown what was there
    server.principal = ANYBODY_HERE
    assert outcome(server.ask("POST", "Patient", person("rights")), 403)
    server.principal = Principal(name="somebody", kind="person", scopes=DO_ALL)
    assert outcome(server.ask("POST", "Patient", person("rights"), Origin="http://elsewhere.example"), 403)
    server.principal = WRITER
    assert held(server, "rights") == []
    assert outcome(server.ask("POST", "AuditEvent", {"resourceType": "AuditEvent"}), 405)
    assert outcome(server.ask("POST", "Nothing", {"resourceType": "Nothing"}), 404)


def test_a_batch_shows_no_more_than_its_entries_alone_would(server: Server) -> None:
    server.ask("PUT", "Patient/inside", person("inside", id="inside"))
    member = [{"entity": {"reference": "Patient/inside"}}]
    server.ask(
        "PUT", "Group/cohort", {"resourceType": "Group", "id": "cohort", "type": "person", "actual": True, "member": member}
    )
    reads = [entry("GET", "Patient/inside"), entry("GET", "Patient/p1"), entry("GET", "Patient?_summary=count")]
    server.principal = Principal(name="x", kind="client", scopes=READ_ALL, group="cohort")
    inside, outside, count = server.bundle(*reads, kind="batch").json()["entry"]
    assert inside["resource"]["id"] == "inside"
    assert outside["response"]["status"] == "404"
    assert count["resource"]["total"] == 1
    assert outcome(server.bundle(*reads), 404)


def test_off_means_that_nobody_writes_and_reads_stay_possible_in_a_batch(store: FhirStore, tmp_path: Path) -> None:
    closed = Server(store, tmp_path, "off")
    try:
        assert outcome(closed.ask("POST", "Patient", person("off")), 405)
        assert outcome(closed.ask("PUT", "Patient/p1", PATIENT), 405)
        assert outcome(closed.ask("DELETE", "Patient/p1"), 405)
        assert outcome(closed.bundle(entry("POST", "Patient", person("off"))), 405)
        both = closed.bundle(entry("POST", "Patient", person("off")), entry("GET", "Patient/p1"), kind="batch").json()
        assert [item["response"]["status"] for item in both["entry"]] == ["405", "200"]
        statement = closed.get("metadata").json()
        assert [item["code"] for item in statement["rest"][0]["interaction"]] == ["history-system", "batch"]
        assert not any(item.get("updateCreate") for item in statement["rest"][0]["resource"])
    finally:
        closed.stop()


def test_on_loopback_everybody_here_writes_when_a_person_said_so_but_no_page_does(store: FhirStore, tmp_path: Path) -> None:
    opened = Server(store, tmp_path, "loopback")
    opened.principal = ANYBODY_HERE
    try:
        assert opened.ask("PUT", "Device/here", {"resourceType": "Device", "id": "here"}).status_code == 201
        assert outcome(opened.ask("PUT", "Device/page", {"resourceType": "Device", "id": "page"}, Origin=opened.base), 403)
    finally:
        opened.stop()


def test_the_capability_statement_tells_what_can_be_written(server: Server) -> None:
    statement = server.get("metadata").json()
    assert validate(statement) == []
    rest = statement["rest"][0]
    assert {"transaction", "batch"} <= {item["code"] for item in rest["interaction"]}
    by_type = {item["type"]: item for item in rest["resource"]}
    assert {"create", "update", "delete"} <= {item["code"] for item in by_type["Patient"]["interaction"]}
    assert by_type["Patient"]["updateCreate"] is by_type["Patient"]["conditionalCreate"] is True
    assert "create" not in {item["code"] for item in by_type["AuditEvent"]["interaction"]}


def test_eight_at_once_make_one(server: Server) -> None:
    def create(_: int) -> int:
        return server.ask("POST", "Patient", person("race"), If_None_Exist="identifier=urn:x|race").status_code

    def upsert(_: int) -> int:
        return server.ask("PUT", "Patient?identifier=urn:x|race-put", person("race-put")).status_code

    for work, value in ((create, "race"), (upsert, "race-put")):
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(8))) == [200] * 7 + [201]
        (one,) = held(server, value)
        assert one["meta"]["versionId"] == "1"


@pytest.mark.parametrize("ids", ["ours", "server"])
def test_eight_publishers_at_once_leave_one_of_each(server: Server, ids: str) -> None:
    """The gateway's own publisher, to a second gateway."""
    subject = {"reference": f"Patient/{ids}-patient"}
    resources: Sequence[dict[str, Any]] = [
        person(f"published-{ids}", id=f"{ids}-patient"),
        {
            **PT_STUDY,
            "id": f"{ids}-study",
            "subject": subject,
            "identifier": [{"system": "urn:x", "value": f"study-{ids}"}],
        },
        {**BODY_WEIGHT, "id": f"{ids}-weight", "subject": subject},
    ]

    def publish(_: int) -> int:
        target = FhirServerTarget("second", FhirHttp(Access(url=server.base)), lambda _ids: {}, ids=ids)
        receipt = target.send(bundles.transaction(resources))
        assert target.verify(resources, receipt)
        return len(receipt.versions)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(publish, range(8))) == {3}
    (patient,) = held(server, f"published-{ids}")
    assert (patient["id"] == f"{ids}-patient") is (ids == "ours")
    for kind in ("ImagingStudy", "Observation"):
        found = server.get(f"{kind}?patient=Patient/{patient['id']}").json()
        assert found["total"] == 1
        assert found["entry"][0]["resource"]["meta"]["versionId"] == "1"


PEER = ROOT / ".peers" / "sekmet-fhir" / "bin"
#: Prints ``id status`` of each test of the pack, and what did not hold.
PACK = """
import sys
from pyrofile_validator.api_testing import ApiTestOptions, load_builtin_api_test_plan, run_api_tests
inputs = {"resourceType": "Patient", "resourceId": sys.argv[2], "versionId": "1"}
told = run_api_tests(sys.argv[1], load_builtin_api_test_plan("base-r4"), options=ApiTestOptions(inputs=inputs)).to_dict()
for scenario in told["scenarios"]:
    for one in scenario.get("steps", scenario.get("tests", [scenario])):
        print(one["id"], one["status"], [item["message"] for item in one.get("assertions", ()) if item["status"] != "PASS"])
print(told["status"], told["counts"])
"""


@pytest.mark.needs("sekmet")
def test_the_suites_of_others_pass(tmp_path: Path) -> None:
    """sekmet-fhir's scenarios write, read and export as a hospital would; pyrofile's pack asks what every R4 server must answer."""
    store = FhirStore(f"sqlite:///{tmp_path / 'store.db'}")
    server = Server(store, tmp_path)
    try:
        settings = tmp_path / "peer.yaml"
        settings.write_text(json.dumps({"peers": {"us": {"base_url": server.base}}, "data_dir": str(tmp_path / "sekmet")}))
        words: list[str | Path] = [PEER / "sekmet", "scenario", "run", "conformance_smoke", "bulk_export_group", "--peer", "us"]
        words += ["--no-serve", "--config", settings, "--report-dir", tmp_path / "reports"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        steps = [line.split() for line in done.stdout.splitlines()]
        assert sum(line[:1] == ["PASSED"] for line in steps) == 25
        assert "2/2 scenarios passed" in done.stdout
        name = server.ask("POST", "Patient", person("pack")).json()["id"]
        pack = subprocess.run(
            [PEER / "python", "-c", PACK, server.base, name],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
        assert pack.returncode == 0, pack.stderr
        *tests, last = pack.stdout.splitlines()
        assert len(tests) == 8
        assert all(" PASS []" in line for line in tests), pack.stdout
        assert last.startswith("PASS")
    finally:
        server.stop()
        store.close()
