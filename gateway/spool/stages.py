"""The work on single instances: who holds which, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import Record
from gateway.spool import bodies
from gateway.spool.deliveries import Deliveries, Variant
from gateway.spool.timers import Timers

#: After this many crashes of the worker on one object, the object is set aside.
MOST_CRASHES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The right to work on one instance until the lease ends. ``token`` fences off former holders."""

    instance_id: int
    token: int
    digest: str
    day: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A ticket's good outcome: the record, and the patient key that its dossier is gathered by."""

    ticket: Ticket
    record: Record
    patient_key: str


class Stages:
    def __init__(self, database: Database, timers: Timers, deliveries: Deliveries) -> None:
        self._database = database
        self._timers = timers
        self._deliveries = deliveries
        self._sql = database.statements(Path(__file__).parent / "sql" / "stages.sql")
        for name in ("leased_tickets", "tokens"):
            self._sql[name] = self._sql[name].bindparams(sa.bindparam("ids", expanding=True))

    def lease(self, *, limit: int, now: float, lease_secs: float) -> list[Ticket]:
        """Up to ``limit`` received instances, oldest first, held until ``now + lease_secs``."""
        with self._database.read() as connection:
            probe = connection.execute(sa.text("SELECT 1 FROM instance WHERE state = 'received' LIMIT 1")).first()
        if probe is None:  # the usual case when idle: take no write lock
            return []
        with self._database.write() as connection:
            ids = list(
                connection.execute(
                    self._sql["lease_instances"], {"now": now, "until": now + lease_secs, "limit": limit}
                ).scalars()
            )
            if not ids:
                return []
            return [
                Ticket(
                    instance_id=row.id,
                    token=row.lease_token,
                    digest=bytes(row.digest).hex(),
                    day=row.day,
                    sop_instance_uid=row.sop_instance_uid,
                    study_uid=row.study_uid,
                    series_uid=row.series_uid,
                    crashes=row.crashes,
                )
                for row in connection.execute(self._sql["leased_tickets"], {"ids": ids})
            ]

    def advance(self, done: Sequence[Normalised], *, archives: Sequence[str] = (), now: float) -> int:
        """Store the records, mark their studies and dossiers as changed, queue the originals for the DICOM targets: one transaction.

        Returns how many were still ours.
        """
        if not done:
            return 0
        with self._database.write() as connection:
            held = self._still_held(connection, [item.ticket for item in done])
            ours = [item for item in done if item.ticket.instance_id in held]
            if not ours:
                return 0
            shared_ids = self._put_shared(connection, ours)
            connection.execute(self._sql["put_record"], [_record_row(item, shared_ids) for item in ours])
            connection.execute(self._sql["set_normalised"], [{"id": item.ticket.instance_id} for item in ours])
            self._timers.touch(connection, "study", {item.ticket.study_uid for item in ours}, now=now)
            self._timers.touch(connection, "dossier", {item.patient_key for item in ours}, now=now)
            ids = [item.ticket.instance_id for item in ours]
            self._deliveries.enqueue_instances(connection, ids, archives, Variant.ORIGINAL, now)
            return len(ours)

    def _still_held(self, connection: Connection, tickets: Sequence[Ticket]) -> set[int]:
        rows = connection.execute(self._sql["tokens"], {"ids": [ticket.instance_id for ticket in tickets]})
        tokens = {row.id: row.lease_token for row in rows}
        return {ticket.instance_id for ticket in tickets if tokens.get(ticket.instance_id) == ticket.token}

    def _put_shared(self, connection: Connection, items: Sequence[Normalised]) -> dict[str, int]:
        ids: dict[str, int] = {}
        for item in items:
            shared = item.record.shared
            if shared.key in ids:
                continue
            row = {
                "key": shared.key,
                "patient_key": item.patient_key,
                "study_uid": item.ticket.study_uid,
                "body": bodies.pack(shared),
            }
            connection.execute(self._sql["insert_shared"], row)
            ids[shared.key] = connection.execute(self._sql["select_shared"], {"key": shared.key}).scalar_one()
        return ids

    def quarantine(self, ticket: Ticket, reason: str, *, archives: Sequence[str] = (), now: float = 0.0) -> None:
        """Set one instance aside with a reason for a human. Its bytes stay where they are, and the DICOM targets get it all the same:
        an image that we do not understand is still an image."""
        with self._database.write() as connection:
            row = {"id": ticket.instance_id, "token": ticket.token, "reason": reason}
            if connection.execute(self._sql["set_quarantined"], row).rowcount == 1:
                self._deliveries.enqueue_instances(connection, [ticket.instance_id], archives, Variant.ORIGINAL, now)

    def count_crash(self, instance_id: int) -> None:
        """A worker process died while it worked on this instance."""
        with self._database.write() as connection:
            connection.execute(self._sql["count_crash"], {"id": instance_id})

    def requeue(self, instance_ids: Sequence[int]) -> int:
        """Try again what stands in quarantine. Returns how many were taken up.

        Left where they are: objects without a SOP Instance UID, and a second content of a UID that is worked on already.
        """
        with self._database.write() as connection:
            return sum(connection.execute(self._sql["requeue"], {"id": item}).rowcount for item in instance_ids)


def _record_row(item: Normalised, shared_ids: dict[str, int]) -> dict[str, object]:
    issues = item.record.issues
    return {
        "instance_id": item.ticket.instance_id,
        "shared_id": shared_ids[item.record.shared.key],
        "fields": bodies.pack_small(item.record.instance),
        "issues": bodies.pack_small(issues) if issues else None,
    }
