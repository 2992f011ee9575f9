"""The loops that drive the pipeline: lease, call, store what came of it. Holds the only broad ``except`` of the house.

Three rules: a fault of one item costs that item, never the loop; what cannot be decided is set aside with a reason, never
dropped; a worker that dies leaves leases that run out, and its successor takes the work up again.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from gateway import pipeline
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.pipeline import Line
from gateway.publish.retry import next_wait_secs
from gateway.publish.target import Target, Verdict
from gateway.spool.deliveries import DeliveryTicket
from gateway.spool.stages import MOST_CRASHES, Compared, Normalised, Ticket
from gateway.spool.subjects import SubjectTicket
from gateway.telemetry import describe_exception, token

log = structlog.get_logger()

#: One header takes a millisecond. Whatever takes this long is not a header.
INSTANCE_SECS = 20

#: Address space of a worker: a header that needs more is a bomb.
MEMORY_BYTES = 4 * 1024**3

NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    lease_secs: float
    batch_instances: int
    poll_secs: float
    retry_budget_secs: float


class Marker:
    """Names the instance that is being read, so that a supervisor who sees this process die knows which one it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def put(self, instance_id: int) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(self._descriptor, b"%019d\n" % instance_id, 0)

    def read(self) -> int | None:
        try:
            return int(self._path.read_text()) or None
        except (OSError, ValueError):
            return None


class _TooLong(Exception):
    """Reading one object took too long."""


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise in this (main) thread when the block takes longer; nothing where signals cannot reach."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Worker:
    """Normalises and seals in the calling thread; delivers in one thread per target, so that a slow one holds no other."""

    def __init__(self, line: Line, settings: WorkSettings, marker: Marker, stop: threading.Event) -> None:
        self._line = line
        self._settings = settings
        self._marker = marker
        self._stop = stop

    def run(self) -> None:
        """Work until ``stop`` is set; what is in hand is finished first."""
        lanes = [threading.Thread(target=self._lane, args=(target,), name=target.name) for target in self._line.targets]
        for lane in lanes:
            lane.start()
        self._loop(lambda: self.normalise_batch() or self.compare_one() or self.seal_one())
        for lane in lanes:
            lane.join()

    def _lane(self, target: Target) -> None:
        self._loop(lambda: self.deliver_one(target))

    def _loop(self, step: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            try:
                busy = step()
            except Retryable as error:
                log.warning("ledger_waits", stage="work", reason=error.reason)
                busy = False
            except Exception as error:
                log.exception("work_failed", stage="work", problem=describe_exception(error))
                busy = False
            if not busy:
                self._stop.wait(self._settings.poll_secs)

    def normalise_batch(self) -> bool:
        """Lease some received instances and normalise them. True when there may be more.

        A batch that is not full ends with a pause: while a scanner sends, a few commits a second leave the disk to the receiver.
        """
        settings = self._settings
        tickets = self._line.ledger.stages.lease(limit=settings.batch_instances, now=time.time(), lease_secs=settings.lease_secs)
        done = [result for ticket in tickets if (result := self._normalise(ticket)) is not None]
        self._line.ledger.stages.advance(done, now=time.time())
        return len(tickets) == settings.batch_instances

    def _normalise(self, ticket: Ticket) -> Normalised | None:
        if ticket.crashes >= MOST_CRASHES:
            self._set_aside(ticket, f"Reading this object ended the reader {ticket.crashes} times; it was set aside.")
            return None
        self._marker.put(ticket.instance_id)
        try:
            with _deadline(INSTANCE_SECS):
                return pipeline.process(ticket, self._line)
        except GatewayError as error:
            reason = error.reason
        except _TooLong:
            reason = f"Reading this object took longer than {INSTANCE_SECS} seconds."
        except MemoryError:
            reason = "Reading this object needed more memory than a worker has."
        except Exception as error:
            reason = f"Reading this object failed inside Isobridge ({describe_exception(error)}); please report it."
            log.exception("object_failed", stage="normalise", item=token(ticket.digest), problem=describe_exception(error))
        finally:
            self._marker.put(0)
        self._set_aside(ticket, reason)
        return None

    def _set_aside(self, ticket: Ticket, reason: str) -> None:
        self._line.ledger.stages.quarantine(ticket, reason)
        log.warning("object_quarantined", stage="normalise", item=token(ticket.digest), reason=reason)

    def compare_one(self) -> bool:
        """Compare another content of a known SOP Instance UID with the one in force. False when none waits."""
        stages = self._line.ledger.stages
        tickets = stages.lease_comparisons(limit=1, now=time.time(), lease_secs=self._settings.lease_secs)
        for ticket in tickets:
            result = self._compare(ticket)
            if result is None:
                stages.take_vacant_place(ticket)
            else:
                stages.settle_comparison(result)
                log.info(
                    "contents_compared", stage="normalise", item=token(ticket.digest), result="same" if result.same else "other"
                )
        return bool(tickets)

    def _compare(self, ticket: Ticket) -> Compared | None:
        """What came of it; a comparison that fails leaves a conflict for a person."""
        reason = f"Comparing this object ended the reader {ticket.crashes} times."
        if ticket.crashes < MOST_CRASHES:
            self._marker.put(ticket.instance_id)
            try:
                with _deadline(INSTANCE_SECS):
                    return pipeline.compare(ticket, self._line)
            except GatewayError as error:
                reason = error.reason
            except _TooLong:
                reason = f"Comparing this object took longer than {INSTANCE_SECS} seconds."
            except (MemoryError, OSError) as error:
                reason = f"Comparing this object failed ({describe_exception(error)})."
            except Exception as error:
                reason = f"Comparing this object failed inside Isobridge ({describe_exception(error)})."
                log.exception("object_failed", stage="normalise", item=token(ticket.digest), problem=describe_exception(error))
            finally:
                self._marker.put(0)
        told = f"Another content of this SOP Instance UID is in force. {reason} A person decides."
        return Compared(ticket=ticket, same=False, reason=told, normalised=None)

    def seal_one(self) -> bool:
        """Gather one quiet subject. False when none is due."""
        ticket = self._line.ledger.subjects.lease_due(now=time.time(), lease_secs=self._settings.lease_secs)
        if ticket is None:
            return False
        try:
            version = pipeline.seal(ticket, self._line, now=time.time())
        except Quarantined as error:
            self._postpone(ticket, error.reason)
        except Exception as error:
            self._postpone(ticket, f"gathering failed inside Isobridge ({describe_exception(error)})")
            log.exception("subject_failed", stage="gather", problem=describe_exception(error))
        else:
            log.info("subject_sealed", stage="gather", kind=str(ticket.kind), subject=token(ticket.key), version=version)
        return True

    def _postpone(self, ticket: SubjectTicket, reason: str) -> None:
        """The lease stays until it runs out, so the subject is tried again without spinning; nothing of it is lost."""
        log.error("subject_held", stage="gather", kind=str(ticket.kind), subject=token(ticket.key), reason=reason)
        self._line.ledger.subjects.note_problem(ticket, reason)

    def deliver_one(self, target: Target) -> bool:
        """Deliver one sealed version to one target. False when nothing is due."""
        now = time.time()
        ticket = self._line.ledger.deliveries.lease(target.name, now=now, lease_secs=self._settings.lease_secs)
        if ticket is None:
            return False
        try:
            outcome = pipeline.publish(ticket, target, self._line, now=time.time())
        except Exception as error:
            self._failed(ticket, target, error)
        else:
            if outcome is pipeline.Outcome.UNVERIFIED:
                self._again(ticket, "The target answered success but does not hold what was sent.")
            log.info("delivered", stage="publish", target=target.name, subject=token(ticket.subject_key), result=str(outcome))
        return True

    def _failed(self, ticket: DeliveryTicket, target: Target, error: Exception) -> None:
        verdict = target.classify(error)
        reason = error.reason if isinstance(error, GatewayError) else describe_exception(error)
        if verdict is None:
            log.exception("delivery_failed", stage="publish", target=target.name, problem=describe_exception(error))
        if verdict is Verdict.PARK:
            self._line.ledger.deliveries.park(ticket, reason, now=time.time())
            log.error("delivery_parked", stage="publish", target=target.name, reason=reason)
        else:
            self._again(ticket, reason)

    def _again(self, ticket: DeliveryTicket, reason: str) -> None:
        now = time.time()
        wait = next_wait_secs(
            attempts=ticket.attempts,
            age_secs=now - ticket.created_at,
            budget_secs=self._settings.retry_budget_secs,
            luck=random.random(),  # noqa: S311 - jitter, not a secret
        )
        if wait is None:
            self._line.ledger.deliveries.park(ticket, f"Gave up after the time allowed for retries. {reason}", now=now)
            log.error("delivery_parked", stage="publish", target=ticket.target, reason=reason)
            return
        self._line.ledger.deliveries.retry(ticket, reason, at=now + wait)
        log.warning("delivery_waits", stage="publish", target=ticket.target, attempt=ticket.attempts, seconds=round(wait, 1))


def be_modest() -> None:
    """A worker may ask for this much memory and no more, and it yields the processor to the receiver: a scanner waits, a worker can."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(NICENESS)
