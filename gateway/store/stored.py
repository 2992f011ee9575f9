"""One version of a resource as it lies in the store, and how it is read from a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.r4.canonical import decode
from gateway.store import dates
from gateway.store.sql import Sql
from gateway.store.writer import decompress

#: What :func:`as_stored` reads, of ``res``. Of these the row number comes first.
COLUMNS = Sql("res.rid, res.type, res.id, res.version, res.updated, res.deleted, res.body")
WIDTH = 7

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a resource as it was written."""

    type: str
    id: str
    version: int
    updated: int  #: microseconds since 1970, UTC
    deleted: bool
    body: bytes  #: JSON; empty when deleted

    def resource(self) -> dict[str, Any]:
        tree: dict[str, Any] = decode(self.body)
        return tree

    @property
    def last_updated(self) -> str:
        return dates.as_instant(self.updated)


def as_stored(row: Row) -> Stored:
    """From a row that begins with :data:`COLUMNS`."""
    _, kind, logical_id, version, updated, deleted, body = row[:WIDTH]
    return Stored(kind, logical_id, version, updated, bool(deleted), decompress(body) if body else b"")
