"""Which originals may leave the spool, which have left, what was found damaged, missing or lost. Moves no file itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import JsonObject
from gateway.spool import bodies


class Found(StrEnum):
    """What was found wrong with one object."""

    DAMAGED = "damaged"  #: its file has other bytes than were received
    MISSING = "missing"  #: its file is not in the spool, and it never left
    LOST = "lost"  #: an archive that held it does not any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One instance with its file in the spool."""

    id: int
    digest: str
    day: str
    size_bytes: int
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldInstance:
    """One instance that an archive verified, and what it was given of it: the original, or a normalised object."""

    delivery_id: int
    instance_id: int
    digest: str
    day: str
    sop_instance_uid: str
    given_digest: str
    given_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVersion:
    """One version of a study or dossier that a FHIR server verified."""

    delivery_id: int
    bundle: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When an original may leave. ``before``: seconds since 1970; what was verified or received later stays."""

    before: float
    day: str  #: the last day-partition that comes into question
    archives: Collection[str]  #: every DICOM target
    holders: Collection[str]  #: those of them that get originals
    facts: Collection[str]  #: every FHIR target

    def row(self) -> dict[str, Any]:
        return {
            "before": self.before,
            "day": self.day,
            "archives": sorted(self.archives),
            "archives_count": len(self.archives),
            "holders": sorted(self.holders),
            "facts": sorted(self.facts),
            "facts_count": len(self.facts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """How far the scrub has come. Times are seconds since 1970."""

    upto: int = 0  #: instance ids up to this one were looked at
    objects: int = 0
    started_at: float = 0.0
    finished_at: float | None = None


class Keeping:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "keeping.sql")
        expanding = {"ripe": ("archives", "holders", "facts"), "holders": ("targets",), "mend": ("kinds",), "set_aside": ("ids",)}
        for name, lists in expanding.items():
            self._sql[name] = self._sql[name].bindparams(*(sa.bindparam(each, expanding=True) for each in lists))

    def ripe(self, terms: Terms, *, after: int, limit: int) -> list[Original]:
        """Originals that may leave, by id; their archives are still to be asked back."""
        with self._database.read() as connection:
            return self._ripe(connection, terms, after, limit)

    def depart(self, original: Original, terms: Terms, *, target: str, now: float) -> bool:
        """``target`` was asked back and holds it: its file may go. False when something happened to it meanwhile."""
        with self._database.write() as connection:
            still = self._ripe(connection, terms, original.id - 1, 1)
            if still != [original]:
                return False
            connection.execute(self._sql["depart"], {"id": original.id, "target": target, "now": now})
            return True

    def left(self, original: Original, *, now: float) -> None:
        """Its file is gone."""
        with self._database.write() as connection:
            connection.execute(self._sql["left"], {"id": original.id, "now": now})

    def recalled(self, instance_id: int, *, now: float) -> None:
        """Its file is back, and sound."""
        with self._database.write() as connection:
            connection.execute(self._sql["recalled"], {"id": instance_id, "now": now})
            self._mend(connection, instance_id, (Found.DAMAGED, Found.MISSING), "", now)

    def has_left(self, digest: str) -> bool:
        """Whether this content left the spool by retention; its file may have come back since."""
        with self._database.read() as connection:
            return connection.execute(self._sql["departed"], {"digest": bytes.fromhex(digest)}).first() is not None

    def instance_of(self, day: str, digest: str) -> tuple[int, str] | None:
        """Id and SOP Instance UID of the instance whose file is named so."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["instance_of"], {"digest": bytes.fromhex(digest), "day": day}).first()
            return (row.id, row.sop_instance_uid) if row else None

    def holders(self, instance_id: int, targets: Collection[str]) -> list[str]:
        """Which of these archives were found to hold the original."""
        with self._database.read() as connection:
            row = {"id": instance_id, "targets": sorted(targets)}
            return list(connection.execute(self._sql["holders"], row).scalars())

    def stored(self, *, after: int, limit: int) -> list[Original]:
        """Instances whose file should stand in the spool, by id."""
        with self._database.read() as connection:
            return [_original(row) for row in connection.execute(self._sql["stored"], {"after": after, "limit": limit})]

    def is_stored(self, original: Original) -> bool:
        """Whether its file should still stand where it stood."""
        with self._database.read() as connection:
            return connection.execute(self._sql["still_stored"], {"id": original.id}).scalar() == original.day

    def find(self, instance_id: int, kind: Found, *, target: str = "", now: float) -> None:
        """Note what is wrong; once, however often it is found."""
        row = {"id": instance_id, "kind": kind, "target": target, "now": now}
        with self._database.write() as connection:
            connection.execute(self._sql["forget_finding"], row)
            connection.execute(self._sql["find"], row)

    def mended(self, instance_id: int, *kinds: Found, target: str = "", now: float) -> None:
        with self._database.write() as connection:
            self._mend(connection, instance_id, kinds, target, now)

    def held_instances(self, target: str, *, since: float, after: int, limit: int) -> list[HeldInstance]:
        """What an archive verified since then, in the order of deliveries."""
        row = {"target": target, "since": since, "after": after, "limit": limit}
        with self._database.read() as connection:
            return [
                HeldInstance(
                    **{**found._mapping, "digest": bytes(found.digest).hex(), "given_digest": bytes(found.given_digest).hex()}
                )
                for found in connection.execute(self._sql["held_instances"], row)
            ]

    def held_versions(self, target: str, *, since: float, after: int, limit: int) -> list[HeldVersion]:
        """What a FHIR server verified since then and what still holds."""
        row = {"target": target, "since": since, "after": after, "limit": limit}
        with self._database.read() as connection:
            found = connection.execute(self._sql["held_versions"], row).all()
        return [HeldVersion(delivery_id=item.delivery_id, bundle=bodies.unpack(item.bundle)) for item in found]

    def set_aside(self, delivery_ids: Sequence[int]) -> None:
        """What the target lost is parked, from where :meth:`~gateway.spool.deliveries.Deliveries.unpark` takes it."""
        if delivery_ids:
            with self._database.write() as connection:
                connection.execute(self._sql["set_aside"], {"ids": list(delivery_ids)})

    def forget_published(self, target: str, resources: Sequence[tuple[str, str]]) -> None:
        """The target does not hold these (type, id) as it did."""
        rows = [{"target": target, "resource_type": kind, "resource_id": identifier} for kind, identifier in resources]
        with self._database.write() as connection:
            connection.execute(self._sql["forget_published"], rows)

    def scrub(self) -> Scrub:
        with self._database.read() as connection:
            row = connection.execute(self._sql["scrub"]).first()
            return Scrub(**row._mapping) if row else Scrub(finished_at=0.0)

    def put_scrub(self, scrub: Scrub) -> None:
        row = {name: getattr(scrub, name) for name in Scrub.__slots__}
        with self._database.write() as connection:
            connection.execute(self._sql["put_scrub"], row)

    def counts(self) -> JsonObject:
        """How many originals have left, with their bytes; open findings by kind; the last scrub."""
        with self._database.read() as connection:
            gone = connection.execute(self._sql["left_counts"]).one()
            found = {row.kind: row.n for row in connection.execute(self._sql["finding_counts"])}
        scrub = self.scrub()
        return {
            "left": gone.objects,
            "left_bytes": int(gone.bytes),
            "findings": {str(kind): found.get(kind, 0) for kind in Found},
            "scrub_objects": scrub.objects,
            "scrub_finished_at": scrub.finished_at,
        }

    def findings(self, *, limit: int = 100) -> list[JsonObject]:
        with self._database.read() as connection:
            rows = connection.execute(self._sql["findings"], {"limit": limit})
            return [{**row._mapping, "digest": bytes(row.digest).hex()} for row in rows]

    def _ripe(self, connection: Connection, terms: Terms, after: int, limit: int) -> list[Original]:
        if not terms.holders:
            return []
        row = {**terms.row(), "after": after, "limit": limit}
        return [_original(found) for found in connection.execute(self._sql["ripe"], row)]

    def _mend(self, connection: Connection, instance_id: int, kinds: Collection[Found], target: str, now: float) -> None:
        row = {"id": instance_id, "kinds": list(kinds), "target": target, "now": now}
        connection.execute(self._sql["mend"], row)


def _original(row: Any) -> Original:
    return Original(**{**row._mapping, "digest": bytes(row.digest).hex()})
