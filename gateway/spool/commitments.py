"""Storage commitment in the ledger: requests, what became of their objects, answers on their way. Outlives every restart.

A request is ``waiting`` until each of its objects has an outcome, then ``ready`` until its asker took the answer (``reported``), or until
that was tried for too long (``parked``: a person looks). What is decided about an object is decided by :func:`judge`, which reads no clock.
An outcome is never taken for granted later: before each answer everything is judged anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.dicom.commitment import CLASS_CONFLICT, NO_SUCH_OBJECT, PROCESSING_FAILURE, Reference, Request
from gateway.model import JsonObject

COMMITTED = 0
#: Rows follow the bytes within seconds; so long an object that nobody knows may still be on its way into the ledger.
UNKNOWN_SECS = 30.0
#: How long the word of an archive is believed before it is asked again.
FRESH_SECS = 30.0
#: SQLite binds at most 32,766 values in one statement.
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class Content:
    """One content that came under a SOP Instance UID."""

    sop_class_uid: str
    state: str
    held_for: str | None
    is_sent: bool  #: some DICOM target was told of it
    is_verified: bool  #: an archive was asked back and holds it, byte for byte
    is_withdrawn: bool  #: a person decided that it must not be used


@dataclass(frozen=True, slots=True)
class Copy:
    """A content that an archive was found to hold."""

    sop_instance_uid: str
    digest: str
    day: str  #: of its file in the spool
    archive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The right to work on one request, until its lease runs out."""

    id: int
    token: int
    calling_ae: str
    called_ae: str
    transaction_uid: str
    asked_at: float
    ready_at: float | None
    attempts: int
    references: tuple[Reference, ...]
    outcomes: tuple[int | None, ...]  #: beside the references; None: not known yet

    def is_fresh(self, now: float) -> bool:
        """The archives were asked a moment ago, and the answer has not been tried yet."""
        return self.attempts == 0 and self.ready_at is not None and now - self.ready_at <= FRESH_SECS


def judge(sop_class_uid: str, contents: Sequence[Content], *, waited_secs: float, wait_secs: float) -> int | None:
    """What to answer for one object: :data:`COMMITTED`, a failure reason (PS3.3 C.14.1.1), or None: not to be said yet.

    Committed means that an archive holds the one content that came under this identifier. What was refused at the door counts as not
    received. Two contents that differ are a conflict whoever sent which: nobody may delete one of them on our word.
    """
    kept = [content for content in contents if content.state != "quarantined" or content.is_sent]
    if not kept:
        return NO_SUCH_OBJECT if contents or waited_secs >= min(UNKNOWN_SECS, wait_secs) else None
    if any(content.sop_class_uid != sop_class_uid for content in kept):
        return CLASS_CONFLICT
    if any(content.state == "conflict" and content.held_for not in ("comparison", "patient") for content in kept):
        return CLASS_CONFLICT
    if any(content.is_withdrawn for content in kept):
        return PROCESSING_FAILURE
    is_being_compared = any(content.held_for == "comparison" for content in kept)
    if not is_being_compared and any(content.is_verified for content in kept):
        return COMMITTED
    return PROCESSING_FAILURE if waited_secs >= wait_secs else None


class Commitments:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "commitments.sql")
        expanding = {"contents": ("uids", "targets"), "verified": ("uids", "targets"), "lease_held": ("ids",), "hold": ("ids",)}
        for name, lists in expanding.items():
            self._sql[name] = self._sql[name].bindparams(*(sa.bindparam(each, expanding=True) for each in lists))

    def ask(self, request: Request, *, calling_ae: str, called_ae: str, now: float, held_until: float) -> int:
        """Take a request, or the same once more; returns its id. Committed when this returns. Raises :class:`Retryable`."""
        asked = {"calling_ae": calling_ae, "called_ae": called_ae, "transaction_uid": request.transaction_uid}
        with self._database.write() as connection:
            found: int = connection.execute(self._sql["ask"], {**asked, "now": now, "held_until": held_until}).scalar_one()
            connection.execute(self._sql["forget_items"], {"id": found})
            rows = [
                {"id": found, "number": number, "sop_class_uid": item.sop_class_uid, "sop_instance_uid": item.sop_instance_uid}
                for number, item in enumerate(request.references)
            ]
            connection.execute(self._sql["add_item"], rows)
        return found

    def lease(self, state: str, *, now: float, lease_secs: float) -> Ticket | None:
        """The next ``waiting`` or ``ready`` request that is due and that no association holds."""
        wanted = {"state": state, "now": now}
        with self._database.read() as connection:
            if connection.execute(self._sql["due"], wanted).first() is None:
                return None
        with self._database.write() as connection:
            found = connection.execute(self._sql["lease"], {**wanted, "until": now + lease_secs}).scalar()
            return None if found is None else self._ticket(connection, found)

    def lease_held(self, ids: Collection[int], *, now: float, lease_secs: float) -> list[Ticket]:
        """The answers of these requests that are ready."""
        with self._database.write() as connection:
            row = {"ids": list(ids), "now": now, "until": now + lease_secs}
            return [self._ticket(connection, found) for found in connection.execute(self._sql["lease_held"], row).scalars().all()]

    def contents(self, uids: Iterable[str], targets: Sequence[str]) -> dict[str, list[Content]]:
        """What is known under these SOP Instance UIDs; ``targets`` are the archives that count."""
        wanted = sorted(set(uids))
        found: dict[str, list[Content]] = {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                row = {"uids": wanted[start : start + _CHUNK], "targets": list(targets)}
                for uid, sop_class, state, held_for, *flags in connection.execute(self._sql["contents"], row):
                    found.setdefault(uid, []).append(Content(sop_class, state, held_for, *map(bool, flags)))
        return found

    def copies(self, uids: Iterable[str], targets: Sequence[str]) -> list[Copy]:
        """Where an archive of ``targets`` was found to hold what came under these identifiers."""
        wanted, found = sorted(set(uids)), []
        with self._database.read() as connection:
            for start in range(0, len(wanted), _CHUNK):
                row = {"uids": wanted[start : start + _CHUNK], "targets": list(targets)}
                for uid, digest, day, target in connection.execute(self._sql["verified"], row):
                    found.append(Copy(uid, bytes(digest).hex(), day, target))
        return found

    def stands(self, ticket: Ticket) -> bool:
        """Whether what was found committed still may be called so, as far as the ledger knows: no other content came, no withdrawal."""
        committed = [item for item, outcome in zip(ticket.references, ticket.outcomes, strict=True) if outcome == COMMITTED]
        contents = self.contents((item.sop_instance_uid for item in committed), ("",))
        return all(
            judge(
                item.sop_class_uid,
                [replace(content, is_verified=True) for content in contents.get(item.sop_instance_uid, ())],
                waited_secs=0.0,
                wait_secs=1.0,
            )
            == COMMITTED
            for item in committed
        )

    def renew(self, ticket: Ticket, *, until: float) -> bool:
        """Work on it for longer. False when another holds it by now."""
        with self._database.write() as connection:
            row = {"id": ticket.id, "token": ticket.token, "until": until}
            return connection.execute(self._sql["renew"], row).rowcount == 1

    def look_again(self, ticket: Ticket, *, now: float) -> None:
        """Its answer is too old, or does not hold any more."""
        with self._database.write() as connection:
            self._change(connection, ticket, "waiting", now, None, 0, now)

    def looked_at(self, ticket: Ticket, outcomes: Sequence[int | None], *, now: float, next_at: float) -> bool:
        """Keep what is known of the objects by now. True when that is all: the answer is ready."""
        is_ready = None not in outcomes
        with self._database.write() as connection:
            if not self._change(
                connection, ticket, "ready" if is_ready else "waiting", now if is_ready else next_at, None, 0, now
            ):
                return False
            news = [
                {"id": ticket.id, "number": number, "outcome": outcome}
                for number, (outcome, before) in enumerate(zip(outcomes, ticket.outcomes, strict=True))
                if outcome != before
            ]
            if news:
                connection.execute(self._sql["set_outcome"], news)
        return is_ready

    def reported(self, ticket: Ticket, *, now: float) -> None:
        """The asker took the answer."""
        with self._database.write() as connection:
            self._change(connection, ticket, "reported", now, None, ticket.attempts + 1, now)

    def retry(self, ticket: Ticket, reason: str, *, at: float) -> None:
        with self._database.write() as connection:
            self._change(connection, ticket, "ready", at, reason, ticket.attempts + 1, at)

    def park(self, ticket: Ticket, reason: str, *, now: float) -> None:
        """Stop trying; a person looks (``isobridge spool list --state commitments``)."""
        with self._database.write() as connection:
            self._change(connection, ticket, "parked", now, reason, ticket.attempts + 1, now)

    def hold(self, ids: Collection[int], *, until: float) -> None:
        """The associations these were asked on are open until then at least; 0: they have ended."""
        with self._database.write() as connection:
            connection.execute(self._sql["hold"], {"ids": list(ids), "until": until})

    def unpark(self, *, now: float) -> int:
        """A person asks for another try, of all that is parked. Returns how many."""
        with self._database.write() as connection:
            return connection.execute(self._sql["unpark"], {"now": now}).rowcount

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            return {row.state: row.n for row in connection.execute(self._sql["counts"])}

    def listed(self, *, limit: int = 100) -> list[JsonObject]:
        """The requests, the latest first, with how many of their objects are committed and failed."""
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["listed"], {"limit": limit})]

    def _ticket(self, connection: Connection, found: int) -> Ticket:
        row = connection.execute(self._sql["leased"], {"id": found}).one()
        items = connection.execute(self._sql["items"], {"id": found}).all()
        return Ticket(
            id=row.id,
            token=row.lease_token,
            calling_ae=row.calling_ae,
            called_ae=row.called_ae,
            transaction_uid=row.transaction_uid,
            asked_at=row.asked_at,
            ready_at=row.ready_at,
            attempts=row.attempts,
            references=tuple(Reference(item.sop_class_uid, item.sop_instance_uid) for item in items),
            outcomes=tuple(item.outcome for item in items),
        )

    def _change(
        self, connection: Connection, ticket: Ticket, state: str, at: float, reason: str | None, attempts: int, now: float
    ) -> bool:
        row = {"id": ticket.id, "token": ticket.token, "state": state, "next_at": at, "reason": reason, "attempts": attempts}
        ready_at = now if state == "ready" else None
        return connection.execute(self._sql["change"], {**row, "ready_at": ready_at}).rowcount == 1
