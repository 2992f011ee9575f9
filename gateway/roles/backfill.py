"""A backfill, built from the settings. It runs in a process of its own, beside the gateway."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from gateway.backfill.build import build_source
from gateway.backfill.run import Backfill, Progress
from gateway.backfill.taker import SpoolTaker
from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.roles.rooms import MEGABYTE, open_existing_ledger, open_files
from gateway.spool.sweep import clear_incoming


def open_backfill(
    settings: Settings, name: str, stop: threading.Event, *, tell: Callable[[Progress], None], at_once: bool
) -> Backfill:
    """Raises :class:`Misconfigured` when no source of this name is enabled."""
    item = next((source for source in settings.sources if source.name == name and source.enabled), None)
    if item is None:
        known = ", ".join(source.name for source in settings.sources if source.enabled) or "none"
        raise Misconfigured(f"no source named '{name}' is enabled in the section sources: of the settings; there are: {known}")
    ledger = open_existing_ledger(settings)
    files = open_files(settings, writer="backfill")
    clear_incoming(files)  # of those who were killed; another backfill may be at work
    door = Door(files, max_object_bytes=settings.receive.max_object_megabytes * MEGABYTE)
    sender = Sender(calling_ae=name, called_ae=settings.receive.ae_title, accept_raw_data=settings.receive.accept_raw_data)
    taker = SpoolTaker(DirectDoor(door, ledger.intake), sender, peer="", per_minute=item.objects_per_minute, stop=stop)
    zone, waits = settings.site.zone, item.night_only and not at_once
    return Backfill(
        ledger.backfills,
        build_source(item, ae_title=settings.receive.ae_title),
        taker,
        may_work=lambda: not waits or settings.retention.is_night(dt.datetime.now(zone)),
        tell=tell,
    )
