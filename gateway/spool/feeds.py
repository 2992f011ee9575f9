"""Followed sources in the ledger: how far each log of changes was read. Outlives every kill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.database import Database
from gateway.model import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What is followed. Limits of the study date as YYYY-MM-DD, both included; empty: none; no modalities: all."""

    source: str
    from_day: str = ""
    to_day: str = ""
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far the log was read. ``recent``: the last changes by number, each as a digest, to know the log again."""

    cursor: int = 0
    recent: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    objects: int = 0
    refused: int = 0  #: by our door
    gone: int = 0  #: deleted at the source before they could be fetched


class Feeds:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "feeds.sql")

    def ask(self, feed: Feed, *, now: float) -> tuple[int, Place]:
        """Begin, or go on with the same; returns its id and how far it has come."""
        row = {
            "source": feed.source,
            "from_day": feed.from_day,
            "to_day": feed.to_day,
            "modalities": ",".join(feed.modalities),
            "now": now,
        }
        with self._database.write() as connection:
            found = connection.execute(self._sql["ask"], row).one()
        recent = {int(number): mark for number, mark in json.loads(found.recent).items()}
        return found.id, Place(cursor=found.cursor, recent=recent)

    def advance(self, number: int, place: Place, counts: Counts, failed: Mapping[str, str], *, newest: int, now: float) -> None:
        """Everything up to ``place`` is in the spool, or in ``failed`` (handle -> reason): in one transaction."""
        row = {
            "id": number,
            **_columns(place),
            "newest": max(newest, place.cursor),
            "objects": counts.objects,
            "refused": counts.refused,
            "gone": counts.gone,
            "now": now,
        }
        with self._database.write() as connection:
            for handle, reason in failed.items():
                connection.execute(self._sql["failed"], {"id": number, "handle": handle, "reason": reason})
            connection.execute(self._sql["advance"], row)

    def turn_back(self, number: int, place: Place, *, now: float) -> None:
        """The source has another past than the one that was read: go on from here."""
        with self._database.write() as connection:
            connection.execute(self._sql["turn_back"], {"id": number, **_columns(place), "now": now})

    def failed_handles(self, number: int) -> Sequence[str]:
        with self._database.read() as connection:
            return list(connection.execute(self._sql["failed_handles"], {"id": number}).scalars())

    def mended(self, number: int, handle: str) -> None:
        """It could be fetched after all, or is not there any more."""
        with self._database.write() as connection:
            connection.execute(self._sql["mended"], {"id": number, "handle": handle})

    def tell_problem(self, number: int, problem: str | None) -> None:
        with self._database.write() as connection:
            connection.execute(self._sql["problem"], {"id": number, "problem": problem})

    def listing(self) -> list[JsonObject]:
        """All followed sources with their numbers, the latest first."""
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["listing"])]


def _columns(place: Place) -> JsonObject:
    return {"cursor": place.cursor, "recent": json.dumps({str(number): mark for number, mark in place.recent.items()})}
