"""Keeps a fault of ours that one peer's bytes uncover from ending the service of all others.

The loop serves many peers in one thread; a poisonous object that ended the process would end it again at each restart. So
what is done for one peer is done in here. This is no way to handle errors that have a name: those are caught where they
can be decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import structlog

from gateway.errors import Retryable
from gateway.model import Received
from gateway.receive import status
from gateway.receive.door import Door, Prepared
from gateway.receive.talk import Job

_log = structlog.get_logger()
_T = TypeVar("_T")


class Refusal(NamedTuple):
    """A status other than success, and why."""

    code: int
    reason: str


INTERNAL_FAULT = Refusal(status.PROCESSING_FAILURE, "An internal fault; it has been logged.")


def contained(what: str, action: Callable[[], _T]) -> _T | None:
    """The result of ``action``; None, after an error event, when it raised what nobody expected."""
    try:
        return action()
    except Exception:  # noqa: BLE001  # see the module
        _log.error("internal_fault", action=what, exc_info=True)
        return None


def prepare(door: Door, job: Job) -> Prepared | Refusal:
    """Judge one object. Never raises. What is refused is discarded."""
    prepared = contained("object_judged", lambda: _prepare(door, job))
    if not isinstance(prepared, Prepared):
        job.incoming.discard()
    return prepared or INTERNAL_FAULT


def commit(door: Door, prepared: Prepared) -> Received | Refusal:
    """Make one judged object durable. Never raises."""
    return contained("object_committed", lambda: _commit(door, prepared)) or INTERNAL_FAULT


def finish(door: Door, job: Job) -> Received | Refusal:
    """Judge one object and make it durable. Never raises."""
    prepared = prepare(door, job)
    return commit(door, prepared) if isinstance(prepared, Prepared) else prepared


def _prepare(door: Door, job: Job) -> Prepared | Refusal:
    try:
        return door.prepare(job.incoming, job.arrival, job.expected)
    except Retryable as error:  # the last piece of a large object met a full disk
        return Refusal(status.OUT_OF_RESOURCES, error.reason)


def _commit(door: Door, prepared: Prepared) -> Received | Refusal:
    try:
        return door.commit(prepared)
    except Retryable as error:
        return Refusal(status.OUT_OF_RESOURCES, error.reason)
    finally:
        prepared.incoming.discard()
