"""Tells the ledger what has arrived, many objects in one transaction, from a thread of its own.

While the ledger cannot be written, what is known is kept and tried again; the receiver then refuses new objects (A700), so
that what waits here stays small. Should this process die first, the sweep at the next start adopts the files.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.errors import Retryable
from gateway.model import Instance, Received
from gateway.spool.files import SpoolFiles

_log = structlog.get_logger()

_BATCH_MOST = 500
#: Rows that nobody waits for gather this long, so that a transfer costs a few commits a second, not one per object: each
#: commit's fsync makes the next object's wait.
_LINGER_SECS = 0.25
_RETRY_SECS = 1.0


class Rows(Protocol):
    """The ledger, as the receiver sees it."""

    def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
        """Write one group in one transaction; returns the spare copies, whose bytes stand already in another partition.

        Raises :class:`~gateway.errors.Retryable` when the ledger cannot be written.
        """

    def relocate(self, instance: Instance) -> None:
        """The bytes stand in this day-partition; those that the row tells of are gone."""


def settle_spares(rows: Rows, files: SpoolFiles, spares: Sequence[Instance]) -> None:
    """The rows tell of files in another partition: these may go, but only if those are really there."""
    for spare in spares:
        with contextlib.suppress(OSError, Retryable):  # a spare copy that stays does no harm
            if files.stands_elsewhere(spare):
                files.remove(spare.day, spare.digest)
            else:
                rows.relocate(spare)


@dataclass(frozen=True, slots=True)
class _Entry:
    received: Received
    when_written: Callable[[bool], None] | None


class RowWriter:
    """Writes rows in the background. ``wake`` is called when something changed that the loop should look at."""

    def __init__(self, rows: Rows, files: SpoolFiles, wake: Callable[[], None]) -> None:
        self._rows = rows
        self._files = files
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._stopping = False
        self._linger_secs = _LINGER_SECS
        self.is_blocked = False  #: the last try failed: take no new objects
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rows")
        self._work: Future[None] = self._thread.submit(self._run)
        self._work.add_done_callback(lambda _work: wake())

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, received: Received, when_written: Callable[[bool], None] | None = None) -> None:
        """Queue one arrival. ``when_written`` is called from another thread: True after the commit, False when it failed."""
        with self._changed:
            self._waiting.append(_Entry(received, when_written))
            if len(self._waiting) == 1 or when_written is not None:
                self._changed.notify()

    def raise_failure(self) -> None:
        """Raise what ended the thread, if something did: without rows this process must not go on."""
        if self._work.done():
            self._work.result()

    def stop(self) -> int:
        """Write what waits, once more; returns how many arrivals must be adopted by the next sweep."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.shutdown(wait=True)
        self.raise_failure()
        return len(self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                if not self._stopping and not any(entry.when_written for entry in self._waiting):
                    self._changed.wait(self._linger_secs)
                batch = self._waiting[:_BATCH_MOST]
            if self._write(batch):
                continue
            with self._changed:
                if self._stopping:
                    return
                self._changed.wait(_RETRY_SECS)

    def _write(self, batch: list[_Entry]) -> bool:
        started = time.monotonic()
        try:
            spares = self._rows.record_arrivals([entry.received for entry in batch])
        except Retryable as error:
            self._keep(batch, error)
            return False
        with self._changed:
            del self._waiting[: len(batch)]
        self.is_blocked = False
        for entry in batch:
            if entry.when_written is not None:
                entry.when_written(True)
        settle_spares(self._rows, self._files, spares)
        _log.debug("rows_written", action="rows_written", count=len(batch), seconds=round(time.monotonic() - started, 4))
        return True

    def _keep(self, batch: list[_Entry], error: Retryable) -> None:
        """Whoever waits is told now; the arrivals stay, for they are durable whatever was answered."""
        with self._changed:
            self._waiting[: len(batch)] = [_Entry(entry.received, None) for entry in batch]
        if not self.is_blocked:
            _log.error("ledger_unwritable", action="ledger_unwritable", reason=error.reason, count=len(batch))
        self.is_blocked = True
        for entry in batch:
            if entry.when_written is not None:
                entry.when_written(False)
