"""The two JavaScript clients researchers use, against the running endpoint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store import FhirStore
from tests.fhir_samples import OBSERVATIONS, filled
from tests.integration.test_fhir_rest import Server

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "peers" / "node"
INSTALLED = ROOT / ".peers" / "node"
RUN_SECS = 120
ALL = sorted(item["id"] for item in OBSERVATIONS)

pytestmark = pytest.mark.needs("node-clients")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = filled(FhirStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"))
    running = Server(store)
    yield running
    running.stop()
    store.close()


def told(script: str, base: str) -> dict[str, Any]:
    """What the script printed. It is run from where the clients are installed: there node looks for them."""
    with (SCRIPTS / script).open() as source:
        command = ["node", "--input-type=module", "-", base]
        done = subprocess.run(command, stdin=source, cwd=INSTALLED, capture_output=True, text=True, timeout=RUN_SECS, check=False)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_fhir_kit_client_reads_searches_and_pages(server: Server) -> None:
    seen = told("fhir_kit_client.mjs", server.base)
    assert sorted(seen.pop("paged")) == ALL
    assert seen == {
        "version": "4.0.1",
        "family": "Müller",
        "firstStatus": "active",
        "histories": [2, 2, "history"],
        "found": ["pt", "p1"],
        "posted": ["nm"],
        "compartment": len(OBSERVATIONS),
        "everything": 1 + 2 + len(OBSERVATIONS),
        "missing": [404, "OperationOutcome"],
    }


def test_medplum_core_reads_searches_and_pages(server: Server) -> None:
    seen = told("medplum_core.mjs", server.base)
    assert sorted(seen.pop("paged")) == ALL
    assert seen == {
        "family": "Müller",
        "studies": ["pt"],
        "one": "p1",
        "history": 2,
        "version": "active",
        "everything": 1 + 2 + len(OBSERVATIONS),
        "missing": "not-found",
    }
