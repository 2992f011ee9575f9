"""What the gateway does about its spool by itself: originals leave every hour, the scrub goes on at night. One thread, never in a hurry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from gateway.keep.retention import Retention
from gateway.keep.scrub import Scrubber

log = structlog.get_logger()

ROUND_SECS = 3600.0
_LOOK_SECS = 60.0

#: Runs one round and hands back what it raised: ``workers.caught``.
Attempt = Callable[[Callable[[], object]], Exception | None]


class Keeper:
    """``is_night`` tells whether the scrub may read now; ``attempt`` keeps a fault of one round from ending the thread."""

    def __init__(
        self, retention: Retention | None, scrubber: Scrubber | None, is_night: Callable[[], bool], attempt: Attempt
    ) -> None:
        self._retention = retention
        self._scrubber = scrubber
        self._is_night = is_night
        self._attempt = attempt
        self._released_at = 0.0
        self._is_scrubbed = False  #: this night

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``."""
        while not stop.is_set():
            problem = self._attempt(lambda: self.round(stop))
            if problem is not None:
                log.error("keeping_failed", stage="keep", problem=type(problem).__name__)
            stop.wait(_LOOK_SECS)

    def round(self, stop: threading.Event) -> None:
        """What is due now."""
        if self._retention is not None and time.monotonic() - self._released_at >= ROUND_SECS:
            self._released_at = time.monotonic()
            done = self._retention.run(stop)
            if done.problem:
                log.warning("retention_waits", stage="keep", reason=done.problem)
        if not self._is_night():
            self._is_scrubbed = False
        elif self._scrubber is not None and not self._is_scrubbed:
            self._is_scrubbed = self._scrub(self._scrubber, stop)

    def _scrub(self, scrubber: Scrubber, stop: threading.Event) -> bool:
        night = _Night(stop, self._is_night)
        done = scrubber.run(night)
        log.info("scrubbed", stage="keep", count=done.objects, result="finished" if done.finished else "goes on next night")
        return done.finished


class _Night(threading.Event):
    """Set when the gateway stops or the night is over."""

    def __init__(self, stop: threading.Event, is_night: Callable[[], bool]) -> None:
        super().__init__()
        self._stop = stop
        self._is_night = is_night

    def is_set(self) -> bool:
        return self._stop.is_set() or not self._is_night()

    def wait(self, timeout: float | None = None) -> bool:
        return self._stop.wait(timeout)
