"""Backfills in the ledger: what was asked for, which days were listed, what became of each study. Outlives every kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.database import Database
from gateway.model import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What of the past is wanted. Days as YYYY-MM-DD, both included; no modalities: all."""

    source: str
    from_day: str
    to_day: str
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRef:
    """One study at a source. ``handle``: how the source itself calls it."""

    study_uid: str
    day: str
    handle: str = ""


class Backfills:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "backfills.sql")

    def ask(self, order: Order, *, now: float, failed_again: bool = True) -> tuple[int, str | None]:
        """Begin, or go on with the same; returns its id and the last day that was listed. Studies that failed are tried again."""
        row = {
            "source": order.source,
            "from_day": order.from_day,
            "to_day": order.to_day,
            "modalities": ",".join(order.modalities),
            "now": now,
        }
        with self._database.write() as connection:
            found = connection.execute(self._sql["ask"], row).one()
            if failed_again:
                connection.execute(self._sql["try_failed_again"], {"id": found.id})
            return found.id, found.listed_day

    def listed(self, number: int, day: str, studies: Sequence[StudyRef], *, now: float) -> None:
        """This day was listed; in one transaction with its studies."""
        with self._database.write() as connection:
            rows = [{"id": number, "study_uid": item.study_uid, "day": item.day, "handle": item.handle} for item in studies]
            if rows:
                connection.execute(self._sql["add_study"], rows)
            connection.execute(self._sql["listed"], {"id": number, "day": day, "now": now})

    def next_study(self, number: int) -> StudyRef | None:
        """The newest that is still to be fetched."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["next_study"], {"id": number}).first()
            return StudyRef(study_uid=row.study_uid, day=row.day, handle=row.handle) if row else None

    def done(self, number: int, study_uid: str, *, objects: int, refused: int, now: float) -> None:
        self._end(number, study_uid, "done", objects, refused, None, now)

    def failed(self, number: int, study_uid: str, reason: str, *, objects: int, refused: int, now: float) -> None:
        """It stays away for now; asking for the backfill again tries it again."""
        self._end(number, study_uid, "failed", objects, refused, reason, now)

    def stopped(self, number: int, problem: str | None, *, now: float) -> None:
        """Work ends here, for this reason or none."""
        with self._database.write() as connection:
            connection.execute(self._sql["worked"], {"id": number, "now": now, "problem": problem})

    def listing(self) -> list[JsonObject]:
        """All backfills with their numbers, the latest first."""
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["listing"])]

    def _end(self, number: int, study_uid: str, state: str, objects: int, refused: int, reason: str | None, now: float) -> None:
        row = {"id": number, "study_uid": study_uid, "state": state, "objects": objects, "refused": refused, "reason": reason}
        with self._database.write() as connection:
            connection.execute(self._sql["end_study"], row)
            connection.execute(self._sql["worked"], {"id": number, "now": now, "problem": None})
