"""How fetched objects enter the spool: through the same door as all others, in groups, no faster than allowed."""

from __future__ import annotations

import datetime as dt
import threading

from gateway.errors import Retryable
from gateway.model import Arrival, Door, Received
from gateway.receive.committer import Outcome
from gateway.receive.containment import Refusal
from gateway.receive.direct import DirectDoor, is_full
from gateway.receive.door import Expected, Prepared
from gateway.receive.file_stream import FileStream, Sender


class SpoolTaker:
    """Counts what was taken and what the door refused since ``begin``. Used by one thread at a time."""

    def __init__(self, direct: DirectDoor, sender: Sender, *, peer: str, per_minute: int, stop: threading.Event) -> None:
        self._direct = direct
        self._sender = sender
        self._peer = peer
        self._pause_secs = 60 / per_minute if per_minute else 0.0
        self._stop = stop
        self._group: list[Prepared] = []
        self.objects = 0
        self.refused = 0

    def begin(self) -> None:
        """Another study, or the same once more: what was not durable yet is forgotten."""
        for item in self._group:
            item.incoming.discard()
        self._group = []
        self.objects = self.refused = 0

    def take(self, part10: bytes) -> None:
        """One Part 10 file. Raises :class:`Retryable` when told to stop, or when the spool cannot take it now."""
        if self._stop.wait(self._pause_secs):
            raise Retryable("Told to stop.")
        stream = FileStream(self._direct.door, self._sender)
        stream.write(part10)
        arrival = Arrival(
            door=Door.BACKFILL,
            calling_ae=self._sender.calling_ae,
            called_ae=self._sender.called_ae,
            peer=self._peer,
            received_at=dt.datetime.now(dt.UTC),
        )
        outcome = stream.finish(arrival, Expected())
        if isinstance(outcome, Refusal):
            self._count(outcome)
            return
        self._group.append(outcome)
        if is_full(self._group):
            self.flush()

    def flush(self) -> None:
        """Everything taken so far becomes durable and known. Raises :class:`Retryable` when the spool or the ledger cannot."""
        group, self._group = self._group, []
        if group:
            for outcome in self._direct.settle(group):
                self._count(outcome)

    def note_sent(self, count: int, refused: int) -> None:
        """The source sent so many to our DICOM port by itself (C-MOVE); the receiver took or refused them."""
        self.objects += count
        self.refused += refused

    def _count(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refusal) and self._direct.may_try_again(outcome):
            raise Retryable(outcome.reason)
        if isinstance(outcome, Received) and outcome.reason is None:
            self.objects += 1
        else:
            self.refused += 1
