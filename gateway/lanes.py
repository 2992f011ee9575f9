"""One lane per target: it leases what is due, sends it, and stores what came of it. A lane that waits holds no other.

When a target fails as a whole (refused, unreachable, overloaded) its lane leaves it alone for a growing pause and then sends one item as a
probe; meanwhile nothing of its queue is leased. Everything that failed is tried again within a budget of time, then parked for a human.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from gateway import pipeline
from gateway.errors import GatewayError, Retryable
from gateway.line import Line
from gateway.publish.retry import Circuit, next_wait_secs
from gateway.publish.target import ImageTarget, Target, Verdict, classify
from gateway.spool.deliveries import Given, InstanceTicket, Lease
from gateway.telemetry import describe_exception, token

log = structlog.get_logger()

T = TypeVar("T")

#: Runs one item's work and hands back what it raised: ``workers.caught``, the one place that catches everything.
Attempt = Callable[[Callable[[], object]], Exception | None]

#: So many instances are leased for each upload that may go on at once.
_BATCH_PER_UPLOAD = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    lease_secs: float
    retry_budget_secs: float


class _Lane:
    """What both kinds of lanes share: the circuit, and what becomes of a failure."""

    def __init__(self, name: str, line: Line, settings: LaneSettings, attempt: Attempt) -> None:
        self.name = name
        self._line = line
        self._settings = settings
        self._attempt = attempt
        self._circuit = Circuit()

    @property
    def pause_secs(self) -> float:
        """How long the target is still left alone."""
        return self._circuit.pause_secs(time.time())

    def greet(self, target: Target | ImageTarget) -> None:
        """At start-up: look at the target. That it is away is no reason to wait; the deliveries will find out."""
        error = self._attempt(target.check)
        if error is not None:
            reason = error.reason if isinstance(error, GatewayError) else describe_exception(error)
            log.warning("target_down", stage="publish", target=self.name, reason=reason)

    def _answered(self) -> None:
        if self._circuit.answered():
            log.info("target_is_back", stage="publish", target=self.name)

    def _failed(self, ticket: Lease, error: Exception) -> Verdict | None:
        """Store what a failure asks for. Returns the verdict, so that a batch knows whether to go on."""
        verdict = classify(error)
        reason = error.reason if isinstance(error, GatewayError) else f"failed inside Isobridge ({describe_exception(error)})"
        now = time.time()
        if verdict is None:
            log.error("delivery_failed", stage="publish", target=self.name, problem=reason)
        if verdict is Verdict.PARK:
            self._line.ledger.deliveries.park(ticket, reason, now=now)
            log.error("delivery_parked", stage="publish", target=self.name, reason=reason)
        elif verdict is Verdict.DOWN:
            asked = error.wait_secs if isinstance(error, Retryable) else None
            self._down(ticket, reason, asked, now)
        else:
            self._again(ticket, reason, error, now)
        if verdict is not Verdict.DOWN:
            self._answered()
        return verdict

    def _down(self, ticket: Lease, reason: str, asked_secs: float | None, now: float) -> None:
        """The lane pauses as a whole. The item that knocked comes back a little later than the rest, so that another may probe."""
        # Uploads that went on side by side fail together: that is one failure.
        pause = self._circuit.pause_secs(now) or self._circuit.failed(now=now, luck=_luck(), wait_secs=asked_secs)
        deliveries = self._line.ledger.deliveries
        deliveries.retry(ticket, reason, at=now + pause * min(ticket.attempts, 3))
        spent = now - self._settings.retry_budget_secs
        parked = deliveries.park_expired(self.name, _gave_up(reason), created_before=spent)
        log.warning("target_down", stage="publish", target=self.name, reason=reason, seconds=round(pause, 1))
        if parked:
            log.error("delivery_parked", stage="publish", target=self.name, count=parked, reason=reason)

    def _again(self, ticket: Lease, reason: str, error: Exception, now: float) -> None:
        wait = next_wait_secs(
            attempts=ticket.attempts,
            age_secs=now - ticket.created_at,
            budget_secs=self._settings.retry_budget_secs,
            luck=_luck(),
        )
        if wait is None:
            self._line.ledger.deliveries.park(ticket, _gave_up(reason), now=now)
            log.error("delivery_parked", stage="publish", target=self.name, reason=reason)
            return
        asked = error.wait_secs if isinstance(error, Retryable) else None
        wait = max(wait, asked or 0.0)
        self._line.ledger.deliveries.retry(ticket, reason, at=now + wait)
        log.warning(
            "delivery_waits", stage="publish", target=self.name, attempt=ticket.attempts, seconds=round(wait, 1), reason=reason
        )


class FactLane(_Lane):
    """Sealed versions to one FHIR target, one after the other."""

    def __init__(self, target: Target, line: Line, settings: LaneSettings, attempt: Attempt) -> None:
        super().__init__(target.name, line, settings, attempt)
        self._target = target

    def open(self) -> None:
        self.greet(self._target)

    def step(self) -> bool:
        """Deliver one version. False when nothing is due."""
        ticket = self._line.ledger.deliveries.lease(self.name, now=time.time(), lease_secs=self._settings.lease_secs)
        if ticket is None:
            return False
        outcomes: list[pipeline.Outcome] = []
        error = self._attempt(lambda: outcomes.append(pipeline.publish(ticket, self._target, self._line, now=time.time())))
        if error is None and outcomes == [pipeline.Outcome.UNVERIFIED]:
            error = Retryable("The target answered success but does not hold what was sent.")
        if error is not None:
            self._failed(ticket, error)
            return True
        self._answered()
        log.info("delivered", stage="publish", target=self.name, subject=token(ticket.subject_key), result=str(outcomes[0]))
        return True

    def close(self) -> None:
        """Nothing to let go of."""


class ImageLane(_Lane):
    """Instances to one DICOM target: many leased at once, several patients side by side, in order within each."""

    def __init__(self, target: ImageTarget, line: Line, settings: LaneSettings, attempt: Attempt) -> None:
        super().__init__(target.name, line, settings, attempt)
        self._target = target
        self._pool = ThreadPoolExecutor(max_workers=target.parallel, thread_name_prefix=target.name)

    def open(self) -> None:
        self.greet(self._target)

    def step(self) -> bool:
        """Deliver one batch. False when nothing is due."""
        limit = 1 if self._circuit.is_probing else self._target.parallel * _BATCH_PER_UPLOAD
        deliveries = self._line.ledger.deliveries
        tickets = deliveries.lease_instances(self.name, limit=limit, now=time.time(), lease_secs=self._settings.lease_secs)
        if not tickets:
            return False
        queues: dict[str, list[InstanceTicket]] = {}
        for ticket in tickets:
            queues.setdefault(ticket.partition_key, []).append(ticket)
        ends_at = time.monotonic() + self._settings.lease_secs / 2
        runs = list(self._pool.map(lambda queue: self._run(queue, ends_at), queues.values()))
        done = [ticket for run in runs for ticket in run.done]
        given = {number: item for run in runs for number, item in run.given.items()}
        deliveries.verified_instances(done, now=time.time(), given=given)
        verdicts = {self._failed(run.failed, run.error) for run in runs if run.failed is not None and run.error is not None}
        deliveries.release([ticket for run in runs for ticket in run.untried])
        if Verdict.DOWN not in verdicts:
            self._answered()
        if done:
            log.info("delivered", stage="publish", target=self.name, count=len(done), kind="instance")
        return True

    def _run(self, queue: Sequence[InstanceTicket], ends_at: float) -> _Run:
        """One patient's instances in order, until one fails or the lease grows old: what follows it is given back untried."""
        done: list[InstanceTicket] = []
        given: dict[int, Given] = {}
        for number, ticket in enumerate(queue):
            if time.monotonic() > ends_at:
                return _Run(done, given, None, None, queue[number:])
            error = self._attempt(partial(self._send, ticket, given))
            if error is not None:
                return _Run(done, given, ticket, error, queue[number + 1 :])
            done.append(ticket)
        return _Run(done, given, None, None, ())

    def _send(self, ticket: InstanceTicket, given: dict[int, Given]) -> None:
        held = pipeline.archive(ticket, self._target, self._line)
        if held is not None:
            given[ticket.delivery_id] = held

    def close(self) -> None:
        self._pool.shutdown()


@dataclass(frozen=True, slots=True)
class _Run:
    """What became of one patient's part of a batch."""

    done: Sequence[InstanceTicket]
    given: Mapping[int, Given]  #: by delivery id: what is held instead of the original
    failed: InstanceTicket | None
    error: Exception | None
    untried: Sequence[InstanceTicket]


def _luck() -> float:
    return random.random()  # noqa: S311 - jitter, not a secret


def _gave_up(reason: str) -> str:
    return f"Gave up after the time allowed for retries. {reason}"
