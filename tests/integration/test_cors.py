"""Scripts of named web pages may read the FHIR endpoint, those of others may not, and the question comes before the log-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.access.issuers import Issuers
from gateway.store import FhirStore
from gateway.web.bearers import Bearers
from gateway.web.cors import SharedWithOrigins
from gateway.web.login import LogIn
from gateway.web.passwords import hash_token
from tests.fhir_samples import filled
from tests.integration.test_fhir_rest import TIMEOUT_SECS, Server

VIEWER = "https://viewer.example"
TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    store = filled(FhirStore(f"sqlite:///{tmp_path / 'store.db'}"))
    page = Route("/studies", lambda _request: PlainTextResponse("page"))
    middleware = [
        Middleware(SharedWithOrigins, origins=[VIEWER]),
        Middleware(LogIn, users={}, bearers=Bearers({"viewer": hash_token("secret")}, (), None, Issuers(()))),
    ]
    running = Server(store, middleware, [page])
    yield running.base.removesuffix("/fhir")
    running.stop()
    store.close()


def asks_first(address: str, origin: str) -> Mapping[str, str]:
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,prefer"}
    return requests.options(address, headers=headers, timeout=TIMEOUT_SECS).headers


def test_a_browser_of_a_named_page_may_ask_and_read(root: str) -> None:
    allowed = asks_first(f"{root}/fhir/Patient/p1", VIEWER)
    assert allowed["access-control-allow-origin"] == VIEWER
    assert "authorization" in allowed["access-control-allow-headers"].lower()
    assert {"GET", "POST", "DELETE"} <= {word.strip() for word in allowed["access-control-allow-methods"].split(",")}
    assert "PUT" not in allowed["access-control-allow-methods"]
    answer = requests.get(f"{root}/fhir/Patient/p1", headers={"Origin": VIEWER, **TOKEN}, timeout=TIMEOUT_SECS)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert "ETag" in answer.headers["access-control-expose-headers"]


def test_it_still_needs_its_token(root: str) -> None:
    answer = requests.get(f"{root}/fhir/Patient/p1", headers={"Origin": VIEWER}, timeout=TIMEOUT_SECS)
    assert answer.status_code == 401


@pytest.mark.parametrize(("path", "origin"), [("/fhir/Patient/p1", "https://evil.example"), ("/studies", VIEWER)])
def test_others_and_other_pages_are_not_shared(root: str, path: str, origin: str) -> None:
    assert "access-control-allow-origin" not in asks_first(root + path, origin)
    answer = requests.get(root + path, headers={"Origin": origin, **TOKEN}, timeout=TIMEOUT_SECS)
    assert "access-control-allow-origin" not in answer.headers
