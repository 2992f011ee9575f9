"""Studies and dossiers: which are quiet, what is known of them, and their sealed versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import Issue, JsonObject, SharedFields
from gateway.spool import bodies
from gateway.spool.facts import Facts
from gateway.spool.timers import Timers


class SubjectKind(StrEnum):
    STUDY = "study"
    DOSSIER = "dossier"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTicket:
    """The right to gather one subject. ``seen`` is its count of changes at that moment: a later change leaves the subject open."""

    kind: SubjectKind
    key: str
    token: int
    seen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShared:
    """What records share. ``patient_key`` is the patient that holds, ``original_key`` the one that the header names.

    Where a person decided that they differ, ``fields.patient`` is empty: what the header says there is about somebody else.
    """

    id: int
    patient_key: str
    original_key: str
    fields: SharedFields


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One instance's record as the gatherer reads it."""

    instance_id: int
    shared: StoredShared
    instance: JsonObject
    issues: tuple[Issue, ...]
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSealed:
    """The latest version of a subject, whether delivered or not."""

    patient_key: str
    bundle: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What gathering a subject came to. ``bundle`` is None when there is nothing to publish."""

    patient_key: str | None
    content_hash: str
    bundle: JsonObject | None
    hold: Mapping[int, str]  #: instance id -> why it is held
    release: Sequence[int]
    dossiers: frozenset[str]  #: patient keys whose dossier must be gathered again
    aliases: Mapping[str, str]  #: administration alias -> id, newly minted or newly learnt
    replaced: Mapping[str, str] = field(default_factory=dict)  #: administration id given up -> id that survives
    active: frozenset[str] = frozenset()  #: ids of the dossier's administrations that are no error
    result_aliases: Mapping[str, str] = field(default_factory=dict)  #: the same three of its results
    replaced_results: Mapping[str, str] = field(default_factory=dict)
    active_results: frozenset[str] = frozenset()
    #: part of a table -> the administration that it is bound to, and why it waits
    tables: Mapping[int, tuple[str | None, str | None]] = field(default_factory=dict)


class Subjects:
    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers
        self.facts = Facts(database)
        self._sql = database.statements(Path(__file__).parent / "sql" / "subjects.sql")
        self._sql["shared_bodies"] = self._sql["shared_bodies"].bindparams(sa.bindparam("ids", expanding=True))

    def lease_due(self, *, now: float, lease_secs: float) -> SubjectTicket | None:
        """The next quiet study or dossier, studies first."""
        for kind in SubjectKind:
            with self._database.read() as connection:
                if connection.execute(self._sql[f"{kind}_due"], {"now": now}).first() is None:
                    continue
            with self._database.write() as connection:
                row = connection.execute(self._sql[f"{kind}_due"], {"now": now}).first()
                if row is None:
                    continue
                taken = connection.execute(
                    self._sql[f"{kind}_lease"], {"key": row.key, "token": row.lease_token, "until": now + lease_secs}
                )
                if taken.rowcount == 1:
                    return SubjectTicket(kind=kind, key=row.key, token=row.lease_token + 1, seen=row.changes)
        return None

    def study_records(self, study_uid: str, *, with_shadow: bool = False) -> list[StoredRecord]:
        """What is published of a study, and what is held for its patient id; ``with_shadow``: what waits for approval too."""
        statement = "study_records_and_shadow" if with_shadow else "study_records"
        with self._database.read() as connection:
            rows = connection.execute(self._sql[statement], {"key": study_uid}).all()
            shared = self._shared(connection, {row.shared_id for row in rows})
        return [
            StoredRecord(
                instance_id=row.instance_id,
                shared=shared[row.shared_id],
                instance=bodies.unpack_small(row.fields),
                issues=bodies.unpack_issues(row.issues),
                held=row.state == "conflict",
            )
            for row in rows
        ]

    def _shared(self, connection: Connection, ids: set[int]) -> dict[int, StoredShared]:
        if not ids:
            return {}
        rows = connection.execute(self._sql["shared_bodies"], {"ids": sorted(ids)})
        return {row.id: _stored_shared(row) for row in rows}

    def dossier_shared(self, patient_key: str) -> list[StoredShared]:
        """Everything published instances say of one patient, in an order that does not depend on arrival."""
        with self._database.read() as connection:
            return [_stored_shared(row) for row in connection.execute(self._sql["dossier_shared"], {"key": patient_key})]

    def last_sealed(self, ticket: SubjectTicket) -> LastSealed | None:
        """What was sealed last of this subject, if anything."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["last_bundle"], {"kind": ticket.kind, "key": ticket.key}).first()
            return LastSealed(patient_key=row.patient_key, bundle=bodies.unpack(row.bundle)) if row else None

    def note_problem(self, ticket: SubjectTicket, reason: str) -> None:
        """This subject cannot be published, and why. It stays open and is tried again when the lease has run out."""
        with self._database.write() as connection:
            row = {"key": ticket.key, "token": ticket.token, "reason": reason}
            connection.execute(self._sql[f"{ticket.kind}_problem"], row)

    def seal(self, ticket: SubjectTicket, sealed: Sealed, *, targets: Sequence[str], now: float) -> int | None:
        """Store what gathering came to, in one transaction: holds, minted facts, the new version, its deliveries.

        Returns the version, or None when the content is what was sealed last (nothing to deliver) or the lease was lost.
        """
        with self._database.write() as connection:
            version = self._new_version(connection, ticket, sealed)
            if not self._settle(connection, ticket, sealed, grown=version is not None):
                connection.rollback()
                return None
            self._store_facts(connection, ticket, sealed, now=now)
            if version is not None:
                self._insert_version(connection, ticket, sealed, version, targets=targets, now=now)
            return version

    def _new_version(self, connection: Connection, ticket: SubjectTicket, sealed: Sealed) -> int | None:
        last = connection.execute(self._sql["last_version"], {"kind": ticket.kind, "key": ticket.key}).first()
        if sealed.bundle is None or (last is not None and last.content_hash == sealed.content_hash and not last.given_up):
            return None
        return last.version + 1 if last else 1

    def _settle(self, connection: Connection, ticket: SubjectTicket, sealed: Sealed, *, grown: bool) -> bool:
        row: dict[str, object] = {"key": ticket.key, "token": ticket.token, "seen": ticket.seen, "grown": int(grown)}
        if ticket.kind is SubjectKind.STUDY:
            row["patient_key"] = sealed.patient_key
        return connection.execute(self._sql[f"{ticket.kind}_settle"], row).rowcount == 1

    def _store_facts(self, connection: Connection, ticket: SubjectTicket, sealed: Sealed, *, now: float) -> None:
        for instance_id, reason in sealed.hold.items():
            connection.execute(self._sql["hold_instance"], {"id": instance_id, "reason": reason})
        for instance_id in sealed.release:
            connection.execute(self._sql["release_instance"], {"id": instance_id})
        if ticket.kind is SubjectKind.DOSSIER:
            self.facts.store(connection, ticket.key, aliases=sealed.aliases, replaced=sealed.replaced, active=sealed.active)
            self.facts.store_results(
                connection,
                ticket.key,
                aliases=sealed.result_aliases,
                replaced=sealed.replaced_results,
                active=sealed.active_results,
            )
        self._timers.touch(connection, SubjectKind.DOSSIER, sealed.dossiers, now=now)

    def _insert_version(
        self,
        connection: Connection,
        ticket: SubjectTicket,
        sealed: Sealed,
        version: int,
        *,
        targets: Sequence[str],
        now: float,
    ) -> None:
        row = {"kind": ticket.kind, "key": ticket.key, "version": version}
        body = {
            **row,
            "patient_key": sealed.patient_key,
            "content_hash": sealed.content_hash,
            "sealed_at": now,
            "bundle": bodies.pack(sealed.bundle),
        }
        version_id = connection.execute(self._sql["insert_version"], body).scalar_one()
        connection.execute(self._sql["supersede_versions"], row)
        connection.execute(self._sql["supersede_deliveries"], row)
        for target in targets:
            delivery = {
                "target": target,
                "subject_version_id": version_id,
                "partition_key": sealed.patient_key,
                "now": now,
            }
            connection.execute(self._sql["insert_delivery"], delivery)


def _stored_shared(row: sa.Row[tuple[int, str, str, bytes]]) -> StoredShared:
    fields = bodies.unpack_shared(row.body)
    if row.patient_key != row.original_key:
        fields = dataclasses.replace(fields, patient={})
    return StoredShared(id=row.id, patient_key=row.patient_key, original_key=row.original_key, fields=fields)
