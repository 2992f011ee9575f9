"""Is it alive, is it ready, what are its numbers. Readiness asks nothing downstream: one dead target must not stop intake."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway import __version__
from gateway.errors import Retryable
from gateway.in_force import SiteInForce
from gateway.receive.folder_state import read_states
from gateway.spool.ledger import Ledger
from gateway.store.store import FhirStore

_MEGABYTE = 1024 * 1024
_UNUSABLE = "what is in force cannot be used; objects are received and wait (page Mappings, or the log)"


class Health:
    def __init__(
        self, ledger: Ledger, store: FhirStore, spool: Path, reserve_megabytes: int, site: SiteInForce | None = None
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._spool = spool
        self._reserve_bytes = reserve_megabytes * _MEGABYTE
        self._site = site
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Numbers(ledger, spool))

    async def alive(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(self, _request: Request) -> Response:
        """200 when objects can be taken in and questions answered; 503 with what is wrong otherwise.

        Files of mappings that nobody deployed are told and are no fault: "ok; ...".
        """
        checks = await run_in_threadpool(self._checks)
        wrong = {name: reason for name, reason in checks.items() if reason != "ok" and not reason.startswith("ok;")}
        return JSONResponse(checks, status_code=503 if wrong else 200)

    def _checks(self) -> dict[str, str]:
        free = shutil.disk_usage(self._spool).free if self._spool.exists() else 0
        checks = {"spool": "ok" if free > self._reserve_bytes else "less free space than the reserve"}
        try:
            self._ledger.overview.counts()
            checks["ledger"] = "ok"
        except Retryable as error:
            checks["ledger"] = error.reason
        try:
            self._store.read("Patient", "readiness")
            checks["store"] = "ok"
        except Retryable as error:
            checks["store"] = error.reason
        if self._site is not None:
            # Names of files are for those who are logged in.
            undeployed = self._site.changes()
            checks["mappings"] = f"ok; files that are not deployed: {len(undeployed)}" if undeployed else "ok"
            if self._site.problem():
                checks["mappings"] = _UNUSABLE
        return checks

    async def metrics(self, _request: Request) -> Response:
        body = await run_in_threadpool(generate_latest, self._registry)
        return Response(body, media_type="text/plain; version=0.0.4")


class _Numbers(Collector):
    """Gauges read from the ledger at each scrape, so that they are true after any restart. Labels never hold patient data."""

    def __init__(self, ledger: Ledger, spool: Path) -> None:
        self._ledger = ledger
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        counts = self._ledger.overview.counts()
        yield _gauge("isobridge_arrivals", "Objects received, re-sends included", [((), counts["arrivals"])])
        doors = [((door,), n) for door, n in counts["doors"].items()]
        yield _gauge("isobridge_arrivals_by_door", "Objects received, re-sends included, by the door", doors, ("door",))
        yield from self._folders()
        yield _gauge(
            "isobridge_instances",
            "Instances by state",
            [((state,), n) for state, n in counts["instances"].items()],
            ("state",),
        )
        rows = [((target, state), n) for target, states in counts["deliveries"].items() for state, n in states.items()]
        yield _gauge("isobridge_deliveries", "Deliveries by target and state", rows, ("target", "state"))
        yield _gauge(
            "isobridge_open_subjects", "Studies and dossiers with changes not yet published", [((), counts["open_subjects"])]
        )
        yield _gauge(
            "isobridge_commitments",
            "Requests for storage commitment by state",
            [((state,), n) for state, n in counts.get("commitments", {}).items()],
            ("state",),
        )
        if self._spool.exists():
            yield _gauge(
                "isobridge_spool_free_bytes", "Free space where the spool stands", [((), shutil.disk_usage(self._spool).free)]
            )
        yield _gauge("isobridge_build_info", "Release", [((__version__,), 1)], ("version",))

    def _folders(self) -> Iterator[Metric]:
        """Watched folders: how many files wait, were taken, were set aside; when each was last looked at."""
        states = read_states(self._spool.parent)
        if states:
            kinds = ("waiting", "done", "failed")
            files = [((state.name, kind), getattr(state, kind)) for state in states for kind in kinds]
            yield _gauge("isobridge_folder_files", "Files of watched folders", files, ("folder", "state"))
            looks = [((state.name,), state.looked_at) for state in states]
            yield _gauge("isobridge_folder_looked_at_seconds", "When a watched folder was last looked at", looks, ("folder",))


def _gauge(name: str, text: str, rows: Sequence[tuple[tuple[str, ...], float]], labels: tuple[str, ...] = ()) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        metric.add_metric(values, number)
    return metric
