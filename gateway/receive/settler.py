"""Gives objects that stand in the journal their files and rows, in moments when no sender waits.

A burst is taken by the journal alone. Files follow when the senders pause, when the oldest has waited long enough, or when the
journal fills; rows follow files, so a row always has its file. While files cannot be written, new objects are refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from gateway.errors import Retryable
from gateway.model import Received
from gateway.receive.door import Prepared
from gateway.spool.durable import unwritable
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal, JournalRecord
from gateway.spool.placing import commit_together

_log = structlog.get_logger()

_GROUP_MOST = 64
#: A pause of the senders.
_PAUSE_SECS = 0.05
_OLDEST_SECS = 2.0
_RETRY_SECS = 1.0


@dataclass(frozen=True, slots=True)
class _Journalled:
    """An object that may be acknowledged and has no file yet."""

    record: JournalRecord
    received: Received
    since: float  #: monotonic


class Settler:
    """``has_file`` is called in the settler's thread for each object that has its file now; ``wake`` when the thread has ended."""

    def __init__(
        self, files: SpoolFiles, journal: Journal, has_file: Callable[[Received], None], wake: Callable[[], None]
    ) -> None:
        self._files = files
        self._journal = journal
        self._has_file = has_file
        self._changed = threading.Condition()
        self._waiting: deque[_Journalled] = deque()
        self._last = 0.0
        self._stopping = False
        self.refusal: str | None = None  #: why files cannot be written just now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="settle")
        self._work: Future[None] = self._thread.submit(self._run)
        self._work.add_done_callback(lambda _work: wake())

    def take(self, group: Sequence[Prepared]) -> bool:
        """Make judged objects durable in the journal, so that they may be acknowledged; False when it cannot take them."""
        records = self._journal.append([item.incoming for item in group])
        if records is None:
            return False
        now = time.monotonic()
        with self._changed:
            first = not self._waiting
            self._waiting.extend(_Journalled(record, item.received, now) for record, item in zip(records, group, strict=True))
            self._last = now
            if first:
                self._changed.notify()
        return True

    def raise_failure(self) -> None:
        """Raise what ended the thread, if something did: without files this process must not go on."""
        if self._work.done():
            self._work.result()

    def stop(self) -> int:
        """Settle what waits; returns how many are left in the journal, for the next start to replay."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.shutdown(wait=True)
        self.raise_failure()
        return len(self._waiting)

    def _run(self) -> None:
        self._prepare()
        while group := self._next():
            failed = self._settle(group)
            if failed and self._stopping:
                return
            if failed:
                with self._changed:
                    self._changed.wait(_RETRY_SECS)

    def _prepare(self) -> None:
        try:
            self._journal.prepare()
        except (OSError, Retryable) as error:
            reason = error.reason if isinstance(error, Retryable) else unwritable(error).reason
            _log.warning("journal_unprepared", action="journal_unprepared", reason=reason)

    def _next(self) -> list[_Journalled]:
        """The next group, in good time; empty when it is time to end."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            while self._waiting and (secs := self._too_early_secs()) > 0:
                self._changed.wait(secs)
            return [self._waiting[number] for number in range(min(len(self._waiting), _GROUP_MOST))]

    def _too_early_secs(self) -> float:
        if self._stopping or self._journal.is_crowded:
            return 0.0
        now = time.monotonic()
        return min(self._last + _PAUSE_SECS - now, self._waiting[0].since + _OLDEST_SECS - now, _PAUSE_SECS)

    def _settle(self, group: list[_Journalled]) -> bool:
        """Write a group's files and have its rows written. Returns whether something failed; that is kept and tried again."""
        failures = commit_together(self._files, [item.record for item in group])
        done = [item for item, failure in zip(group, failures, strict=True) if failure is None]
        kept = [item for item, failure in zip(group, failures, strict=True) if failure is not None]
        self.refusal = next((failure.reason for failure in failures if failure is not None), None)
        for item in group:
            item.record.discard()
        with self._changed:
            for _ in group:
                self._waiting.popleft()
            self._waiting.extendleft(reversed(kept))
        for item in done:
            self._has_file(item.received)
        if done:
            self._journal.settled([item.record for item in done])
        return bool(kept)
