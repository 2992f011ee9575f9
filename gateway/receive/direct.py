"""The way in for objects that do not come over an association: file and row are durable before anybody is told.

The receiver alone fills the journal, so a process beside it gives each object its file at once, with the same two fsyncs; names are
never taken from one another (:mod:`gateway.spool.placing`), so any number of processes may do so. The row comes before the answer:
should this process die in between, nothing was acknowledged, and the file without a row is adopted when the receiver starts next.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from gateway.errors import Retryable
from gateway.model import Received
from gateway.receive import status
from gateway.receive.committer import Outcome, commit_together
from gateway.receive.containment import Refusal
from gateway.receive.door import Door, Prepared
from gateway.receive.rows import Rows, settle_spares

#: What waits to become durable together; more would only cost memory.
GROUP_MOST, GROUP_MOST_BYTES = 32, 2 << 20

_ROW_UNWRITABLE = Refusal(status.OUT_OF_RESOURCES, "The gateway cannot record new objects just now.")

_log = structlog.get_logger()


class DirectDoor:
    """Safe to use from several threads."""

    def __init__(self, door: Door, rows: Rows) -> None:
        self.door = door
        self._rows = rows

    def settle(self, group: Sequence[Prepared]) -> list[Outcome]:
        """Make judged objects durable and known; for each what may be answered. Never raises for what a sender can cause."""
        outcomes = commit_together(self.door, group)
        durable = [outcome for outcome in outcomes if isinstance(outcome, Received)]
        if not durable:
            return outcomes
        try:
            spares = self._rows.record_arrivals(durable)
        except Retryable as error:
            _log.error("ledger_unwritable", action="ledger_unwritable", reason=error.reason, count=len(durable))
            return [_ROW_UNWRITABLE if isinstance(outcome, Received) else outcome for outcome in outcomes]
        settle_spares(self._rows, self.door.files, spares)
        return outcomes

    def may_try_again(self, outcome: Outcome) -> bool:
        """Whether the same object may be taken later: the disk or the ledger stood in the way, not the object."""
        is_refused = isinstance(outcome, Refusal) and outcome.code == status.OUT_OF_RESOURCES
        return is_refused and outcome.reason != self.door.too_large()


def is_full(group: Sequence[Prepared]) -> bool:
    """Whether a group should become durable now."""
    return len(group) >= GROUP_MOST or sum(item.received.instance.size_bytes for item in group) >= GROUP_MOST_BYTES
