"""What roles and commands open: the ledger, the store, the files of one installation."""

from __future__ import annotations

from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.timers import QuietPolicy
from gateway.store.store import FhirStore

MEGABYTE = 1024 * 1024


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
    return SpoolFiles(settings.spool_directory, reserve_bytes=settings.spool.reserve_megabytes * MEGABYTE)


def migrate(settings: Settings) -> None:
    """Bring every database up to date, before any role touches it."""
    ledger = open_ledger(settings)
    ledger.migrate()
    ledger.close()
    open_store(settings).close()  # opening it migrates it
