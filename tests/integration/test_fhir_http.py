"""What goes over the wire to a FHIR server, and what its refusals lead to: a real HTTP server that answers as a test tells it."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.publish.orthanc import OrthancTarget
from gateway.publish.target import Verdict, classify
from gateway.r4.bundles import transaction

Reply = tuple[int, dict[str, str], bytes]


class Server:
    """Takes transactions of limited size, remembers what it was sent, answers as told."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.posted: list[dict[str, Any]] = []
        self.replies: list[Reply] = []  #: answers to POST, before it answers by itself
        self.most_entries = 1000
        self.held: dict[str, dict[str, Any]] = {}

    def get(self, path: str) -> Reply:
        if path.endswith("/system"):
            return 200, {}, b'{"Version": "1.12.9", "OverwriteInstances": true}'
        if path.endswith("/metadata"):
            types = [{"type": kind, "updateCreate": True} for kind in ("Patient", "Observation")]
            return 200, {}, json.dumps({"resourceType": "CapabilityStatement", "rest": [{"resource": types}]}).encode()
        found = self.held.get(path.removeprefix("/fhir/"))
        return (200, {}, json.dumps(found).encode()) if found else (404, {}, b"")

    def post(self, bundle: dict[str, Any]) -> Reply:
        self.posted.append(bundle)
        if self.replies:
            return self.replies.pop(0)
        if len(bundle["entry"]) > self.most_entries:
            return 413, {}, b""
        for entry in bundle["entry"]:
            self.held[entry["request"]["url"]] = {**entry["resource"], "meta": {"versionId": "1"}}
        told = [
            {"response": {"status": "201", "location": f"http://other.example.org/fhir/{entry['request']['url']}/_history/1"}}
            for entry in bundle["entry"]
        ]
        return 200, {}, json.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": told}).encode()


@pytest.fixture
def server() -> Server:
    return Server()


@contextmanager
def serving(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The server on a free port; yields its FHIR base address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(server.get(self.path))

        def do_POST(self) -> None:
            self._answer(server.post(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _answer(self, reply: Reply) -> None:
            server.headers.append(dict(self.headers))
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given by the base class
            """Silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a handshake that the client breaks off
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}/fhir"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    with serving(server) as address:
        yield address


PATIENTS = [{"resourceType": "Patient", "id": f"p{number}", "gender": "other"} for number in range(5)]


def send(url: str, **access: Any) -> dict[str, str]:
    target = FhirServerTarget("peer", FhirHttp(Access(url=url, **access)), lambda _ids: {})
    receipt = target.send(transaction(PATIENTS))
    assert target.verify(PATIENTS, receipt)
    return receipt.versions


def refused(url: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        send(url)
    return caught.value


def test_absolute_locations_and_single_reads_are_understood(server: Server, url: str) -> None:
    assert send(url) == {f"Patient/p{number}": "1" for number in range(5)}
    assert len(server.posted) == 1


def test_a_bundle_that_is_too_large_is_divided_until_it_is_taken(server: Server, url: str) -> None:
    server.most_entries = 2
    assert len(send(url)) == 5
    assert [len(bundle["entry"]) for bundle in server.posted] == [5, 2, 3, 1, 2]


def test_a_resource_that_is_too_large_alone_is_parked(server: Server, url: str) -> None:
    server.most_entries = 0
    assert isinstance(refused(url), Quarantined)


@pytest.mark.parametrize(
    ("access", "header"),
    [({"token": "abc"}, "Bearer abc"), ({"username": "me", "password": "x"}, "Basic bWU6eA=="), ({}, None)],
)
def test_credentials_are_those_of_the_settings(server: Server, url: str, access: dict[str, Any], header: str | None) -> None:
    send(url, **access)
    assert {headers.get("Authorization") for headers in server.headers} == {header}
    assert "abc" not in repr(Access(url=url, **access))


def test_an_overloaded_server_says_how_long_to_leave_it_alone(server: Server, url: str) -> None:
    server.replies = [(429, {"Retry-After": "17"}, b"")]
    error = refused(url)
    assert isinstance(error, Retryable)
    assert (error.wait_secs, classify(error)) == (17, Verdict.DOWN)


@pytest.mark.parametrize("body", [b"<html>Tester^Invented</html>", b"{", b"[]", b'{"resourceType": "Bundle"}', b""])
def test_an_answer_that_is_no_fhir_is_tried_again(server: Server, url: str, body: bytes) -> None:
    server.replies = [(200, {}, body)]
    error = refused(url)
    assert classify(error) is Verdict.RETRY
    assert "Tester" not in error.reason


def test_a_lost_answer_costs_no_second_version(server: Server, url: str) -> None:
    """The server took the transaction and its answer was lost: asked again, it says that it holds everything."""
    post = server.post
    server.post = lambda bundle: (post(bundle), (500, {}, b""))[1]  # type: ignore[method-assign]
    assert classify(refused(url)) is Verdict.RETRY
    assert send(url) == {f"Patient/p{number}": "1" for number in range(5)}
    assert len(server.posted) == 1


@pytest.mark.needs("openssl")
def test_tls_is_trusted_by_the_named_certificate_only(server: Server, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(server, tls) as address:
        assert len(send(address, ca_file=certificate)) == 5
        error = refused(address)
        assert (error.reason, classify(error)) == ("The target's TLS certificate is not trusted; see ca_file.", Verdict.DOWN)
        with structlog.testing.capture_logs() as told:
            OrthancTarget("archive", Access(url=address, ca_file=certificate)).check()
        assert [(line["event"], line["log_level"]) for line in told] == [
            ("target_found", "info"),
            ("target_overwrites", "warning"),
        ]
        with pytest.raises(Retryable) as caught:
            OrthancTarget("archive", Access(url=address)).check()
        assert classify(caught.value) is Verdict.DOWN
