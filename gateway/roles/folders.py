"""The role that watches folders. A process of its own: a share that hangs, or an archive that is hostile, holds nobody else."""

from __future__ import annotations

import threading
import time

import structlog

from gateway.config import Settings
from gateway.errors import Misconfigured, Retryable
from gateway.folder_settings import FolderSettings
from gateway.in_force import SiteInForce
from gateway.receive.containment import contained
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.receive.folder import TakeTable, WatchedFolder
from gateway.receive.folder_state import FolderMemory
from gateway.roles.life import stop_event
from gateway.roles.rooms import MEGABYTE, clear_left_over, open_files, open_ledger
from gateway.spool.ledger import Ledger
from gateway.spool.table_files import TableFiles
from gateway.table_door import TableDoor
from gateway.telemetry import configure
from gateway.workers import be_modest

log = structlog.get_logger()

#: Neither a share that hangs nor a large archive is waited for: what was not done is found again at the next start.
_PATIENCE_SECS = 5.0


def folders(settings: Settings, life_line: int) -> None:
    """One thread for each folder, until told to stop."""
    configure(level=settings.log.level, style=settings.log.format, role="folders")
    be_modest()
    stop = stop_event(life_line)
    files = open_files(settings, writer="folders")
    clear_left_over(settings, files)
    ledger = open_ledger(settings)
    direct = DirectDoor(Door(files, max_object_bytes=settings.receive.max_object_megabytes * MEGABYTE), ledger.intake)
    # Daemons, so that a thread which waits for a dead share does not keep the process.
    tables = _tables(settings, ledger)
    watched = [(item, _folder(settings, item, direct, tables)) for item in settings.folders if item.enabled]
    threads = [
        threading.Thread(target=_watch, args=(folder, item.poll_secs, stop), name=item.name, daemon=True)
        for item, folder in watched
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(_PATIENCE_SECS)


def _tables(settings: Settings, ledger: Ledger) -> TakeTable:
    """Takes tables in. The adapters are read when the first table comes: folders of images alone never need them."""
    found: list[TableDoor] = []
    lock = threading.Lock()

    def take(content: bytes, name: str, folder: str) -> object:
        with lock:
            if not found:
                try:
                    site = SiteInForce(settings, ledger.mappings)
                except Misconfigured as error:
                    raise Retryable("The mappings in force cannot be used.") from error
                found.append(TableDoor(ledger, TableFiles(settings.spool_directory), site.refresh))
        return found[0].take(content, name, door="folder", sender=folder, now=time.time())

    return take


def _folder(settings: Settings, item: FolderSettings, direct: DirectDoor, tables: TakeTable) -> WatchedFolder:
    sender = Sender(calling_ae=item.name, called_ae=settings.receive.ae_title, accept_raw_data=settings.receive.accept_raw_data)
    return WatchedFolder(item, direct, sender, FolderMemory(settings.data.directory, item.name), tables)


def _watch(folder: WatchedFolder, poll_secs: float, stop: threading.Event) -> None:
    while not stop.is_set():
        contained("folder_watched", lambda: folder.look(stop.is_set))
        stop.wait(poll_secs)
