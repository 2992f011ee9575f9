"""The work on single instances: who holds which, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import UNKNOWN, Came, Record
from gateway.spool import bodies
from gateway.spool.came import came_of
from gateway.spool.decisions import Decisions
from gateway.spool.deliveries import Deliveries, Variant
from gateway.spool.shadows import Judged, Shadows
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
    came: Came = UNKNOWN  #: the arrival that brought the content first


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A ticket's good outcome: the record, and the patient key that its header names. Decisions of people may name another."""

    ticket: Ticket
    record: Record
    patient_key: str
    shadow: bool = False  #: its mapping is one that a person must approve before anything is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A content of a SOP Instance UID, as a file of the spool."""

    digest: str
    day: str
    came: Came = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What came of comparing another content of a UID with the one in force."""

    ticket: Ticket
    same: bool  #: only the encoding differs
    reason: str  #: in what they differ, for people; names elements, never values
    normalised: Normalised | None  #: what the content says, ready for the day a person puts it in force


class Stages:
    def __init__(
        self, database: Database, timers: Timers, decisions: Decisions, deliveries: Deliveries, shadows: Shadows
    ) -> None:
        self._database = database
        self._timers = timers
        self._decisions = decisions
        self._deliveries = deliveries
        self._shadows = shadows
        self._sql = database.statements(Path(__file__).parent / "sql" / "stages.sql")
        for name in ("leased_tickets", "tokens", "archived"):
            self._sql[name] = self._sql[name].bindparams(sa.bindparam("ids", expanding=True))

    def lease(self, *, limit: int, now: float, lease_secs: float) -> list[Ticket]:
        """Up to ``limit`` received instances, oldest first, held until ``now + lease_secs``."""
        with self._database.read() as connection:
            probe = connection.execute(sa.text("SELECT 1 FROM instance WHERE state = 'received' LIMIT 1")).first()
        if probe is None:  # the usual case when idle: take no write lock
            return []
        return self._lease("lease_instances", limit=limit, now=now, lease_secs=lease_secs)

    def lease_comparisons(self, *, limit: int, now: float, lease_secs: float) -> list[Ticket]:
        """Up to ``limit`` other contents of known SOP Instance UIDs, to be compared with those in force."""
        with self._database.read() as connection:
            probe = connection.execute(sa.text("SELECT 1 FROM instance WHERE held_for = 'comparison' LIMIT 1")).first()
        if probe is None:
            return []
        return self._lease("lease_comparisons", limit=limit, now=now, lease_secs=lease_secs)

    def _lease(self, statement: str, *, limit: int, now: float, lease_secs: float) -> list[Ticket]:
        with self._database.write() as connection:
            wanted = {"now": now, "until": now + lease_secs, "limit": limit}
            ids = list(connection.execute(self._sql[statement], wanted).scalars())
            return self.tickets(connection, ids)

    def tickets(self, connection: Connection, ids: Sequence[int]) -> list[Ticket]:
        """What a worker needs to know of instances that it has just leased."""
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
                came=came_of(row),
            )
            for row in connection.execute(self._sql["leased_tickets"], {"ids": list(ids)})
        ]

    def advance(
        self,
        done: Sequence[Normalised],
        *,
        archives: Sequence[str] = (),
        normalised: Sequence[str] = (),
        new_scanners: bool = False,
        now: float,
    ) -> int:
        """Store the records, mark their studies and dossiers as changed, queue the originals for the DICOM targets: one transaction.

        ``normalised`` are the DICOM targets that get normalised objects instead. What is in shadow (``new_scanners``: so is a scanner
        that nobody saw before) is archived as it came and nothing else. Returns how many were still ours.
        """
        if not done:
            return 0
        with self._database.write() as connection:
            held = self._still_held(connection, [item.ticket for item in done])
            ours = [item for item in done if item.ticket.instance_id in held]
            if not ours:
                return 0
            # The study first: a decision about it does the same, so that one waits for the other.
            again = {item.ticket.study_uid for item in ours if held[item.ticket.instance_id] is not None}
            senders: dict[str, set[str]] = defaultdict(set)
            for item in ours:
                senders[item.ticket.study_uid].add(item.ticket.came.calling_ae)
            for uid in sorted(senders):  # a replay: nothing is on its way
                self._timers.touch(connection, "study", {uid}, now=now, at_once=uid in again, senders=senders[uid])
            shared = self.put_records(connection, ours)
            published = self._settle(connection, ours, new_scanners=new_scanners, now=now)
            told: dict[str, bool] = {}
            came: dict[str, set[str]] = defaultdict(set)
            for item in published:
                patient = shared[item.record.shared.key].patient_key
                told[patient] = told.get(patient, False) or item.ticket.study_uid in again
                came[patient].add(item.ticket.came.calling_ae)
            for patient, at_once in sorted(told.items()):
                self._timers.touch(connection, "dossier", {patient}, now=now, at_once=at_once, senders=came[patient])
            self._archive(connection, [item.ticket for item in ours], archives, now)
            self._archive(connection, [item.ticket for item in published], normalised, now, Variant.NORMALISED)
            moved = [item.ticket.instance_id for item in ours if shared[item.record.shared.key].patient_key != item.patient_key]
            self._tell_moved(connection, moved, now)
            return len(ours)

    def _settle(self, connection: Connection, items: Sequence[Normalised], *, new_scanners: bool, now: float) -> list[Normalised]:
        """Give each instance its state. Returns those that may be published."""
        judged = [Judged(instance_id=item.ticket.instance_id, shared=item.record.shared, shadow=item.shadow) for item in items]
        shadowed = self._shadows.judge(connection, judged, new_scanners=new_scanners, now=now)
        tokens = {item.ticket.instance_id: item.ticket.token for item in items}
        rows = [
            {"id": key, "token": tokens[key], "held_for": found.held_for, "reason": found.reason}
            for key, found in shadowed.items()
        ]
        if rows:
            connection.execute(self._sql["note_replay_problem"], rows)
            connection.execute(self._sql["set_shadowed"], rows)
        published = [item for item in items if item.ticket.instance_id not in shadowed]
        if published:
            connection.execute(self._sql["set_normalised"], [{"id": item.ticket.instance_id} for item in published])
        return published

    def _archive(
        self,
        connection: Connection,
        tickets: Sequence[Ticket],
        archives: Sequence[str],
        now: float,
        variant: Variant = Variant.ORIGINAL,
    ) -> None:
        """Queue the objects for the DICOM targets; those of a study that a person withdrew wait until that is undone."""
        by_study: dict[str, list[int]] = {}
        for ticket in tickets:
            by_study.setdefault(ticket.study_uid, []).append(ticket.instance_id)
        for study_uid, ids in sorted(by_study.items()):
            withdrawn = bool(connection.execute(self._sql["study_withdrawn"], {"study_uid": study_uid}).scalar())
            self._deliveries.enqueue_instances(connection, ids, archives, variant, now, withdrawn=withdrawn)

    def normalise_again(self, connection: Connection, items: Sequence[Normalised], targets: Sequence[str], now: float) -> None:
        """Have the DICOM targets that get normalised objects compare theirs with what these are now; not of a withdrawn study.

        What belongs to another patient by a person's decision is told as that: it may have to be marked.
        """
        by_study: dict[str, list[Normalised]] = {}
        for item in items if targets else ():
            by_study.setdefault(item.ticket.study_uid, []).append(item)
        for study_uid, mine in sorted(by_study.items()):
            if connection.execute(self._sql["study_withdrawn"], {"study_uid": study_uid}).scalar():
                continue
            keys = {item.record.shared.key for item in mine}
            holds = {key: connection.execute(self._sql["select_shared"], {"key": key}).one().patient_key for key in keys}
            moved = [item.ticket.instance_id for item in mine if holds[item.record.shared.key] != item.patient_key]
            rest = [item.ticket.instance_id for item in mine if holds[item.record.shared.key] == item.patient_key]
            self._deliveries.enqueue_instances(connection, moved, targets, Variant.REASSIGNED, now)
            self._deliveries.enqueue_instances(connection, rest, targets, Variant.NORMALISED, now, again=True)

    def _tell_moved(self, connection: Connection, instance_ids: Sequence[int], now: float) -> None:
        """What came late and belongs to another patient by a person's decision is marked behind its original, as the rest was.

        Not where nothing is sent of it: undoing the withdrawal tells that too.
        """
        if instance_ids:
            rows = connection.execute(self._sql["archived"], {"ids": list(instance_ids)})
            self._deliveries.enqueue_instances(connection, list(rows.scalars()), None, Variant.REASSIGNED, now)

    def put_records(self, connection: Connection, items: Sequence[Normalised]) -> dict[str, sa.Row[Any]]:
        """Store records under the patients that hold for them, decisions of people included. Returns their shared rows by key."""
        shared = self._put_shared(connection, items)
        shared_ids = {key: row.id for key, row in shared.items()}
        connection.execute(self._sql["put_record"], [_record_row(item, shared_ids) for item in items])
        return shared

    def content_in_force(self, sop_instance_uid: str) -> Content | None:
        """The content of a SOP Instance UID that is published, worked on, or held for its patient id."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["content_in_force"], {"sop_instance_uid": sop_instance_uid}).first()
            return Content(digest=bytes(row.digest).hex(), day=row.day, came=came_of(row)) if row else None

    def settle_comparison(self, result: Compared) -> None:
        """Store what came of a comparison. Published facts do not change by it, so no timer is touched."""
        row = {
            "id": result.ticket.instance_id,
            "token": result.ticket.token,
            "state": "variant" if result.same else "conflict",
            "held_for": None if result.same else "content",
            "reason": result.reason,
        }
        with self._database.write() as connection:
            if connection.execute(self._sql["set_compared"], row).rowcount == 1 and result.normalised is not None:
                self.put_records(connection, [result.normalised])

    def take_vacant_place(self, ticket: Ticket) -> None:
        """No content of the UID is in force any more: this one is worked on."""
        with self._database.write() as connection:
            connection.execute(self._sql["take_vacant_place"], {"id": ticket.instance_id, "token": ticket.token})

    def _still_held(self, connection: Connection, tickets: Sequence[Ticket]) -> dict[int, int | None]:
        """Those that are still ours, with the replay that asked for them."""
        tokens = {ticket.instance_id: ticket.token for ticket in tickets}
        rows = connection.execute(self._sql["tokens"], {"ids": list(tokens)})
        return {row.id: row.replay for row in rows if row.lease_token == tokens[row.id]}

    def _put_shared(self, connection: Connection, items: Sequence[Normalised]) -> dict[str, sa.Row[Any]]:
        holds = self._decisions.standings(connection, {item.ticket.study_uid for item in items})
        rows: dict[str, sa.Row[Any]] = {}
        for item in items:
            shared = item.record.shared
            if shared.key in rows:
                continue
            decided = holds.get(item.ticket.study_uid)
            row = {
                "key": shared.key,
                "patient_key": decided.effective(item.patient_key) if decided else item.patient_key,
                "original_key": item.patient_key,
                "study_uid": item.ticket.study_uid,
                "body": bodies.pack(shared),
            }
            connection.execute(self._sql["insert_shared"], row)
            rows[shared.key] = connection.execute(self._sql["select_shared"], {"key": shared.key}).one()
        return rows

    def quarantine(self, ticket: Ticket, reason: str, *, archives: Sequence[str] = (), now: float = 0.0) -> None:
        """Set one instance aside with a reason for a human. Its bytes stay where they are, and the DICOM targets get it all the same:
        an image that we do not understand is still an image."""
        with self._database.write() as connection:
            row = {"id": ticket.instance_id, "token": ticket.token, "reason": reason}
            connection.execute(self._sql["note_replay_problem"], row)
            if connection.execute(self._sql["set_quarantined"], row).rowcount == 1:
                self._archive(connection, [ticket], archives, now)

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
