"""The role that reads, gathers, renders and delivers."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from functools import partial

import structlog

from gateway.config import Settings
from gateway.fhir.endpoint import images_address
from gateway.in_force import SiteInForce
from gateway.keep.keeper import Keeper
from gateway.keep.originals import Originals
from gateway.line import Line
from gateway.publish.build import fact_targets, image_targets
from gateway.publish.target import ImageTarget
from gateway.roles.keeping import build_retention, build_scrubber
from gateway.roles.life import stop_event
from gateway.roles.rooms import open_files, open_ledger, open_store
from gateway.spool.commitments import Copy
from gateway.telemetry import configure
from gateway.workers import Marker, Worker, WorkSettings, be_modest, caught

log = structlog.get_logger()


def work(settings: Settings, life_line: int, *, after_crash: bool) -> None:
    """Normalise, gather, render and deliver until told to stop. While the mappings in force cannot be used, wait for them."""
    configure(level=settings.log.level, style=settings.log.format, role="work")
    be_modest()
    stop = stop_event(life_line)
    ledger = open_ledger(settings)
    marker = Marker(settings.data.directory / "work.current")
    suspect = marker.read()
    if after_crash and suspect is not None:
        ledger.stages.count_crash(suspect)
        log.warning("reader_ended", stage="normalise", reason="the last reader ended while it read an object")
    site = SiteInForce(settings, ledger.mappings, images_at=images_address(settings))
    if not site.wait(stop):
        return
    line = Line(
        understanding=site.understanding,
        files=(files := open_files(settings)),
        ledger=ledger,
        targets=fact_targets(settings.targets, open_store(settings), ledger.deliveries),
        archives=(archives := image_targets(settings.targets)),
        originals=Originals(files, ledger.keeping, archives),
    )
    section = settings.work
    worker = Worker(
        line,
        WorkSettings(
            lease_secs=section.lease_secs,
            batch_instances=section.batch_instances,
            poll_secs=section.poll_millisecs / 1000,
            shadow_new_scanners=settings.mappings.shadow_new_scanners,
            retry_budget_secs=settings.publish.retry_for_hours * 3600,
            retry_budgets={item.name: item.retry_for_hours * 3600 for item in settings.targets if item.retry_for_hours},
        ),
        marker,
        stop,
        look=site.refresh,
        idle=site.tell_changes,
    )
    with _reporter(settings, line, stop), _keeper(settings, line, stop):
        worker.run()


@contextlib.contextmanager
def _keeper(settings: Settings, line: Line, stop: threading.Event) -> Iterator[None]:
    """Beside the worker, what lets originals go and proves those that stay; nothing while both are off."""
    section, zone = settings.retention, settings.site.zone
    keeper = Keeper(
        build_retention(settings, line.files, line.ledger, line.archives) if section.originals == "release" else None,
        build_scrubber(settings, line.files, line.ledger, line.archives) if section.scrub else None,
        lambda: section.is_night(dt.datetime.now(zone)),
        caught,
    )
    thread = threading.Thread(target=keeper.run, args=(stop,), name="keeper")
    if section.originals == "release" or section.scrub:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()


@contextlib.contextmanager
def _reporter(settings: Settings, line: Line, stop: threading.Event) -> Iterator[None]:
    """Beside the worker, what storage commitment needs; nothing while that is off."""
    section = settings.receive.storage_commitment
    if section.mode == "off":
        yield
        return
    from gateway.receive.reporter import Reporter, ReporterSettings  # a DICOM client, which others do not need

    reporter = Reporter(
        line.ledger.commitments,
        ReporterSettings(
            peers=section.peers,
            wait_secs=section.wait_minutes * 60,
            retry_for_secs=section.retry_for_hours * 3600,
        ),
        {target.name: partial(_holds, target, line) for target in line.archives if not target.normalised},
    )
    thread = threading.Thread(target=reporter.run, args=(stop,), name="commitment")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _holds(archive: ImageTarget, line: Line, copy: Copy) -> bool:
    return archive.holds(copy.sop_instance_uid, copy.digest, line.files.locate(copy.day, copy.digest))
