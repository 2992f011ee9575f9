"""The outbox: one row per sealed version and target, leased, retried within a time budget, parked for a human after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from gateway.database import Database
from gateway.model import JsonObject
from gateway.spool import bodies


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTicket:
    """The right to deliver one sealed version to one target."""

    delivery_id: int
    token: int
    target: str
    attempts: int  #: this one included
    created_at: float
    kind: str
    subject_key: str
    version: int
    bundle: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a target holds of one resource."""

    resource_type: str
    resource_id: str
    version_id: str
    content_hash: str


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "deliveries.sql")
        for name in ("published_hashes", "unpark"):
            self._sql[name] = self._sql[name].bindparams(sa.bindparam("ids", expanding=True))

    def lease(self, target: str, *, now: float, lease_secs: float) -> DeliveryTicket | None:
        """The next due delivery for a target, in order within each patient."""
        wanted = {"target": target, "now": now}
        with self._database.read() as connection:
            if connection.execute(self._sql["next_delivery"], wanted).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(self._sql["next_delivery"], wanted).first()
            if row is None:
                return None
            lease = {"id": row.id, "token": row.lease_token, "until": now + lease_secs}
            if connection.execute(self._sql["lease_delivery"], lease).rowcount != 1:
                return None
            return DeliveryTicket(
                delivery_id=row.id,
                token=row.lease_token + 1,
                target=target,
                attempts=row.attempts + 1,
                created_at=row.created_at,
                kind=row.kind,
                subject_key=row.subject_key,
                version=row.version,
                bundle=bodies.unpack(row.bundle),
            )

    def published(self, target: str, resource_ids: Sequence[str]) -> dict[tuple[str, str], Published]:
        """What the target is known to hold of these resources, by (type, id)."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["published_hashes"], {"target": target, "ids": list(resource_ids)})
            return {(row.resource_type, row.resource_id): Published(**row._mapping) for row in rows}

    def verified(self, ticket: DeliveryTicket, held: Sequence[Published], *, now: float) -> bool:
        """The target was asked back and holds everything. False when the lease was lost meanwhile."""
        with self._database.write() as connection:
            if not self._end(connection, ticket, state="verified", reason=None, at=now):
                return False
            for item in held:
                row = {"target": ticket.target, **{name: getattr(item, name) for name in Published.__slots__}}
                connection.execute(self._sql["put_published"], row)
            return True

    def retry(self, ticket: DeliveryTicket, reason: str, *, at: float) -> None:
        """Try again at ``at``; the reason is shown to people meanwhile."""
        with self._database.write() as connection:
            self._end(connection, ticket, state="pending", reason=reason, at=at)

    def park(self, ticket: DeliveryTicket, reason: str, *, now: float) -> None:
        """Stop trying: kept, visible, replayed by ``isobridge spool retry``."""
        with self._database.write() as connection:
            self._end(connection, ticket, state="parked", reason=reason, at=now)

    def unpark(self, delivery_ids: Sequence[int], *, now: float) -> int:
        if not delivery_ids:
            return 0
        with self._database.write() as connection:
            return connection.execute(self._sql["unpark"], {"ids": list(delivery_ids), "now": now}).rowcount

    def _end(self, connection: sa.Connection, ticket: DeliveryTicket, *, state: str, reason: str | None, at: float) -> bool:
        row: Mapping[str, object] = {
            "id": ticket.delivery_id,
            "token": ticket.token,
            "state": state,
            "reason": reason,
            "next_attempt_at": at,
        }
        return connection.execute(self._sql["end_delivery"], row).rowcount == 1
