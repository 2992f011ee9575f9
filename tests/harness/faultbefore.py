"""What stands before a real Orthanc or FHIR server, and passes on all that it does not spoil: see :mod:`tests.harness.faultpeers`."""

from __future__ import annotations

import requests

from tests.harness.faultpeers import FakeFhir, FakeOrthanc, Reply


class BeforeOrthanc(FakeOrthanc):
    """Stands before a real Orthanc: what it does not spoil it passes on."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def answer(self, method: str, path: str, query: str, body: bytes) -> Reply:
        return _passed_on(self._url, method, path, query, body, "application/octet-stream")


class BeforeFhir(FakeFhir):
    """Stands before a real FHIR server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def answer(self, method: str, path: str, query: str, body: bytes) -> Reply:
        below = path if path.startswith("/fhir") else f"/fhir{path}"
        return _passed_on(self._url, method, below, query, body, "application/fhir+json")


def _passed_on(url: str, method: str, path: str, query: str, body: bytes, content_type: str) -> Reply:
    headers = {"Content-Type": content_type, "Accept": "*/*"}
    address = f"{url}{path}{'?' if query else ''}{query}"
    answer = requests.request(method, address, data=body or None, headers=headers, timeout=30)
    return answer.status_code, answer.content, {"Content-Type": answer.headers.get("Content-Type", "")}
