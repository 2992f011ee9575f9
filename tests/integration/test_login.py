"""Nobody gets in by default: log-in on every address, tokens for programs, and a price for guessing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from gateway.r4.xml_read import from_xml
from gateway.web import login
from gateway.web.app import run_web
from gateway.web.passwords import hash_password, hash_token, new_token, password_matches
from tests.web_site import Site

TOKEN = new_token()
CLOSED = [
    "/",
    "/held",
    "/studies",
    "/fhir/Patient",
    "/fhir/metadata/",
    "/fhir/StructureDefinition",
    "/dicom-web/studies",
    "/metrics",
    "/assets/style.css",
    "/nowhere",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {"users": {"ana": hash_password("correct horse")}, "tokens": {"pyrate": hash_token(TOKEN)}}
    running = Site(tmp_path_factory.mktemp("site"), web=settings)
    yield running
    running.close()


@pytest.mark.parametrize("path", CLOSED)
def test_every_address_asks_who_it_is(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert site.get(path, auth=("ana", "correct horse")).status_code in (200, 404)


def test_a_form_without_a_name_is_refused(site: Site) -> None:
    assert requests.post(f"{site.url}/actions/retry", data={"object": "1"}, timeout=10).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_to_everybody(site: Site, path: str) -> None:
    assert site.get(path).status_code == 200


def test_how_to_get_in_is_told_to_everybody_and_nothing_else_is(site: Site) -> None:
    (rest,) = site.get("/fhir/metadata").json()["rest"]
    told = rest["security"]
    assert [one["coding"][0]["code"] for one in told["service"]] == ["Basic"]
    assert told["cors"] is False
    assert "password" in told["description"]
    assert "bearer" in told["description"]
    assert not {"ana", "pyrate"} & set(site.get("/fhir/metadata").text.split('"'))
    assert requests.post(f"{site.url}/fhir/metadata", timeout=10).status_code == 405


def test_fhir_clients_are_told_in_fhir(site: Site) -> None:
    outcome = site.get("/fhir/Patient").json()
    assert (outcome["resourceType"], outcome["issue"][0]["code"]) == ("OperationOutcome", "login")
    in_xml = site.get("/fhir/Patient", headers={"Accept": "application/fhir+xml", "X-Request-Id": "r-1"})
    assert (in_xml.status_code, in_xml.headers["content-type"].partition(";")[0]) == (401, "application/fhir+xml")
    assert in_xml.headers["x-request-id"] == "r-1"
    assert from_xml(in_xml.content) == outcome
    assert from_xml(site.get("/fhir/Patient?_format=xml").content) == outcome
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path, status in (("$export", 400), ("ViewDefinition/no-such/$run", 404), ("AuditEvent", 403)):
        answer = site.get(f"/fhir/{path}", headers={**bearer, "Accept": "application/fhir+xml"})
        assert answer.status_code == status
        assert from_xml(answer.content)["resourceType"] == "OperationOutcome"
        assert answer.headers["x-request-id"]
    listed = site.get("/fhir/ViewDefinition", headers={**bearer, "Accept": "application/fhir+xml"})
    assert (listed.status_code, listed.json()["total"]) == (200, 6)


def test_a_token_opens_the_interfaces_of_programs_and_no_button(site: Site) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/fhir/Patient", "/dicom-web/studies", "/metrics"):
        assert site.get(path, headers=bearer).status_code == 200
    for path in ("/", "/held", "/fhirx"):
        assert site.get(path, headers=bearer).status_code == 401
    assert site.get("/fhir/Patient", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_guessing_is_slowed_down_and_then_stopped_but_who_is_known_stays_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "LONGEST_WAIT_SECS", 0.5)
    site = Site(tmp_path, web={"users": {"ana": hash_password("correct horse")}})
    try:
        assert site.get("/", auth=("ana", "correct horse")).status_code == 200
        answers = [site.get("/", auth=(name, "guess")) for name in ("ana", "nobody") * 3]
        assert {answer.status_code for answer in answers} == {401}
        assert answers[-1].elapsed.total_seconds() >= 0.5
        site_patience = 12 - len(answers)
        for _ in range(site_patience):
            site.get("/", auth=("ana", "guess"))
        stopped = site.get("/", auth=("ana", "guess"))
        assert stopped.status_code == 429
        assert 0 < int(stopped.headers["retry-after"]) <= 300
        assert site.get("/", auth=("ana", "correct horse")).status_code == 200
    finally:
        site.close()


def test_guesses_made_at_once_are_counted_and_a_browser_that_asks_for_much_at_once_is_let_in(tmp_path: Path) -> None:
    site = Site(tmp_path, web={"users": {"ana": hash_password("correct horse")}})
    try:
        with ThreadPoolExecutor(40) as pool:
            asked = pool.map(lambda _: site.get("/", auth=("ana", "correct horse")).status_code, range(40))
            assert set(asked) == {200}
            guessed = list(pool.map(lambda n: site.get("/", auth=("ana", f"guess {n}")).status_code, range(40)))
        assert (guessed.count(401), guessed.count(429)) == (12, 28)
    finally:
        site.close()


@pytest.mark.parametrize("behind_proxy", [False, True])
def test_only_a_proxy_of_ours_names_the_address_of_who_asks(tmp_path: Path, behind_proxy: bool) -> None:
    users = {"ana": hash_password("correct horse")}
    site = Site(tmp_path, web={"users": users, "behind_tls_proxy": behind_proxy})
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()
    served = (site.settings, listener, site.ledger, site.store, site.files, stop)
    thread = threading.Thread(target=run_web, args=served, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def ask(number: int) -> int:
        named = {"X-Forwarded-For": f"10.0.0.{number}"}
        return requests.get(url, auth=("ana", f"guess {number}"), headers=named, timeout=30).status_code

    try:
        with ThreadPoolExecutor(13) as pool:
            answers = list(pool.map(ask, range(13)))
        assert (429 in answers) is not behind_proxy
    finally:
        stop.set()
        thread.join(20)
        site.close()


def test_a_strange_host_name_is_not_answered(site: Site) -> None:
    assert site.get("/healthz", headers={"Host": "elsewhere.example"}).status_code == 400


def test_a_hash_tells_nothing_and_fits_its_password_only() -> None:
    line = hash_password("x")
    assert password_matches("x", line)
    assert not password_matches("y", line)
    assert line != hash_password("x")
