"""When a subject is quiet: the rule, and the timers, which stand in the ledger so that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import Connection

from gateway.database import Database

#: Beyond this many doublings the cap has long been reached.
_MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietPolicy:
    """A subject is gathered when nothing new came for ``quiet_secs``, doubled with each version up to ``cap_secs``.

    A subject that never falls quiet is gathered ``cap_secs`` after its first change all the same: late is better than never.
    """

    quiet_secs: float
    cap_secs: float
    by_sender: Mapping[str, tuple[float, float]] = field(
        default_factory=dict
    )  #: AE title -> ``quiet_secs``, ``cap_secs`` of its own

    def of(self, senders: Iterable[str]) -> QuietPolicy:
        """The rule for what these brought: of several, the most patient."""
        rules = [self.by_sender.get(title, (self.quiet_secs, self.cap_secs)) for title in set(senders)] if self.by_sender else []
        if not rules:
            return self
        return QuietPolicy(quiet_secs=max(quiet for quiet, _ in rules), cap_secs=max(cap for _, cap in rules))

    def due(self, *, now: float, versions: int, open_since: float | None) -> tuple[float, float]:
        """``(next_quiet_at, open_since)`` after a change at ``now``; seconds since 1970."""
        opened = now if open_since is None else open_since
        wait = min(self.quiet_secs * 2 ** min(versions, _MOST_DOUBLINGS), max(self.cap_secs, self.quiet_secs))
        return min(now + wait, opened + max(self.cap_secs, wait)), opened


class Timers:
    """Sets the timers of studies and dossiers, inside the transaction of whoever changed them."""

    def __init__(self, database: Database, policy: QuietPolicy) -> None:
        self._policy = policy
        self._sql = database.statements(Path(__file__).parent / "sql" / "subjects.sql")

    def touch(
        self,
        connection: Connection,
        kind: str,
        keys: Iterable[str],
        *,
        now: float,
        at_once: bool = False,
        senders: Iterable[str] = (),
    ) -> None:
        """Something of these subjects changed at ``now``: they are quiet later than they would have been.

        With ``at_once`` they count as quiet already: a person decided, nothing more is on its way. ``senders``: the AE titles of those
        that brought the change.
        """
        policy = self._policy.of(senders)
        for key in sorted(keys):
            row = connection.execute(self._sql[f"{kind}_timer"], {"key": key}).first()
            due, opened = policy.due(now=now, versions=row.versions if row else 0, open_since=row.open_since if row else None)
            timer = {"key": key, "due": now if at_once else due, "open_since": opened}
            connection.execute(self._sql[f"{kind}_touch"], timer)
