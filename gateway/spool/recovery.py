"""The start-up sweep: files and rows brought together before the first caller is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.spool.files import SpoolFiles
from gateway.spool.intake import Intake
from gateway.spool.journal import Journal
from gateway.spool.sweep import Found, adopt, clear_incoming, sweep

_GROUP = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a sweep found."""

    adopted: int  #: durable files that had no row
    cleared: int  #: half-received files that nobody was told of
    replayed: int  #: objects of the journal that may have had no file


def recover(files: SpoolFiles, intake: Intake, journal: Journal, *, today: str) -> Recovered:
    """Give what stands in the journal its files and every durable file its row; close the days that are over.

    A closed day is passed over by the next sweep. Needs that no receiver of this machine is running.
    Raises :class:`~gateway.errors.Retryable` when the disk or the ledger cannot be written.
    """
    cleared = clear_incoming(files, older_than_secs=0)
    replayed = journal.replay()
    found = list(sweep(files, closed_days=intake.closed_days()))
    orphans = _orphans(found, intake)
    for start in range(0, len(orphans), _GROUP):
        intake.record_arrivals([adopt(files, item) for item in orphans[start : start + _GROUP]])
    days = {item.day for item in found if not item.quarantined}
    for day in sorted(days):
        if day < today:
            intake.close_day(day)
    return Recovered(adopted=len(orphans), cleared=cleared, replayed=replayed)


def _orphans(found: Sequence[Found], intake: Intake) -> list[Found]:
    """The files whose rows are missing, or tell of quarantine only although the bytes came once more in good order."""
    good = {item.digest: item for item in found if not item.quarantined}
    bad = {item.digest: item for item in found if item.quarantined}
    healed = intake.quarantined(good.keys() & bad.keys())
    missing = intake.unknown(good.keys() | bad.keys())
    wanted = [*(good[digest] for digest in sorted(good) if digest in missing | healed)]
    return [*wanted, *(bad[digest] for digest in sorted(bad) if digest in missing and digest not in good)]
