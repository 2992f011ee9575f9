"""A gateway's web side over real rooms, without the daemon: objects go through the door, the worker works, uvicorn answers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway import model
from gateway.client_settings import ClientSettings, IssuerSettings
from gateway.config import Derive, Settings, Web
from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import read_file_meta
from gateway.in_force import SiteInForce
from gateway.lanes import FactLane, LaneSettings
from gateway.line import Line
from gateway.model import Arrival, Received
from gateway.publish.embedded import EmbeddedTarget
from gateway.receive.door import Door, Expected
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.timers import QuietPolicy
from gateway.store.store import FhirStore
from gateway.web import listen
from gateway.web.actions import Decisions
from gateway.web.app import build
from gateway.workers import Marker, Worker, WorkSettings, caught
from tests.builders import part10
from tests.conftest import ROOT

TIMEOUT_SECS = 30


class Site:
    """One installation in a directory."""

    def __init__(
        self,
        directory: Path,
        *,
        web: Mapping[str, Any] | None = None,
        decisions: Decisions | None = None,
        mappings: Path = ROOT / "mappings",
        shadow_new_scanners: bool = False,
        derive: Derive | None = None,
        clients: tuple[ClientSettings, ...] = (),
        issuers: tuple[IssuerSettings, ...] = (),
    ) -> None:
        settings = Settings()
        self.settings = dataclasses.replace(
            settings,
            data=dataclasses.replace(settings.data, directory=directory),
            mappings=dataclasses.replace(settings.mappings, directory=mappings, shadow_new_scanners=shadow_new_scanners),
            web=Web(**dict(web or {})),
            derive=derive or settings.derive,
            clients=clients,
            issuers=issuers,
        )
        self.files = SpoolFiles(self.settings.spool_directory)
        self.ledger = Ledger(self.settings.ledger_url, QuietPolicy(quiet_secs=0, cap_secs=0))
        self.ledger.migrate()
        self.store = FhirStore(self.settings.store_url)
        self.door = Door(self.files)
        self.site = SiteInForce(self.settings, self.ledger.mappings, images_at="http://images.example/dicom-web")
        self.understanding = self.site.understanding
        line = Line(understanding=self.understanding, files=self.files, ledger=self.ledger, targets=[EmbeddedTarget(self.store)])
        settings_of_work = WorkSettings(
            lease_secs=60, batch_instances=500, poll_secs=0.1, retry_budget_secs=3600, shadow_new_scanners=shadow_new_scanners
        )
        marker = Marker(directory / "work.current")
        self.worker = Worker(line, settings_of_work, marker, threading.Event(), look=self.site.refresh)
        self._lane = FactLane(line.targets[0], line, LaneSettings(lease_secs=60, retry_budget_secs=3600), caught)
        self.app = app = build(self.settings, self.ledger, self.store, self.files, decisions=decisions, site=self.site)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = listen.server(app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()

    def put(self, *datasets: Dataset, syntax: str = ExplicitVRLittleEndian, calling_ae: str = "PET1") -> list[Received]:
        """Objects through the door, as a scanner would bring them."""
        received = [self._store(dataset, syntax, calling_ae) for dataset in datasets]
        self.ledger.intake.record_arrivals(received)
        return received

    def _store(self, dataset: Dataset, syntax: str, calling_ae: str) -> Received:
        body = part10(dataset, transfer_syntax_uid=syntax)
        _, start = read_file_meta(body)
        arrival = Arrival(
            door=model.Door.DIMSE,
            calling_ae=calling_ae,
            called_ae="ISOBRIDGE",
            peer="127.0.0.1",
            received_at=dt.datetime.now(dt.UTC),
        )
        meta = FileMetaInputs(transfer_syntax_uid=syntax, calling_ae=calling_ae, called_ae="ISOBRIDGE")
        return self.door.store([body[start:]], meta, arrival, Expected())

    def work(self) -> None:
        """Everything that is due: normalised, sealed, delivered."""
        self.worker.normalise_batch()
        while self.worker.seal_one():
            pass
        while self._lane.step():
            pass

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=TIMEOUT_SECS, **options)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(TIMEOUT_SECS)
        self._listener.close()
        self.app.state.trail.close()
        self.ledger.close()
        self.store.close()


def wait_until(condition: Any, *, secs: float = TIMEOUT_SECS) -> None:
    """Until something holds; fails when it never does."""
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
