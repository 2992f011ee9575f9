"""Makes what several associations have finished durable together.

While one group is on its way to disk the next one gathers, so the more senders there are, the larger the groups: one journal commit and
one fsync of the directory serve them all. One thread, because concurrent fsyncs of one file system only wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gateway.model import Received
from gateway.receive import status
from gateway.receive.containment import INTERNAL_FAULT, Refusal, contained
from gateway.receive.door import Door, Prepared
from gateway.spool.placing import commit_together as together

Outcome = Received | Refusal

_MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    prepared: Prepared
    when_done: Callable[[Outcome], None]


class Committer:
    """``deliver`` is called in the committer's thread with one call for a whole group; the loop runs it."""

    def __init__(self, door: Door, deliver: Callable[[Callable[[], None]], None]) -> None:
        self._door = door
        self._deliver = deliver
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._stopping = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._work: Future[None] = self._thread.submit(self._run)

    def submit(self, prepared: Prepared, when_done: Callable[[Outcome], None]) -> None:
        """Have a judged object made durable; ``when_done`` runs in the loop."""
        with self._changed:
            self._waiting.append(_Waiting(prepared, when_done))
            self._changed.notify()

    def stop(self) -> None:
        """Finish what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.shutdown(wait=True)

    def _run(self) -> None:
        while group := self._next():
            outcomes = commit_together(self._door, [item.prepared for item in group])
            self._deliver(lambda group=group, outcomes=outcomes: _tell(group, outcomes))  # type: ignore[misc]

    def _next(self) -> list[_Waiting]:
        """The next group; empty when it is time to end."""
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            group, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
        return group


def commit_together(door: Door, group: Sequence[Prepared]) -> list[Outcome]:
    """Make a group durable; an object that fails fails alone. Never raises."""
    failures = contained("objects_committed", lambda: together(door.files, [item.incoming for item in group]))
    for item in group:
        item.incoming.discard()
    if failures is None:
        return [INTERNAL_FAULT] * len(group)
    return [
        item.received if failure is None else Refusal(status.OUT_OF_RESOURCES, failure.reason)
        for item, failure in zip(group, failures, strict=True)
    ]


def _tell(group: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    for item, outcome in zip(group, outcomes, strict=True):
        item.when_done(outcome)
