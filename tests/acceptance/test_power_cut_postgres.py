"""The power goes while a ledger and a FHIR store on PostgreSQL are written to: what was committed is there after the start."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.spool.ledger import Ledger
from gateway.store.store import FhirStore
from tests import postgres
from tests.fhir_samples import PATIENT, transaction
from tests.harness.powercut import Disk, standing_still
from tests.harness.waiting import until
from tests.integration.ledgers import QUIET
from tests.integration.test_ledger_contract import received

pytestmark = pytest.mark.needs("loop", "postgres")

CUTS = 3
BETWEEN = 15  #: commits in each database
DISK_MEGABYTES = 320


class Writer:
    """Commits one row and one resource after another, and notes each when the commit has returned."""

    def __init__(self, ledger: Ledger, store: FhirStore) -> None:
        self.rows: list[str] = []
        self.resources: list[str] = []
        self._ledger = ledger
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            one = received(number)
            self._ledger.intake.record_arrivals([one])
            self.rows.append(one.instance.digest)
            self._store.transact(transaction({**PATIENT, "id": f"p{number}"}))
            self.resources.append(f"p{number}")

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that other users may pass through: PostgreSQL does not run as root."""
    made = Path(tempfile.mkdtemp(prefix="isobridge-cut-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.timeout(300)
def test_a_power_cut_beneath_postgresql_loses_nothing_that_was_committed(directory: Path) -> None:
    images = [directory / f"cut-{number}.img" for number in range(CUTS)]
    known: list[tuple[list[str], list[str]]] = []
    made = Disk.make(directory / "disk.img", directory / "disk", megabytes=DISK_MEGABYTES)
    with made as disk:
        cluster = disk.directory / "cluster"
        cluster.mkdir()
        postgres.make_cluster(cluster, durable=True)
        with postgres.running_cluster(cluster, durable=True) as server:
            server.execute("CREATE DATABASE ledger")
            server.execute("CREATE DATABASE store")
            ledger, store = Ledger(server.url("ledger"), QUIET), FhirStore(server.url("store"))
            ledger.migrate()
            postmaster = int((cluster / "data" / "postmaster.pid").read_text().split()[0])
            with Writer(ledger, store) as writer:
                for image in images:
                    before = len(writer.resources)
                    until(lambda before=before: len(writer.resources) >= before + BETWEEN, every_secs=0.001)  # type: ignore[misc]
                    with standing_still(postmaster):
                        known.append((list(writer.rows), list(writer.resources)))
                        disk.copy(image)
            ledger.close()
            store.close()
    for image, (rows, resources) in zip(images, known, strict=True):
        look_for(image, rows, resources)


def look_for(image: Path, rows: list[str], resources: list[str]) -> None:
    assert len(rows) >= len(resources) >= BETWEEN
    with Disk(image, image.with_suffix("")) as disk:
        cluster = disk.directory / "cluster"
        (cluster / "data" / "postmaster.pid").unlink()  # after a real cut no process has this number
        _look_for(cluster, rows, resources)
    image.unlink()
    print(f"{len(rows)} rows and {len(resources)} resources looked for: none was lost")


def _look_for(cluster: Path, rows: list[str], resources: list[str]) -> None:
    with postgres.running_cluster(cluster) as server:
        ledger, store = Ledger(server.url("ledger"), QUIET), FhirStore(server.url("store"))
        assert ledger.intake.unknown(rows) == set()
        lost = [name for name in resources if store.read("Patient", name) is None]
        assert lost == []
        ledger.close()
        store.close()
