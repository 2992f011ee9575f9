"""Keeps a fault of ours that one peer's bytes uncover from ending the service of all others.

The loop serves many peers in one thread; a poisonous object that ended the process would end it again at each restart. So
what is done for one peer is done in here. This is no way to handle errors that have a name: those are caught where they
can be decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from gateway.errors import Retryable
from gateway.model import Received
from gateway.receive import status
from gateway.receive.association import Job
from gateway.receive.door import Door

_log = structlog.get_logger()
_T = TypeVar("_T")


def contained(what: str, action: Callable[[], _T]) -> _T | None:
    """The result of ``action``; None, after an error event, when it raised what nobody expected."""
    try:
        return action()
    except Exception:  # noqa: BLE001  # see the module
        _log.error("internal_fault", action=what, exc_info=True)
        return None


def finish(door: Door, job: Job) -> Received | tuple[int, str]:
    """Make one object durable. Never raises: else the status to answer, with its reason."""
    received = contained("object_finished", lambda: _finish(door, job))
    return received or (status.PROCESSING_FAILURE, "An internal fault; it has been logged.")


def _finish(door: Door, job: Job) -> Received | tuple[int, str]:
    try:
        return door.finish(job.incoming, job.arrival, job.expected)
    except Retryable as error:
        return status.OUT_OF_RESOURCES, error.reason
    finally:
        job.incoming.discard()
