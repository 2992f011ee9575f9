"""Servers that misbehave on purpose: an Orthanc and a FHIR server that say 500, 429, nothing, too late, or yes without meaning it.

They stand beside the real peers of :mod:`tests.harness.peers`, for what those never do. Each keeps what it took and notices whatever comes
twice: an object uploaded although it is held, an identifier on two resources, a version that says what the former said.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydicom import dcmread

from tests.harness.snapshot import canonical


class Answers(Enum):
    WELL = "as it should"
    ERROR = "500"
    BUSY = "429 with Retry-After"
    UNAVAILABLE = "503 with Retry-After"
    SLOW = "later than anybody waits"
    CUT = "half an answer"
    LOST = "takes it, and cuts the connection instead of answering"
    FORGETS = "says success and keeps nothing"
    GARBAGE = "200 with a body that is no JSON"


@dataclass
class Behaviour:
    """What the server does now. Changed by tests between two requests."""

    answers: Answers = Answers.WELL
    retry_after_secs: int = 60
    slow_secs: float = 0.3
    requests: int = 0
    refused: int = 0


Reply = tuple[int, bytes, dict[str, str]]


class _Backend:
    """What a server does when it is well."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.lock = threading.Lock()
        self.complaints: list[str] = []

    def answer(self, method: str, path: str, query: str, body: bytes) -> Reply:
        raise NotImplementedError

    def forget(self, method: str, path: str, body: bytes) -> Reply:
        """The answer to a request that writes, without doing it."""
        raise NotImplementedError


class FakeOrthanc(_Backend):
    """The part of Orthanc's REST interface that publishing needs."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, tuple[str, bytes]] = {}  #: Orthanc's id -> SOP Instance UID, file
        self.uploads: dict[str, int] = {}  #: digest of the file -> how often it was stored or told to be
        self._marks: dict[str, bytes] = {}

    def answer(self, method: str, path: str, query: str, body: bytes) -> Reply:
        if path == "/system":
            return _json({"Version": "1.12.0", "OverwriteInstances": False})
        if (method, path) == ("POST", "/tools/lookup"):
            found = [{"ID": key, "Type": "Instance"} for key, (uid, _) in self.held.items() if uid == body.decode()]
            return _json(found)
        if (method, path) == ("POST", "/instances"):
            return self._store(body)
        return self._of_instance(method, path, body)

    def _of_instance(self, method: str, path: str, body: bytes) -> Reply:
        found = re.fullmatch(r"/instances/(?P<key>[^/]+)(?P<what>/.*)?", path)
        if found is None or found["key"] not in self.held:
            return 404, b"{}", {}
        _, content = self.held[found["key"]]
        what = found["what"]
        if what == "/attachments/dicom/md5":
            return 200, hashlib.md5(content, usedforsecurity=False).hexdigest().encode(), {}
        if what == "/file":
            return 200, content, {}
        if what == "/metadata/1024" and method == "PUT":
            self._marks[found["key"]] = body
            return 200, b"", {}
        if what == "/metadata/1024" and found["key"] in self._marks:
            return 200, self._marks[found["key"]], {}
        if method == "DELETE" and what is None:
            del self.held[found["key"]]
            return 200, b"{}", {}
        return 404, b"{}", {}

    def _store(self, content: bytes) -> Reply:
        key, uid, digest = self._identity(content)
        if key in self.held:
            self.complaints.append(f"uploaded although it is held: {uid}")
            return _json({"ID": key, "Status": "AlreadyStored"})
        self.held[key] = (uid, content)
        self.uploads[digest] = self.uploads.get(digest, 0) + 1
        return _json({"ID": key, "Status": "Success"})

    def forget(self, method: str, path: str, body: bytes) -> Reply:
        if (method, path) == ("POST", "/instances"):
            return _json({"ID": self._identity(body)[0], "Status": "Success"})
        return self.answer(method, path, "", body)

    @staticmethod
    def _identity(content: bytes) -> tuple[str, str, str]:
        uid = str(dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID)
        return hashlib.sha256(uid.encode()).hexdigest()[:40], uid, hashlib.sha256(content).hexdigest()

    def twice(self) -> list[str]:
        return [*self.complaints, *(f"stored {count} times: {key[:12]}" for key, count in self.uploads.items() if count > 1)]


@dataclass
class _Held:
    versions: list[dict[str, Any]] = field(default_factory=list)


class FakeFhir(_Backend):
    """A FHIR R4 server that takes our ids: transactions and batches of reads, all or nothing, a version for every PUT, even an idle one."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, _Held] = {}

    def answer(self, method: str, path: str, query: str, body: bytes) -> Reply:
        path = path.removeprefix("/fhir").strip("/")
        if path == "metadata":
            types = [{"type": kind, "updateCreate": True} for kind in _TYPES]
            rest = {"mode": "server", "resource": types, "interaction": [{"code": "transaction"}, {"code": "batch"}]}
            return _json({"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]})
        if method == "POST" and not path:
            return self._bundle(json.loads(body), keep=True)
        if method == "GET" and path in self.held:
            return _json(self.held[path].versions[-1])
        if method == "GET" and "/" not in path:
            return _json({"resourceType": "Bundle", "type": "searchset", "entry": self._search(path, parse_qs(query))})
        return 404, b'{"resourceType": "OperationOutcome", "issue": []}', {}

    def forget(self, method: str, path: str, body: bytes) -> Reply:
        if method == "POST":
            return self._bundle(json.loads(body), keep=False)
        return self.answer(method, path, "", body)

    def _search(self, kind: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        wanted = unquote(query.get("identifier", [""])[0])
        found = []
        for key, item in self.held.items():
            resource = item.versions[-1]
            if key.startswith(f"{kind}/") and (not wanted or wanted in set(_identifiers(resource))):
                found.append({"resource": resource})
        return found

    def _bundle(self, bundle: dict[str, Any], *, keep: bool) -> Reply:
        told = []
        for entry in bundle["entry"]:
            url = entry["request"]["url"]
            if entry["request"]["method"] == "GET":
                status, content, _ = self.answer("GET", f"/{url}", "", b"")
                told.append({"response": {"status": str(status)}, **({"resource": json.loads(content)} if status == 200 else {})})
                continue
            version = self._put(url, entry["resource"]) if keep else 1
            told.append({"response": {"status": "200", "location": f"{url}/_history/{version}", "etag": f'W/"{version}"'}})
        return _json({"resourceType": "Bundle", "type": f"{bundle['type']}-response", "entry": told})

    def _put(self, url: str, resource: dict[str, Any]) -> int:
        item = self.held.setdefault(url, _Held())
        if item.versions and canonical(item.versions[-1]) == canonical(resource):
            self.complaints.append(f"the same once more: {url}")
        version = len(item.versions) + 1
        item.versions.append({**resource, "meta": {**resource.get("meta", {}), "versionId": str(version)}})
        return version

    def twice(self) -> list[str]:
        owners: dict[tuple[str, str], set[str]] = {}
        for key, item in self.held.items():
            for identifier in _identifiers(item.versions[-1]):
                owners.setdefault((key.partition("/")[0], identifier), set()).add(key)
        shared = [f"one identifier on {len(keys)}: {kind}" for (kind, _), keys in owners.items() if len(keys) > 1]
        return [*self.complaints, *(line for line in shared if not line.endswith(("Observation", "Provenance")))]


_TYPES = (
    *("Patient", "ImagingStudy", "Device", "Practitioner", "Medication", "MedicationAdministration", "Procedure", "Endpoint"),
    *("Observation", "BodyStructure", "DiagnosticReport", "DocumentReference", "Provenance", "Organization"),
)


def _identifiers(resource: dict[str, Any]) -> Iterator[str]:
    found = resource.get("identifier", [])
    for identifier in found if isinstance(found, list) else [found]:
        coded = {coding.get("code") for coding in identifier.get("type", {}).get("coding", ())}
        if identifier.get("value") and "ACSN" not in coded:
            yield f"{identifier.get('system', '')}|{identifier['value']}"


def _json(content: object) -> Reply:
    return 200, json.dumps(content).encode(), {"Content-Type": "application/json"}


class FaultServer:
    """One backend behind a port on loopback, with TLS if it is given a certificate and its key."""

    def __init__(self, backend: _Backend, *, certificate: tuple[Path, Path] | None = None) -> None:
        self.backend = backend
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(backend))
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            self._scheme = "https"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.server_port

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"


@contextmanager
def running(*servers: FaultServer) -> Iterator[Sequence[FaultServer]]:
    threads = [threading.Thread(target=server._server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server._server.shutdown()
            thread.join()
            server._server.server_close()


def _handler(backend: _Backend) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = _body_of(self)
            self._reply(*respond(backend, self.command, self.path, body))

        def _reply(self, status: int, body: bytes, headers: dict[str, str], told_bytes: int) -> None:
            if status == 0:  # nothing at all
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(told_bytes))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = told_bytes != len(body)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client did not wait

    return Handler


def _body_of(handler: BaseHTTPRequestHandler) -> bytes:
    length = int(handler.headers.get("Content-Length") or 0)
    if length or handler.headers.get("Transfer-Encoding", "") != "chunked":
        body = handler.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the client was cut off")
        return body
    found = b""
    while size := int(handler.rfile.readline(), 16):
        found += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return found


def respond(backend: _Backend, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str], int]:
    """Status (0: none), body, headers, and the length that is told, which for half an answer is more than the body."""
    behaviour, parts = backend.behaviour, urlsplit(path)
    answers = behaviour.answers
    with backend.lock:
        behaviour.requests += 1
        behaviour.refused += answers is not Answers.WELL
        later = {"Retry-After": str(behaviour.retry_after_secs)}
        refusals: dict[Answers, tuple[int, bytes, dict[str, str]]] = {
            Answers.ERROR: (500, b"", {}),
            Answers.BUSY: (429, b"", later),
            Answers.UNAVAILABLE: (503, b"", later),
            Answers.GARBAGE: (200, b"<html>login</html>", {"Content-Type": "text/html"}),
        }
        if answers in refusals:
            status, content, headers = refusals[answers]
            return status, content, headers, len(content)
        if answers is Answers.FORGETS:
            status, content, headers = backend.forget(method, parts.path, body)
            return status, content, headers, len(content)
        status, content, headers = backend.answer(method, parts.path, parts.query, body)
    if answers is Answers.LOST:
        return 0, b"", {}, 0
    if answers is Answers.CUT:
        return status, content[: len(content) // 2], headers, len(content) + 10
    if answers is Answers.SLOW:
        threading.Event().wait(behaviour.slow_secs)
    return status, content, headers, len(content)
