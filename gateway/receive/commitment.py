"""Storage commitment as SCP (PS3.4 annex J, Push Model), the part beside the loop: requests are recorded before they are answered, and
answers go out on the association that asked, while it is open and quiet. All others are brought by :mod:`gateway.receive.reporter`.

One thread of its own does all that needs the ledger; the loop's thread only hands over and sends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

import structlog

from gateway.dicom.commitment import RESOURCE_LIMITATION, Request, decode_request, encode_report
from gateway.errors import Rejected, Retryable
from gateway.receive import status
from gateway.receive.association import Association
from gateway.receive.containment import contained
from gateway.receive.talk import Action, State
from gateway.spool.commitments import COMMITTED, Ticket

_log = structlog.get_logger()

_LOOK_SECS = 0.5
#: So long the ledger leaves an answer to the association it was asked on, without hearing of that again.
HOLD_SECS = 15.0
_HOLD_AGAIN_SECS = 5.0
#: How long the asker may take to confirm an answer (and its lease is kept).
ANSWER_SECS = 30.0
_UNWRITABLE = "The request cannot be recorded just now."


class Rows(Protocol):
    """The ledger, as far as it is needed here. All raise :class:`Retryable`."""

    def ask(self, request: Request, *, calling_ae: str, called_ae: str, now: float, held_until: float) -> int: ...

    def lease_held(self, ids: Collection[int], *, now: float, lease_secs: float) -> list[Ticket]: ...

    def hold(self, ids: Collection[int], *, until: float) -> None: ...

    def stands(self, ticket: Ticket) -> bool: ...

    def look_again(self, ticket: Ticket, *, now: float) -> None: ...

    def reported(self, ticket: Ticket, *, now: float) -> None: ...

    def retry(self, ticket: Ticket, reason: str, *, at: float) -> None: ...


class Connection(Protocol):
    """One peer, as the loop knows it."""

    association: Association


class CommitmentDesk:
    """``in_loop`` has the loop call something soon; ``answered`` is called there when an N-ACTION has its answer."""

    def __init__(self, rows: Rows, in_loop: Callable[[Callable[[], None]], None], sent: Callable[[Connection], None]) -> None:
        self._rows = rows
        self._in_loop = in_loop
        self._sent = sent
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._open: dict[int, Connection] = {}
        self._held_at = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)
        self._thread.start()

    def take(self, connection: Connection, action: Action, resume: Callable[[], None]) -> None:
        """Record a request; then it is answered, and ``resume`` is called in the loop."""
        self._do(lambda: self._record(connection, action, resume))

    def ended(self, connection: Connection) -> None:
        """The association is over: its answers go another way."""
        gone = [key for key, value in list(self._open.items()) if value is connection]
        for key in gone:
            self._open.pop(key, None)
        if gone:
            self._do(lambda: self._rows.hold(gone, until=0.0))

    def stop(self) -> None:
        """Let go of all answers, and end."""
        self._do(lambda: self._let_go(list(self._open)))
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _let_go(self, ids: Sequence[int]) -> None:
        if ids:
            self._rows.hold(ids, until=0.0)

    def _do(self, work: Callable[[], None]) -> None:
        with self._changed:
            self._work.append(work)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._work and not self._stopping:
                    self._changed.wait(_LOOK_SECS if self._open else None)
                work = self._work.popleft() if self._work else None
                if work is None and self._stopping:
                    return
            contained("commitment", partial(_unless_unwritable, work or self._look))

    def _record(self, connection: Connection, action: Action, resume: Callable[[], None]) -> None:
        code, reason, key = status.PROCESSING_FAILURE, "An internal fault; it has been logged.", 0
        now = time.time()
        try:
            request = decode_request(action.data, action.transfer_syntax_uid)
            titles = {"calling_ae": action.calling_ae, "called_ae": action.called_ae}
            key = self._rows.ask(request, **titles, now=now, held_until=now + HOLD_SECS)
            code, reason = status.SUCCESS, ""
            _log.info("commitment_asked", action="commitment_asked", count=len(request.references), **titles)
        except Rejected as error:
            code, reason = error.status, error.reason
        except Retryable:
            code, reason = RESOURCE_LIMITATION, _UNWRITABLE
        finally:
            self._in_loop(lambda: self._recorded(connection, key, code, reason, resume))

    def _recorded(self, connection: Connection, key: int, code: int, reason: str, resume: Callable[[], None]) -> None:
        """In the loop: answer, and remember whom to tell."""
        is_open = connection.association.state is State.OPEN
        connection.association.answer(code, reason)
        if key and is_open:
            self._open[key] = connection
            self._do(self._look)
        elif key:
            self._do(lambda: self._rows.hold([key], until=0.0))
        resume()

    def _look(self) -> None:
        """Send the answers that are ready to the associations that asked; hold on to the others."""
        ids = list(self._open)
        if not ids:
            return
        now = time.time()
        if now - self._held_at > _HOLD_AGAIN_SECS:
            self._rows.hold(ids, until=now + HOLD_SECS)
            self._held_at = now
        quiet = [key for key, value in list(self._open.items()) if not value.association.is_within_message]
        for ticket in self._rows.lease_held(quiet, now=now, lease_secs=ANSWER_SECS) if quiet else ():
            if ticket.is_fresh(now) and self._rows.stands(ticket):
                self._in_loop(partial(self._send, ticket))
            else:  # it waited for the association to be quiet; much may have happened meanwhile
                self._rows.look_again(ticket, now=now)

    def _send(self, ticket: Ticket) -> None:
        """In the loop."""
        connection = self._open.get(ticket.id)
        if connection is not None and connection.association.is_within_message:
            self._do(lambda: self._rows.retry(ticket, "the association is busy", at=time.time()))
            return
        self._open.pop(ticket.id, None)
        answered = partial(self._answered, ticket)
        event_type, encode = report_of(ticket)
        if connection is not None and connection.association.report(event_type, encode, answered):
            self._sent(connection)
        else:
            answered(None)

    def _answered(self, ticket: Ticket, code: int | None) -> None:
        """In the loop, when the asker has confirmed; or did not, and is called instead."""
        if code == status.SUCCESS:
            told(ticket, "same association")
            self._do(lambda: self._rows.reported(ticket, now=time.time()))
            return
        reason = "the association ended before the answer was taken" if code is None else f"the answer was answered {code:04X}"

        def give_back() -> None:
            self._rows.hold([ticket.id], until=0.0)
            self._rows.retry(ticket, reason, at=time.time())

        self._do(give_back)


def report_of(ticket: Ticket) -> tuple[int, Callable[[bool], bytes]]:
    """The event type of an answer, and its data set for explicit VRs or not."""
    outcomes = [(item, outcome or COMMITTED) for item, outcome in zip(ticket.references, ticket.outcomes, strict=True)]
    event_type, _ = encode_report(ticket.transaction_uid, outcomes, explicit=True)
    return event_type, lambda explicit: encode_report(ticket.transaction_uid, outcomes, explicit=explicit)[1]


def told(ticket: Ticket, how: str) -> None:
    """Log that an answer was taken."""
    failed = sum(bool(outcome) for outcome in ticket.outcomes)
    names = {"calling_ae": ticket.calling_ae, "called_ae": ticket.called_ae}
    result = f"{len(ticket.outcomes) - failed} committed, {failed} failed"
    _log.info("commitment_reported", action="commitment_reported", result=result, mode=how, **names)


def _unless_unwritable(work: Callable[[], None]) -> None:
    """A ledger that cannot be written now costs nothing: leases run out, and somebody else brings the answer."""
    try:
        work()
    except Retryable as error:
        _log.warning("commitment_waits", action="commitment_waits", reason=error.reason)
