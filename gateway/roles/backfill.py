"""A backfill, built from the settings. It runs in a process of its own, beside the gateway."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from gateway.backfill.build import build_changes, build_source
from gateway.backfill.follow import Follow, FollowProgress
from gateway.backfill.run import Backfill, Progress
from gateway.backfill.taker import SpoolTaker
from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.roles.rooms import MEGABYTE, open_existing_ledger, open_files
from gateway.source_settings import SourceSettings
from gateway.spool.ledger import Ledger
from gateway.spool.sweep import clear_incoming


def open_backfill(
    settings: Settings, name: str, stop: threading.Event, *, tell: Callable[[Progress], None], at_once: bool
) -> Backfill:
    """Raises :class:`Misconfigured` when no source of this name is enabled."""
    item = _source(settings, name)
    ledger = open_existing_ledger(settings)
    return Backfill(
        ledger.backfills,
        build_source(item, ae_title=settings.receive.ae_title),
        _taker(settings, item, ledger, stop),
        may_work=_window(settings, item, at_once=at_once),
        tell=tell,
    )


def open_follow(
    settings: Settings, name: str, stop: threading.Event, *, tell: Callable[[FollowProgress], None], at_once: bool
) -> Follow:
    """Raises :class:`Misconfigured` when no source of this name is enabled, or it cannot be followed."""
    item = _source(settings, name)
    changes = build_changes(item)
    ledger = open_existing_ledger(settings)
    return Follow(
        ledger.feeds,
        changes,
        _taker(settings, item, ledger, stop),
        may_work=_window(settings, item, at_once=at_once),
        tell=tell,
        poll_secs=item.poll_secs,
    )


def _source(settings: Settings, name: str) -> SourceSettings:
    item = next((source for source in settings.sources if source.name == name and source.enabled), None)
    if item is None:
        known = ", ".join(source.name for source in settings.sources if source.enabled) or "none"
        raise Misconfigured(f"no source named '{name}' is enabled in the section sources: of the settings; there are: {known}")
    return item


def _taker(settings: Settings, item: SourceSettings, ledger: Ledger, stop: threading.Event) -> SpoolTaker:
    files = open_files(settings, writer="backfill")
    clear_incoming(files)  # of those who were killed; another backfill may be at work
    door = Door(files, max_object_bytes=settings.receive.max_object_megabytes * MEGABYTE)
    sender = Sender(calling_ae=item.name, called_ae=settings.receive.ae_title, accept_raw_data=settings.receive.accept_raw_data)
    return SpoolTaker(DirectDoor(door, ledger.intake), sender, peer="", per_minute=item.objects_per_minute, stop=stop)


def _window(settings: Settings, item: SourceSettings, *, at_once: bool) -> Callable[[], bool]:
    zone, waits = settings.site.zone, item.night_only and not at_once
    return lambda: not waits or settings.retention.is_night(dt.datetime.now(zone))
