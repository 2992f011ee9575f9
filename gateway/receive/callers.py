"""Remembers who called and how it went, and tells the ledger now and then: never once per object.

An ``on_event`` of the receiver (:class:`~gateway.receive.talk.OnEvent`). Events are counted in memory; a thread of its own
writes them together, soon when something new happened, at long intervals while objects only stream in. What cannot be written
waits for the next time, and is lost with the process: it is a help for people, not part of any promise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.errors import Retryable
from gateway.receive import services, status
from gateway.spool.callers import Caller

#: From the first news to the writing: an echo or a rejection is visible about so soon.
SOON_SECS = 0.5
#: Between two writings while objects stream in: each costs an fsync that the next object waits for.
STREAMING_SECS = 5.0
#: Callers kept in memory between two writings; more than that is somebody who tries titles out.
_PENDING_MOST = 200

#: Calling title, called title and address as they came.
_Key = tuple[object, object, object]


class CallerRows(Protocol):
    """The ledger, as far as it is needed here."""

    def record(self, batch: Iterable[Caller]) -> None:
        """Raises :class:`~gateway.errors.Retryable` when it cannot be written now."""


class CallerTrace:
    """See the module. ``stop`` writes what is left."""

    def __init__(self, rows: CallerRows, *, now: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._now = now
        self._changed = threading.Condition()
        self._pending: dict[_Key, Caller] = {}
        self._is_urgent = self._stopping = False
        # A daemon: should the receiver end by a fault, this must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="callers", daemon=True)
        self._thread.start()

    def __call__(self, event: str, /, **fields: str | int | float) -> None:
        """Take one event of the receiver. Cheap: most events only raise a number."""
        if "peer" not in fields:
            return
        with self._changed:
            was_idle, was_urgent = not self._pending, self._is_urgent
            caller = self._caller(fields)
            if caller is None:
                return
            caller.last_at = self._now()
            self._is_urgent = _count(caller, event, fields) or was_urgent
            if was_idle or self._is_urgent != was_urgent:  # once per writing: a thread that is woken costs more than all the rest
                self._changed.notify()

    def stop(self) -> None:
        """Write what is left and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _caller(self, fields: dict[str, str | int | float]) -> Caller | None:
        key = (fields.get("calling_ae"), fields.get("called_ae"), fields["peer"])
        caller = self._pending.get(key)
        if caller is None and len(self._pending) < _PENDING_MOST:
            calling_ae, called_ae, peer = map(_printable, key)
            caller = self._pending[key] = Caller(calling_ae=calling_ae, called_ae=called_ae, peer=peer)
        return caller

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._stopping:
                    self._changed.wait()
                if not self._pending:
                    return
                self._linger()
                batch, self._pending, self._is_urgent = self._pending, {}, False
                is_last = self._stopping
            try:
                self._rows.record(batch.values())
            except Retryable:
                self._keep(batch)
            if is_last:
                return

    def _linger(self) -> None:
        """Let events gather: shortly after news, for long while objects stream in."""
        started = time.monotonic()
        while not self._stopping:
            left = (SOON_SECS if self._is_urgent else STREAMING_SECS) - (time.monotonic() - started)
            if left <= 0:
                return
            self._changed.wait(left)

    def _keep(self, batch: dict[_Key, Caller]) -> None:
        with self._changed:
            for key, newer in self._pending.items():
                batch[key] = _joined(batch[key], newer) if key in batch else newer
            self._pending = batch


def _count(caller: Caller, event: str, fields: dict[str, str | int | float]) -> bool:
    """Enter one event; True when a person who waits would want to see it at once."""
    at = caller.last_at
    if event == "association_accepted":
        caller.associations += 1
        caller.association_at = at
        caller.contexts, caller.proposed = int(fields["contexts"]), int(fields["proposed"])
    elif event in ("association_rejected", "call_failed"):
        caller.rejections += 1
        caller.rejection_at, caller.rejection_reason = at, str(fields["reason"])
    elif event == "answered" and fields["command"] == services.C_ECHO_RQ:
        caller.echoes += 1
        caller.echo_at = at
    elif event == "answered" and fields["command"] == services.C_STORE_RQ:
        if fields["status"] == status.SUCCESS:
            is_first = caller.stored == 0 and caller.associations > 0
            caller.stored += 1
            caller.stored_at = at
            return is_first
        caller.refused += 1
        caller.refused_at, caller.refused_status = at, int(fields["status"])
        return caller.refused == 1
    return True


def _joined(older: Caller, newer: Caller) -> Caller:
    """Two counts of one caller as one."""
    names = [name for name in Caller.__slots__ if name not in ("calling_ae", "called_ae", "peer", "first_at")]
    for name in names:
        before, after = getattr(older, name), getattr(newer, name)
        is_count = name in ("associations", "rejections", "echoes", "stored", "refused")
        setattr(older, name, before + after if is_count else before if after is None else after)
    return older


def _printable(text: object) -> str:
    """A title or address that every database and terminal takes."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in str(text or ""))[:64]
