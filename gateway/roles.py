"""The three roles as processes: what each builds from the settings and runs until its life line breaks."""

from __future__ import annotations

import datetime as dt
import gc
import os
import signal
import socket
import threading
from types import FrameType

import structlog

from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.fhir.endpoint import images_address
from gateway.pipeline import Line
from gateway.receive.callers import CallerTrace
from gateway.receive.loop import run as run_receiver
from gateway.receive.settings import ReceiveSettings
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal
from gateway.spool.ledger import Ledger
from gateway.spool.recovery import recover
from gateway.spool.timers import QuietPolicy
from gateway.store.store import FhirStore
from gateway.telemetry import configure
from gateway.understanding import understanding
from gateway.web.app import run_web
from gateway.web.decisions import PageDecisions
from gateway.workers import Marker, Worker, WorkSettings, be_modest

log = structlog.get_logger()

_MEGABYTE = 1024 * 1024


def open_ledger(settings: Settings) -> Ledger:
    quiet = QuietPolicy(quiet_secs=settings.gather.quiet_secs, cap_secs=settings.gather.quiet_cap_secs)
    return Ledger(settings.ledger_url, quiet)


def open_existing_ledger(settings: Settings) -> Ledger:
    """For commands that look at a gateway's ledger: they never make one. Raises :class:`Misconfigured` when there is none."""
    database = settings.data.directory / "ledger.db"
    if settings.ledger.url is None and not database.exists():
        raise Misconfigured(
            f"no gateway has worked in {settings.data.directory} (there is no {database.name}); see data.directory"
        )
    ledger = open_ledger(settings)
    ledger.migrate()
    return ledger


def open_store(settings: Settings) -> FhirStore:
    return FhirStore(settings.store_url, timezone=settings.site.timezone)


def open_files(settings: Settings) -> SpoolFiles:
    return SpoolFiles(settings.spool_directory, reserve_bytes=settings.spool.reserve_megabytes * _MEGABYTE)


def migrate(settings: Settings) -> None:
    """Bring every database up to date, before any role touches it."""
    ledger = open_ledger(settings)
    ledger.migrate()
    ledger.close()
    open_store(settings).close()  # opening it migrates it


def receive(settings: Settings, listener: socket.socket, life_line: int) -> None:
    """The DICOM loop. Before the first caller is answered, files without a row are adopted."""
    configure(level=settings.log.level, style=settings.log.format, role="receive")
    section = settings.receive
    files, ledger = open_files(settings), open_ledger(settings)
    journal = Journal(files, capacity_bytes=settings.spool.journal_megabytes * _MEGABYTE)
    found = recover(files, ledger.intake, journal, today=dt.datetime.now(dt.UTC).date().isoformat())
    if found.adopted or found.cleared or found.replayed:
        log.warning("recovered", stage="receive", adopted=found.adopted, cleared=found.cleared, replayed=found.replayed)
    _tune_collector()
    callers = CallerTrace(ledger.callers)
    run_receiver(
        [listener],
        ReceiveSettings(
            ae_title=section.ae_title,
            calling_aes=section.calling_aes,
            check_called_ae=section.check_called_ae,
            max_associations=section.max_associations,
            max_pdu_bytes=section.max_pdu_kilobytes * 1024,
            request_timeout_secs=section.request_timeout_secs,
            pdu_timeout_secs=section.pdu_timeout_secs,
            idle_timeout_secs=section.idle_timeout_secs,
            accept_raw_data=section.accept_raw_data,
            max_object_bytes=section.max_object_megabytes * _MEGABYTE,
            acknowledge_after=settings.spool.acknowledge_after,
            reserve_bytes=settings.spool.reserve_megabytes * _MEGABYTE,
        ),
        files,
        ledger.intake,
        lifeline_fd=life_line,
        journal=journal if settings.spool.acknowledge_after == "file" else None,
        on_event=callers,
    )
    callers.stop()


def _tune_collector() -> None:
    """The receiver makes many short-lived objects and hardly a cycle: look for cycles rarely, and never in what is there for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def work(settings: Settings, life_line: int, *, after_crash: bool) -> None:
    """Normalise, gather, render and deliver until told to stop."""
    from gateway.publish.build import fact_targets, image_targets  # HTTP clients, which the receiver does not need

    configure(level=settings.log.level, style=settings.log.format, role="work")
    be_modest()
    stop = _stop_event(life_line)
    ledger = open_ledger(settings)
    marker = Marker(settings.data.directory / "work.current")
    suspect = marker.read()
    if after_crash and suspect is not None:
        ledger.stages.count_crash(suspect)
        log.warning("reader_ended", stage="normalise", reason="the last reader ended while it read an object")
    line = Line(
        understanding=understanding(settings, images_at=images_address(settings)),
        files=open_files(settings),
        ledger=ledger,
        targets=fact_targets(settings.targets, open_store(settings), ledger.deliveries),
        archives=image_targets(settings.targets),
    )
    section = settings.work
    Worker(
        line,
        WorkSettings(
            lease_secs=section.lease_secs,
            batch_instances=section.batch_instances,
            poll_secs=section.poll_millisecs / 1000,
            retry_budget_secs=settings.publish.retry_for_hours * 3600,
            retry_budgets={item.name: item.retry_for_hours * 3600 for item in settings.targets if item.retry_for_hours},
        ),
        marker,
        stop,
    ).run()


def web(settings: Settings, listener: socket.socket, life_line: int) -> None:
    """Every HTTP route."""
    configure(level=settings.log.level, style=settings.log.format, role="web")
    stop = _stop_event(life_line)
    site = understanding(settings)
    run_web(
        settings,
        listener,
        open_ledger(settings),
        open_store(settings),
        open_files(settings),
        stop,
        mappings=site.mappings,
        decisions=PageDecisions(site.patients),
    )


def _stop_event(life_line: int) -> threading.Event:
    """Set by SIGTERM, or when the supervisor is gone: the pipe's only writer."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def watch() -> None:
        os.read(life_line, 1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    threading.Thread(target=watch, name="life-line", daemon=True).start()
    return stop
