"""Rows for what has been received: one arrival each time, one instance per content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import Instance, Received

CONFLICT_REASON = (
    "The same SOP Instance UID arrived before with other bytes. Both are kept; the first stays published until they are compared."
)

#: SQLite binds at most 32,766 values in one statement; stay well below.
_CHUNK = 5000


class Intake:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "intake.sql")
        for name in ("known_digests", "quarantined_digests", "select_days", "came_again"):
            self._sql[name] = self._sql[name].bindparams(sa.bindparam("digests", expanding=True))
        self._series_ids: dict[tuple[str, str, str, str], int] = {}

    def record_arrivals(self, batch: Sequence[Received]) -> list[Instance]:
        """Write one group of arrivals in one transaction. Raises :class:`~gateway.errors.Retryable` when it cannot.

        Returns the spare copies: instances whose bytes stand already in another day-partition, so this file may go.
        """
        if not batch:
            return []
        seen = dict(self._series_ids)
        with self._database.write() as connection:
            rows = [self._row(connection, received, seen) for received in batch]
            connection.execute(self._sql["insert_arrival"], [_arrival_row(received) for received in batch])
            inserted = connection.execute(self._sql["insert_instance"], rows).rowcount
            spare = [] if inserted == len(rows) else self._settle_known(connection, batch, rows)
        self._series_ids = seen if len(seen) < _CHUNK else {}
        return spare

    def _settle_known(self, connection: Connection, batch: Sequence[Received], rows: Sequence[dict[str, Any]]) -> list[Instance]:
        """Something of the batch was known before: tell re-sends, healed objects and conflicts apart. Returns the spare copies."""
        good = [received.instance for received in batch if received.reason is None]
        if not good:
            return []
        contested = [row for row in rows if row["state"] == "received"]
        connection.execute(self._sql["heal_instance"], contested)
        connection.execute(self._sql["insert_conflict"], contested)
        digests = [bytes.fromhex(instance.digest) for instance in good]
        connection.execute(self._sql["came_again"], {"digests": digests})
        days: dict[str, set[str]] = defaultdict(set)
        for row in connection.execute(self._sql["select_days"], {"digests": digests}):
            days[bytes(row.digest).hex()].add(row.day)
        return [instance for instance in good if days[instance.digest] and instance.day not in days[instance.digest]]

    def _row(self, connection: Connection, received: Received, seen: dict[tuple[str, str, str, str], int]) -> dict[str, Any]:
        instance = received.instance
        return {
            "series_id": self._series_id(connection, instance, seen),
            "sop_instance_uid": instance.sop_instance_uid,
            "digest": bytes.fromhex(instance.digest),
            "day": instance.day,
            "size_bytes": instance.size_bytes,
            "state": "quarantined" if received.reason else "received",
            "reason": received.reason,
            "conflict_reason": CONFLICT_REASON,
        }

    def _series_id(self, connection: Connection, instance: Instance, seen: dict[tuple[str, str, str, str], int]) -> int:
        key = (instance.series_instance_uid, instance.study_instance_uid, instance.sop_class_uid, instance.transfer_syntax_uid)
        if key not in seen:
            names = dict(zip(("series_uid", "study_uid", "sop_class_uid", "transfer_syntax_uid"), key, strict=True))
            connection.execute(self._sql["insert_series"], names)
            seen[key] = connection.execute(self._sql["select_series"], names).scalar_one()
        return seen[key]

    def unknown(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that have no row: files to adopt."""
        wanted = set(digests)
        return wanted - self._select("known_digests", wanted)

    def quarantined(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests whose rows all tell of quarantine."""
        return self._select("quarantined_digests", digests)

    def relocate(self, instance: Instance) -> None:
        """The bytes stand in this day-partition; those that the row tells of are gone."""
        with self._database.write() as connection:
            connection.execute(self._sql["relocate"], {"digest": bytes.fromhex(instance.digest), "day": instance.day})

    def _select(self, statement: str, digests: Iterable[str]) -> set[str]:
        wanted = sorted(digests)
        found: set[str] = set()
        with self._database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                chunk = [bytes.fromhex(digest) for digest in wanted[start : start + _CHUNK]]
                found.update(bytes(row).hex() for row in connection.execute(self._sql[statement], {"digests": chunk}).scalars())
        return found

    def closed_days(self) -> set[str]:
        with self._database.read() as connection:
            return set(connection.execute(self._sql["closed_days"]).scalars())

    def close_day(self, day: str) -> None:
        """Every file of this day-partition has its row: later sweeps pass it over."""
        with self._database.write() as connection:
            connection.execute(self._sql["close_day"], {"day": day})


def _arrival_row(received: Received) -> dict[str, Any]:
    arrival = received.arrival
    return {
        "door": str(arrival.door),
        "calling_ae": arrival.calling_ae,
        "called_ae": arrival.called_ae,
        "peer": arrival.peer,
        "received_at": arrival.received_at.timestamp(),
        "digest": bytes.fromhex(received.instance.digest),
        "status": received.status,
    }
