"""The outbox: one row per sealed version and FHIR target, and one per instance, variant and DICOM target.

Rows are leased, retried within a time budget and parked for a human after it. Who sends them is none of this room's business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import UNKNOWN, Came, JsonObject
from gateway.spool import bodies
from gateway.spool.came import came_of
from gateway.spool.timers import Timers

#: SQLite binds at most 32,766 values in one statement.
_CHUNK = 5000


class Variant(StrEnum):
    """What a DICOM target is to be told of one instance."""

    ORIGINAL = "original"  #: take it, byte for byte as received
    NORMALISED = "normalised"  #: take it, corrected
    WITHDRAWN = "withdrawn"  #: a person decided that it must not be used
    REASSIGNED = "reassigned"  #: a person decided that it belongs to another patient than it says


#: What one variant makes pointless while it has not been delivered yet.
_OPPOSITE: dict[Variant, tuple[Variant, ...]] = {
    Variant.ORIGINAL: (Variant.WITHDRAWN, Variant.REASSIGNED),
    Variant.NORMALISED: (Variant.WITHDRAWN,),
    Variant.WITHDRAWN: (Variant.ORIGINAL, Variant.NORMALISED, Variant.REASSIGNED),
    Variant.REASSIGNED: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to deliver one row, until the lease runs out. ``token`` fences off former holders."""

    delivery_id: int
    token: int
    target: str
    attempts: int  #: this one included
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTicket(Lease):
    """The right to deliver one sealed version to one target."""

    kind: str
    subject_key: str
    version: int
    bundle: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The object that a DICOM target holds for an instance: the original, or a normalised one made of it."""

    digest: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTicket(Lease):
    """The right to tell one DICOM target something about one instance."""

    partition_key: str
    variant: Variant
    digest: str
    day: str
    sop_instance_uid: str
    study_uid: str = ""
    received_at: float = 0.0  #: when its content came first
    came: Came = UNKNOWN  #: how it came then
    original_key: str = ""  #: the patient that its header names; empty: no mapping understood it
    patient_key: str = ""  #: the patient that holds
    given: tuple[Given, ...] = ()  #: what this target was given of the instance before


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a target holds of one resource. ``remote_id`` is the server's own id, where it did not take ours."""

    resource_type: str
    resource_id: str
    version_id: str
    content_hash: str
    remote_id: str | None = None


class Deliveries:
    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers
        self._sql = database.statements(Path(__file__).parent / "sql" / "deliveries.sql")
        names = (
            "published_hashes",
            "unpark",
            "let_old_versions_rest",
            "overtaken",
            "give_up",
            "tell_behind",
            "leased_instances",
            "given_before",
            "enqueue_instance",
            "reopen_instance",
            "targets_of",
        )
        for name in (*names, "supersede_opposite"):
            self._sql[name] = self._sql[name].bindparams(sa.bindparam("ids", expanding=True))
        opposite = self._sql["supersede_opposite"]
        self._sql["supersede_opposite"] = opposite.bindparams(sa.bindparam("variants", expanding=True))

    def lease(self, target: str, *, now: float, lease_secs: float) -> DeliveryTicket | None:
        """The next due version for a target, in order within each patient."""
        wanted = {"target": target, "now": now}
        with self._database.read() as connection:
            if connection.execute(self._sql["next_delivery"], wanted).first() is None:
                return None
        with self._database.write() as connection:
            found = connection.execute(self._sql["next_delivery"], wanted).first()
            if found is None:
                return None
            lease = {"id": found.id, "token": found.lease_token, "until": now + lease_secs}
            if connection.execute(self._sql["lease_delivery"], lease).rowcount != 1:
                return None
            row = connection.execute(self._sql["leased_delivery"], {"id": found.id}).one()
            return DeliveryTicket(
                delivery_id=row.id,
                token=found.lease_token + 1,
                target=target,
                attempts=row.attempts,
                created_at=row.created_at,
                kind=row.kind,
                subject_key=row.subject_key,
                version=row.version,
                bundle=bodies.unpack(row.bundle),
            )

    def lease_instances(self, target: str, *, limit: int, now: float, lease_secs: float) -> list[InstanceTicket]:
        """Up to ``limit`` due instances for a target, oldest first; of each patient an unbroken run from the head of its queue."""
        wanted = {"target": target, "now": now}
        with self._database.read() as connection:
            if connection.execute(self._sql["instances_due"], wanted).first() is None:
                return []
        with self._database.write() as connection:
            leased = connection.execute(self._sql["lease_instances"], {**wanted, "until": now + lease_secs, "limit": limit})
            ids = list(leased.scalars())
            if not ids:
                return []
            given: dict[int, list[Given]] = {}
            for row in connection.execute(self._sql["given_before"], {"ids": ids, "target": target}):
                item = Given(digest=bytes(row.digest).hex(), sop_instance_uid=row.sop_instance_uid)
                given.setdefault(row.instance_id, []).append(item)
            return [
                InstanceTicket(
                    delivery_id=row.id,
                    token=row.lease_token,
                    target=target,
                    attempts=row.attempts,
                    created_at=row.created_at,
                    partition_key=row.partition_key,
                    variant=Variant(row.variant),
                    digest=bytes(row.digest).hex(),
                    day=row.day,
                    sop_instance_uid=row.sop_instance_uid,
                    study_uid=row.study_uid,
                    received_at=row.received_at or row.created_at,
                    came=came_of(row),
                    original_key=row.original_key or "",
                    patient_key=row.patient_key or "",
                    given=tuple(given.get(row.instance_id, ())),
                )
                for row in connection.execute(self._sql["leased_instances"], {"ids": ids})
            ]

    def enqueue_instances(
        self,
        connection: Connection,
        instance_ids: Sequence[int],
        targets: Collection[str] | None,
        variant: Variant | str,
        now: float,
        *,
        again: bool = False,
        withdrawn: bool = False,
    ) -> None:
        """Tell DICOM targets something about instances, within the caller's transaction.

        ``targets`` None means every target that was ever told of them. An original is told once, unless ``again``: a person decided
        anew. What a person decides is always told again, and what it makes pointless is not sent any longer. Of a ``withdrawn`` study
        nothing new is sent: the row stands ready, superseded, for the day the withdrawal is undone.
        """
        what = Variant(variant)
        again = again or what in (Variant.WITHDRAWN, Variant.REASSIGNED)
        for start in range(0, len(instance_ids), _CHUNK):
            ids = list(instance_ids[start : start + _CHUNK])
            names = connection.execute(self._sql["targets_of"], {"ids": ids}).scalars().all() if targets is None else targets
            for target in names:
                row = {
                    "target": target,
                    "variant": what,
                    "ids": ids,
                    "now": now,
                    "state": "superseded" if withdrawn else "pending",
                }
                if again and _OPPOSITE[what]:
                    connection.execute(self._sql["supersede_opposite"], {**row, "variants": list(_OPPOSITE[what])})
                if again:
                    connection.execute(self._sql["reopen_instance"], row)
                connection.execute(self._sql["enqueue_instance"], row)

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

    def verified_instances(
        self, tickets: Sequence[InstanceTicket], *, now: float, given: Mapping[int, Given] | None = None
    ) -> None:
        """The target was asked back and holds each of these: one transaction for the whole batch.

        ``given`` names, by delivery id, the normalised objects among them, which take the place of what was given before.
        """
        if tickets:
            with self._database.write() as connection:
                for ticket in tickets:
                    ended = self._end(connection, ticket, state="verified", reason=None, at=now)
                    item = (given or {}).get(ticket.delivery_id)
                    if ended and item is not None:
                        row = {"id": ticket.delivery_id, "digest": bytes.fromhex(item.digest), "uid": item.sop_instance_uid}
                        connection.execute(self._sql["note_given"], row)
                        connection.execute(self._sql["forget_given"], {"id": ticket.delivery_id})
                        connection.execute(self._sql["forget_intended"], {"id": ticket.delivery_id})

    def intend(self, ticket: InstanceTicket, item: Given) -> bool:
        """Before an upload: this may stand at the target from now on, whoever is killed. False when the lease was lost."""
        row = {
            "id": ticket.delivery_id,
            "token": ticket.token,
            "digest": bytes.fromhex(item.digest),
            "uid": item.sop_instance_uid,
        }
        with self._database.write() as connection:
            return connection.execute(self._sql["intend"], row).rowcount == 1

    def retry(self, ticket: Lease, reason: str, *, at: float) -> None:
        """Try again at ``at``; the reason is shown to people meanwhile."""
        with self._database.write() as connection:
            self._end(connection, ticket, state="pending", reason=reason, at=at)

    def release(self, tickets: Sequence[Lease]) -> None:
        """Give back what was leased and not tried: at once due again, and the attempt does not count."""
        if tickets:
            with self._database.write() as connection:
                for ticket in tickets:
                    connection.execute(self._sql["release_delivery"], {"id": ticket.delivery_id, "token": ticket.token})

    def park(self, ticket: Lease, reason: str, *, now: float) -> None:
        """Stop trying: kept, visible, replayed by ``isobridge spool retry``."""
        with self._database.write() as connection:
            self._end(connection, ticket, state="parked", reason=reason, at=now)

    def park_expired(self, target: str, reason: str, *, created_before: float) -> int:
        """Park all that waited for a target since before ``created_before``. Returns how many."""
        with self._database.write() as connection:
            row = {"target": target, "reason": reason, "created_before": created_before}
            return connection.execute(self._sql["park_expired"], row).rowcount

    def unpark(self, delivery_ids: Sequence[int], *, now: float) -> int:
        """A person asks for another try, with a budget of its own; a version that a newer one replaced is left out.

        Where the target heard something newer of the same patient meanwhile, the subject is sealed anew instead of sending old words.
        Returns how many will be tried.
        """
        count = 0
        for start in range(0, len(delivery_ids), _CHUNK):
            with self._database.write() as connection:
                row = {"ids": list(delivery_ids[start : start + _CHUNK]), "now": now}
                connection.execute(self._sql["let_old_versions_rest"], row)
                count += self._seal_anew(connection, row["ids"], now)
                count += connection.execute(self._sql["unpark"], row).rowcount
                connection.execute(self._sql["tell_behind"], row)
        return count

    def _seal_anew(self, connection: Connection, ids: object, now: float) -> int:
        found = connection.execute(self._sql["overtaken"], {"ids": ids}).all()
        for kind in sorted({row.kind for row in found}):
            self._timers.touch(connection, kind, {row.subject_key for row in found if row.kind == kind}, now=now, at_once=True)
        if not found:
            return 0
        return connection.execute(self._sql["give_up"], {"ids": [row.id for row in found]}).rowcount

    def _end(self, connection: Connection, ticket: Lease, *, state: str, reason: str | None, at: float) -> bool:
        row: Mapping[str, object] = {
            "id": ticket.delivery_id,
            "token": ticket.token,
            "state": state,
            "reason": reason,
            "next_attempt_at": at,
        }
        return connection.execute(self._sql["end_delivery"], row).rowcount == 1
