"""Replay: what is there is mapped again by the mappings in force. Work of the daemon, asked for by a command, kept in the ledger.

An instance that waits for it keeps its state and its place in what is published. Its study and its patient are gathered again when all of
it is done, so nothing half old and half new is sealed; the same content gives no new version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.spool import bodies
from gateway.spool.shadows import Judged, Shadows
from gateway.spool.stages import Normalised, Stages, Ticket
from gateway.spool.timers import Timers

_CHUNK = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is to be mapped again: one study, or what arrived on this day (UTC, ``YYYY-MM-DD``) or later."""

    study: str = ""
    since_day: str = ""

    @property
    def text(self) -> str:
        return f"study {self.study}" if self.study else f"since {self.since_day}"

    def as_row(self) -> dict[str, str]:
        return {"study": self.study, "day": self.since_day}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay is."""

    total: int
    waiting: int
    changed: int  #: objects of which something else was read than before
    problems: int
    asked_at: float


class Replays:
    def __init__(self, database: Database, timers: Timers, stages: Stages, shadows: Shadows) -> None:
        self._database = database
        self._timers = timers
        self._stages = stages
        self._shadows = shadows
        self._sql = database.statements(Path(__file__).parent / "sql" / "replays.sql")
        self._sql["held"] = self._sql["held"].bindparams(sa.bindparam("ids", expanding=True))

    def ask(self, scope: Scope, *, now: float) -> int:
        """Mark what is in scope: all of it or, after a kill, nothing. Returns the replay's id.

        What was set aside by the reader or stands in shadow is worked on from its beginning. One transaction: receivers answer from
        their journal meanwhile (docs/operations.md, replay).
        """
        with self._database.write() as connection:
            row = {"now": now, "scope": scope.text}
            wanted = {**scope.as_row(), "replay": connection.execute(self._sql["insert_replay"], row).scalar_one()}
            total = sum(connection.execute(self._sql[name], wanted).rowcount for name in ("mark", "judge_anew", "read_anew"))
            connection.execute(self._sql["note_studies"], wanted)
            connection.execute(self._sql["note_total"], {**wanted, "total": total})
            return int(wanted["replay"])

    def lease(self, *, limit: int, now: float, lease_secs: float) -> list[Ticket]:
        """Up to ``limit`` instances that wait to be mapped again."""
        with self._database.read() as connection:
            if connection.execute(self._sql["pending"]).first() is None:
                return []
        with self._database.write() as connection:
            wanted = {"now": now, "until": now + lease_secs, "limit": limit}
            return self._stages.tickets(connection, list(connection.execute(self._sql["lease"], wanted).scalars()))

    def advance(
        self, done: Sequence[Normalised], *, normalised: Sequence[str] = (), new_scanners: bool = False, now: float
    ) -> int:
        """Store what was read now, and have the subjects gathered again: one transaction. Returns how many were still ours.

        ``normalised`` are the DICOM targets that get normalised objects: theirs are made anew, and sent where they come out otherwise.
        What is published stays so when its mapping is in shadow now: a mapping that nobody has approved takes nothing back.
        """
        if not done:
            return 0
        with self._database.write() as connection:
            before = self._still_held(connection, [item.ticket for item in done])
            ours = [item for item in done if item.ticket.instance_id in before]
            judged = [Judged(instance_id=item.ticket.instance_id, shared=item.record.shared, shadow=item.shadow) for item in ours]
            shadowed = self._shadows.judge(connection, judged, new_scanners=new_scanners, now=now)
            for item in ours:
                if reason := shadowed.get(item.ticket.instance_id):
                    self._fail(connection, before[item.ticket.instance_id], f"Its former record stays. {reason.reason}")
            stored = [item for item in ours if item.ticket.instance_id not in shadowed]
            if stored:
                published = [item for item in stored if _is_published(before[item.ticket.instance_id])]
                self._store(connection, stored, before, now)
                self._stages.normalise_again(connection, published, normalised, now)
            return len(ours)

    def _store(self, connection: Connection, items: Sequence[Normalised], before: dict[int, Any], now: float) -> None:
        # The study first, as everywhere: a decision about it does the same.
        self._timers.touch(connection, "study", {item.ticket.study_uid for item in items}, now=now, at_once=True)
        shared = self._stages.put_records(connection, items)
        changed: dict[int, int] = defaultdict(int)
        concerned: set[str] = set()
        for item in items:
            row = before[item.ticket.instance_id]
            now_shared = shared[item.record.shared.key]
            concerned |= {row.patient_key, now_shared.patient_key}
            changed[row.replay] += _differs(row, item)
            connection.execute(self._sql["done"], {"id": row.id})
        for replay, number in changed.items():
            connection.execute(self._sql["changed"], {"id": replay, "n": number})
        self._timers.touch(connection, "dossier", concerned, now=now, at_once=True)

    def give_up(self, ticket: Ticket, reason: str) -> None:
        """It cannot be mapped again: its former record stays, and what is published of it too."""
        with self._database.write() as connection:
            for row in self._still_held(connection, [ticket]).values():
                self._fail(connection, row, reason)

    def _fail(self, connection: Connection, row: Any, reason: str) -> None:
        connection.execute(self._sql["insert_problem"], {"replay": row.replay, "id": row.id, "reason": reason})
        connection.execute(self._sql["done"], {"id": row.id})

    def _still_held(self, connection: Connection, tickets: Sequence[Ticket]) -> dict[int, Any]:
        tokens = {ticket.instance_id: ticket.token for ticket in tickets}
        rows = connection.execute(self._sql["held"], {"ids": list(tokens)})
        return {row.id: row for row in rows if row.lease_token == tokens[row.id]}

    def progress(self, replay: int) -> Progress:
        with self._database.read() as connection:
            row = connection.execute(self._sql["progress"], {"id": replay}).one()
            return Progress(
                total=row.total, waiting=row.waiting, changed=row.changed, problems=row.problems, asked_at=row.asked_at
            )

    def problems(self, replay: int) -> list[tuple[str, int]]:
        """Why objects could not be mapped again, with how many."""
        with self._database.read() as connection:
            return [(row.reason, row.objects) for row in connection.execute(self._sql["problems"], {"id": replay})]

    def subjects_due(self, replay: int, *, now: float) -> int:
        """Studies of a replay and dossiers of their patients that wait to be gathered."""
        with self._database.read() as connection:
            return int(connection.execute(self._sql["subjects_open"], {"id": replay, "now": now}).scalar_one())

    def versions(self, replay: int) -> dict[str, int]:
        """How many versions of its studies and their patients were sealed since it was asked for, by kind."""
        with self._database.read() as connection:
            return {row.kind: row.n for row in connection.execute(self._sql["versions_of"], {"id": replay})}

    def studies(self, scope: Scope) -> list[str]:
        """Every study of which something is in scope."""
        with self._database.read() as connection:
            return list(connection.execute(self._sql["studies_in_scope"], scope.as_row()).scalars())

    def set_aside(self, study: str, since_day: str) -> list[Ticket]:
        """What of a study the reader set aside, or waits for the approval of its mapping; no right to work on it."""
        with self._database.read() as connection:
            ids = list(connection.execute(self._sql["set_aside"], {"study": study, "day": since_day}).scalars())
            return self._files(connection, ids)

    def examples(self, *, studies: int) -> list[Ticket]:
        """One object for each distinct header of the latest studies: where it stands and how it came; no right to work on it."""
        with self._database.read() as connection:
            ids = [row.id for row in connection.execute(self._sql["examples"], {"studies": studies})]
            return self._files(connection, ids)

    def files(self, ids: Sequence[int]) -> list[Ticket]:
        """Where objects stand and how they came; no right to work on them."""
        with self._database.read() as connection:
            return self._files(connection, ids)

    def _files(self, connection: Connection, ids: Sequence[int]) -> list[Ticket]:
        chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
        return [ticket for chunk in chunks for ticket in self._stages.tickets(connection, chunk)]


def _is_published(row: Any) -> bool:
    """Or it was, until its patient id was found in doubt."""
    return bool(row.state == "normalised" or row.held_for == "patient")


def _differs(row: Any, item: Normalised) -> bool:
    issues = item.record.issues
    return (
        row.key != item.record.shared.key
        or bytes(row.fields) != bodies.pack_small(item.record.instance)
        or (bytes(row.issues) if row.issues else None) != (bodies.pack_small(issues) if issues else None)
    )
