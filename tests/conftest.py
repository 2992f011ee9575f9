"""What every test may need, said by name, and the honesty of skipping.

A test that needs more than Python says so: ``@pytest.mark.needs("dcmtk")``. ``make test`` runs those that need nothing (or only
the sample data), ``make test-peers`` the others. Where a need is missing the test is skipped by that name; with ``--ci-needs FILE``
a skip for a need that the file lists fails the run, so that a green CI never hides a check that did not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: A test that is given so much of a limit of its own is a long one.
LONG_SECS = 300
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def data_directory() -> Path:
    """Real samples, kept beside the checkout and never copied into it."""
    return Path(os.environ.get("ISOBRIDGE_TEST_DATA", ROOT.parent / "shared" / "data"))


def _has(*programs: str) -> bool:
    return all(shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") for program in programs)


def _peer(name: str) -> bool:
    return (ROOT / ".peers" / name / "bin" / "python").exists()


@cache
def _has_container_engine() -> bool:
    found = subprocess.run([ROOT / "deploy" / "engine.sh"], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip())


@cache
def _can_trace() -> bool:
    """Whether strace may take hold of a running process here: a container or the kernel's settings may forbid it."""
    if not _has("strace"):
        return False
    with subprocess.Popen(["sleep", "20"]) as held:
        command = ["strace", "-o", "/dev/null", "-p", str(held.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            told = tracer.stderr.readline()
            tracer.kill()
        held.kill()
    return "attached" in told


@cache
def _can_mount_images() -> bool:
    from tests.harness.powercut import can_mount_images

    with tempfile.TemporaryDirectory() as directory:
        return can_mount_images(Path(directory))


def available(need: str) -> bool:
    """Whether this machine has what a test needs."""
    checks = {
        "orthanc": lambda: _has("Orthanc"),
        "orthanc-dicomweb": lambda: ORTHANC_DICOMWEB.exists(),
        "dcmtk": lambda: _has("dcmsend", "storescu"),
        "dicom3tools": lambda: _has("dciodvfy"),
        "postgres": lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        "container": lambda: _has_container_engine(),
        "chromium": lambda: _has("chromium"),
        "openssl": lambda: _has("openssl"),
        "node": lambda: _has("node"),
        "ptrace": lambda: _can_trace(),
        "root": lambda: os.geteuid() == 0,
        "loop": lambda: os.geteuid() == 0 and _can_mount_images(),
        "data": lambda: data_directory().is_dir(),
        "fhirpy": lambda: _peer("fhirpy"),
        "dicom2fhir": lambda: _peer("dicom2fhir"),
        "sekmet": lambda: _peer("sekmet-fhir"),
        "fhir-pyrate": lambda: _peer("fhir-pyrate"),
        "dicomweb-client": lambda: _peer("dicomweb-client"),
        "fhirclient": lambda: _peer("fhirclient"),
        "smart-fetch": lambda: _peer("smart-fetch"),
        "tables": lambda: _peer("tables"),
        "node-clients": lambda: _has("node") and (ROOT / ".peers" / "node" / "node_modules").is_dir(),
    }
    if need not in checks:
        raise pytest.UsageError(f"unknown need '{need}'; known: {', '.join(sorted(checks))}")
    return checks[need]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--only", choices=["plain", "peers"], help="plain: needs nothing but Python and data; peers: the others")
    parser.addoption("--ci-needs", type=Path, help="file with the needs this run must meet, one per line")
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew; read the diff")


def _needs(item: pytest.Item) -> set[str]:
    return {str(need) for mark in item.iter_markers("needs") for need in mark.args}


def _long_ones_first(items: list[pytest.Item], *, workers: int) -> list[pytest.Item]:
    """Those that are given most time stand at the head of each worker's share: one that began last would keep the others waiting.

    xdist deals equal shares in the order of collection, and who is done takes from the end of another one's.
    """
    given = {item: _given_secs(item) for item in items}
    long = sorted((item for item in items if given[item] >= LONG_SECS), key=lambda item: -given[item])
    rest = iter([item for item in items if given[item] < LONG_SECS])
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        share = (len(items) - len(dealt)) // (workers - worker)
        own = long[worker::workers]
        dealt += [*own, *islice(rest, max(0, share - len(own)))]
    return [*dealt, *rest]


def _given_secs(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark else 0.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only = config.getoption("--only")
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        is_peer = bool(_needs(item) - {"data"})
        (dropped if only and is_peer != (only == "peers") else kept).append(item)
        missing = sorted(need for need in _needs(item) if not available(need))
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
    items[:] = _long_ones_first(kept, workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    if dropped:
        config.hook.pytest_deselected(items=dropped)


class _SkippedNeeds:
    """Collects the needs for which tests were skipped, for :func:`pytest_sessionfinish`."""

    def __init__(self) -> None:
        self.needs: set[str] = set()
        self.other: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        words = reason.removeprefix("Skipped: ")
        if words.startswith("needs "):
            self.needs.update(words.removeprefix("needs ").split(", "))
        else:
            self.other.append(report.nodeid)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--ci-needs"):
        config.pluginmanager.register(_SkippedNeeds(), "isobridge-skipped-needs")


def pytest_sessionfinish(session: pytest.Session) -> None:
    skipped = session.config.pluginmanager.get_plugin("isobridge-skipped-needs")
    listed = session.config.getoption("--ci-needs")
    if skipped is None or listed is None:
        return
    must = {line.strip() for line in listed.read_text().splitlines() if line.strip() and not line.startswith("#")}
    wrongly = sorted(skipped.needs & must)
    if wrongly or skipped.other:
        print(f"\nskipped though CI must run it: needs {', '.join(wrongly) or '-'}; other skips: {skipped.other or '-'}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from tests.migrated import copy_instead_of_migrating

    with pytest.MonkeyPatch.context() as patch:
        copy_instead_of_migrating(patch, tmp_path_factory.mktemp("migrated"))
        yield


@pytest.fixture
def data() -> Path:
    return data_directory()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[object]:
    """A private PostgreSQL cluster on loopback, for the whole run."""
    from tests import postgres

    with postgres.server() as running:
        yield running


@pytest.fixture(scope="module")
def postgres_module_url(postgres_server: object) -> Iterator[str]:
    """One database for all tests of a module."""
    from tests import postgres

    with postgres.database(postgres_server) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: object) -> Iterator[str]:
    """A fresh, empty database."""
    from tests import postgres

    with postgres.database(postgres_server) as url:
        yield url
