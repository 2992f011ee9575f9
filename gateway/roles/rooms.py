"""What roles and commands open: the ledger, the store, the files of one installation."""

from __future__ import annotations

from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.r4.published import as_transaction
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.sweep import clear_incoming
from gateway.spool.timers import QuietPolicy
from gateway.store.store import FhirStore

MEGABYTE = 1024 * 1024


def open_ledger(settings: Settings) -> Ledger:
    gather = settings.gather
    own = {one.ae_title: (one.quiet_secs, one.quiet_cap_secs) for one in settings.senders if one.quiet_secs or one.quiet_cap_secs}
    by_sender = {
        title: (quiet or gather.quiet_secs, cap or max(gather.quiet_cap_secs, quiet or 0)) for title, (quiet, cap) in own.items()
    }
    policy = QuietPolicy(quiet_secs=gather.quiet_secs, cap_secs=gather.quiet_cap_secs, by_sender=by_sender)
    return Ledger(settings.ledger_url, policy)


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


def open_files(settings: Settings, *, writer: str = "") -> SpoolFiles:
    """``writer`` names a process that takes objects in beside the receiver. It stops at twice the reserve: scanners come first."""
    reserve_bytes = settings.spool.reserve_megabytes * MEGABYTE * (2 if writer else 1)
    return SpoolFiles(settings.spool_directory, reserve_bytes=reserve_bytes, writer=writer)


def clear_left_over(settings: Settings, files: SpoolFiles) -> None:
    """At the start of a role that writes beside the receiver: what its predecessor left half-received goes. Nobody was told of it.

    Where several machines share the spool, that may belong to another one, so only what is old goes.
    """
    if settings.spool.acknowledge_after == "file":
        clear_incoming(files, older_than_secs=0)
    else:
        clear_incoming(files)


def migrate(settings: Settings) -> None:
    """Bring every database up to date, before any role touches it."""
    ledger = open_ledger(settings)
    ledger.migrate()
    ledger.close()
    store = open_store(settings)  # opening it migrates it
    store.transact(as_transaction())  # our profiles are searched like everything else
    store.close()
