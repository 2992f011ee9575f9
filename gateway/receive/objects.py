"""What becomes of complete objects: judged, made durable, answered, in this order.

Small ones go to the journal, with one sync for all that peers finished in one turn of the loop. Without a journal a single peer's
object gets its file in the loop itself, without any hand-over between threads; with several peers, or large objects, a few threads
wait for the disk. Those threads hardly compute: one that did would slow the loop down many times over (the interpreter's switch
interval).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import structlog

from gateway.dicom.walker import DEFLATED_LITTLE
from gateway.model import Received
from gateway.receive import status
from gateway.receive.committer import Committer
from gateway.receive.connection import Connection
from gateway.receive.containment import Refusal, commit, finish, prepare
from gateway.receive.door import Door, Prepared
from gateway.receive.rows import Rows, RowWriter
from gateway.receive.settings import ReceiveSettings
from gateway.receive.settler import Settler
from gateway.receive.talk import Job, OnEvent
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

_log = structlog.get_logger()

_FINISHERS = 4
#: Objects that become durable with one sync: four buffers each, and the system takes 1,024 in one call.
_MOST_TOGETHER = 64
#: Larger objects never hold up the loop, even for a single peer.
_SMALL_MOST_BYTES = 1 << 20
#: Rows that wait for the ledger: some hundred bytes each.
_ROWS_MOST = 20_000
_ROW_UNWRITABLE = "The receiver cannot record new objects just now."


class Loop(Protocol):
    """The loop, as objects see it."""

    settings: ReceiveSettings
    door: Door
    on_event: OnEvent

    def open_associations(self) -> int: ...

    def pause(self, connection: Connection) -> None: ...

    def resume(self, connection: Connection) -> None: ...

    def tell(self, connection: Connection, action: str, **fields: str) -> None: ...

    def from_thread(self, call: Callable[[], None]) -> None: ...

    def wake(self) -> None: ...


class Objects:
    """See the module. Everything but what is handed to ``from_thread`` runs in the loop's thread."""

    def __init__(self, loop: Loop, files: SpoolFiles, rows: Rows, journal: Journal | None) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(max_workers=_FINISHERS, thread_name_prefix="finish")
        # One at a time: what computes for long must not do so in several threads beside the loop.
        self._inflating = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inflate")
        self._committer = Committer(loop.door, loop.from_thread)
        self._writer = RowWriter(rows, files, loop.wake)
        self._gathered: list[tuple[Connection, Prepared]] = []  # judged in this turn, to become durable at its end
        self._settler = Settler(files, journal, self._writer.submit, loop.wake) if journal else None

    def refusal(self) -> str | None:
        """Why new objects cannot be taken just now."""
        if self._writer.is_blocked or self._writer.waiting > _ROWS_MOST:
            return _ROW_UNWRITABLE
        return self._settler.refusal if self._settler else None

    def raise_failure(self) -> None:
        """Raise what ended a thread without which this process must not go on."""
        self._writer.raise_failure()
        if self._settler is not None:
            self._settler.raise_failure()

    def make_ready(self) -> None:
        """A quiet moment with one peer: prepare the file of its next object."""
        if self._settler is None:
            self._loop.door.files.make_ready()

    def drain(self) -> None:
        """Finish what is under way; what is told to the loop by then must be called before ``close``."""
        with contextlib.ExitStack() as last:
            last.callback(self._loop.door.files.close)
            last.callback(self._stop_settler)
            last.callback(self._committer.stop)
            last.callback(self._pool.shutdown)
            last.callback(self._inflating.shutdown)

    def _stop_settler(self) -> None:
        if self._settler is not None and (left := self._settler.stop()):
            _log.warning("files_left_to_replay", action="files_left_to_replay", count=left)

    def close(self) -> None:
        """Write the last rows. Raises what ended the writing of rows, should it have ended."""
        left = self._writer.stop()
        if left:
            _log.warning("rows_left_to_sweep", action="rows_left_to_sweep", count=left)

    def finish(self, connection: Connection, job: Job) -> bool:
        """Have the object made durable; True when the answer is out already."""
        if job.incoming.meta.transfer_syntax_uid == DEFLATED_LITTLE:  # it may be a thousand times larger than it looks
            return self._hand_over(connection, self._inflating, lambda: finish(self._loop.door, job))
        if job.incoming.size_bytes > _SMALL_MOST_BYTES:
            return self._hand_over(connection, self._pool, lambda: finish(self._loop.door, job))
        prepared = prepare(self._loop.door, job)
        if isinstance(prepared, Refusal):
            return self._finished(connection, prepared)
        if self._settler is None:
            return self._commit(connection, prepared)
        connection.is_paused = True
        self._gathered.append((connection, prepared))
        return False

    def commit_gathered(self) -> None:
        """Make what all peers finished in this turn durable with one sync, and answer."""
        while self._gathered:
            group, self._gathered = self._gathered[:_MOST_TOGETHER], self._gathered[_MOST_TOGETHER:]
            taken = self._settler is not None and self._settler.take([prepared for _, prepared in group])
            for connection, prepared in group:
                if taken:
                    prepared.incoming.discard()
                    self._accept_object(connection, prepared.received)
                if taken or self._commit(connection, prepared):
                    self._loop.resume(connection)

    def _commit(self, connection: Connection, prepared: Prepared) -> bool:
        """Give the object its file at once; True when the answer is out already."""
        if self._loop.open_associations() == 1:
            return self._finished(connection, commit(self._loop.door, prepared))
        self._loop.pause(connection)
        self._committer.submit(prepared, lambda outcome: self._resume_with(connection, outcome))
        return False

    def _hand_over(self, connection: Connection, pool: ThreadPoolExecutor, work: Callable[[], Received | Refusal]) -> bool:
        self._loop.pause(connection)
        future = pool.submit(work)
        future.add_done_callback(lambda done: self._loop.from_thread(lambda: self._resume_finished(connection, done)))
        return False

    def _resume_finished(self, connection: Connection, done: Future[Received | Refusal]) -> None:
        self._resume_with(connection, done.result())

    def _resume_with(self, connection: Connection, outcome: Received | Refusal) -> None:
        if self._finished(connection, outcome):
            self._loop.resume(connection)

    def _finished(self, connection: Connection, outcome: Received | Refusal) -> bool:
        """Record and answer what has become durable; False when the answer must wait for the row."""
        if isinstance(outcome, Refusal):
            self._answer(connection, outcome.code, outcome.reason)
            return True
        if self._loop.settings.acknowledge_after == "file":
            self._accept_object(connection, outcome)
            self._writer.submit(outcome)
            return True
        self._loop.pause(connection)
        self._count_object(outcome)
        self._writer.submit(
            outcome, lambda written: self._loop.from_thread(lambda: self._resume_written(connection, outcome, written))
        )
        return False

    def _accept_object(self, connection: Connection, received: Received) -> None:
        self._count_object(received)
        self._answer(connection, received.status, received.reason or "")

    def _count_object(self, received: Received) -> None:
        self._loop.on_event("object_received", status=received.status, size_bytes=received.instance.size_bytes)

    def _resume_written(self, connection: Connection, received: Received, written: bool) -> None:
        if written:
            self._answer(connection, received.status, received.reason or "")
        else:
            self._answer(connection, status.OUT_OF_RESOURCES, _ROW_UNWRITABLE)
        self._loop.resume(connection)

    def _answer(self, connection: Connection, code: int, reason: str) -> None:
        if code != status.SUCCESS:
            self._loop.tell(connection, "object_refused", status=f"{code:04X}", reason=reason)
        connection.association.answer(code, reason)
