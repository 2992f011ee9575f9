"""Who has called the receiver: a short memory for the people who set scanners up, so that nobody has to read a log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.database import Database

#: Rows that are kept; the callers heard of longest ago go first.
KEPT_MOST = 500


@dataclass(slots=True, kw_only=True)
class Caller:
    """One calling title, called title and address. Times are seconds since 1970; None: never.

    ``rejections`` counts calls that came to no association: rejected by us, or not DICOM at all (then the titles are empty).
    ``stored`` counts objects we answered with success, ``refused`` those answered with a failure status.
    """

    calling_ae: str
    called_ae: str
    peer: str
    first_at: float = 0.0
    last_at: float = 0.0
    associations: int = 0
    association_at: float | None = None
    contexts: int | None = None  #: presentation contexts accepted in the last association
    proposed: int | None = None  #: of how many
    rejections: int = 0
    rejection_at: float | None = None
    rejection_reason: str | None = None
    echoes: int = 0
    echo_at: float | None = None
    stored: int = 0
    stored_at: float | None = None
    refused: int = 0
    refused_at: float | None = None
    refused_status: int | None = None


class Callers:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "callers.sql")

    def record(self, batch: Iterable[Caller]) -> None:
        """Add what happened since the last time: counts add up, times and reasons replace. Raises :class:`Retryable`."""
        rows = [dataclasses.asdict(caller) for caller in batch]
        if not rows:
            return
        with self._database.write() as connection:
            connection.execute(self._sql["upsert"], rows)
            connection.execute(self._sql["forget_oldest"], {"keep": KEPT_MOST - 1})

    def listed(self, *, limit: int = 100) -> list[Caller]:
        """The callers, the latest first."""
        with self._database.read() as connection:
            return [Caller(**row._mapping) for row in connection.execute(self._sql["listed"], {"limit": limit})]
