"""One backfill: day by day from the newest to the oldest, study by study. Each step is in the ledger before the next begins.

A kill costs the study in hand: it is fetched again, and the bytes that were taken already are known by their digest.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gateway.backfill.source import Source
from gateway.backfill.taker import SpoolTaker
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.spool.backfills import Backfills, Order, StudyRef

log = structlog.get_logger()

T = TypeVar("T")

_ATTEMPTS = 5
_WAIT_SECS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run has done so far."""

    day: str  #: the last that was listed
    studies: int = 0
    failed: int = 0
    objects: int = 0
    refused: int = 0


class Backfill:
    """``may_work`` tells whether the night window is open; ``tell`` hears of each step."""

    def __init__(
        self,
        backfills: Backfills,
        source: Source,
        taker: SpoolTaker,
        *,
        may_work: Callable[[], bool],
        tell: Callable[[Progress], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._backfills = backfills
        self._source = source
        self._taker = taker
        self._may_work = may_work
        self._tell = tell
        self._now = now
        self._studies = self._failed = self._objects = self._refused = 0

    def run(self, order: Order, stop: threading.Event) -> Progress:
        """Until everything was fetched, or ``stop``. Raises :class:`Retryable` when the source or the spool stays away."""
        number, listed = self._backfills.ask(order, now=self._now())
        day = listed or ""
        try:
            while not stop.is_set() and not self._is_night_over(stop):
                study = self._backfills.next_study(number)
                if study is not None:
                    self._study(number, study, order, stop)
                elif day and day <= order.from_day:
                    break
                else:
                    day = _day_before(day) if day else order.to_day
                    found = self._patiently(lambda day=day: self._source.studies(day, order.modalities), stop)  # type: ignore[misc]
                    if found is None:
                        break
                    self._backfills.listed(number, day, found, now=self._now())
                self._tell(self._progress(day))
        except GatewayError as error:
            self._backfills.stopped(number, error.reason, now=self._now())
            raise
        self._backfills.stopped(number, None, now=self._now())
        return self._progress(day)

    def _is_night_over(self, stop: threading.Event) -> bool:
        """Wait for the window to open; True when told to stop meanwhile."""
        while not self._may_work():
            if stop.wait(_WAIT_SECS):
                return True
        return False

    def _study(self, number: int, study: StudyRef, order: Order, stop: threading.Event) -> None:
        taker, reason = self._taker, ""
        try:
            if self._patiently(lambda: self._fetch(study, order), stop) is None:
                return  # told to stop: it stays to be fetched
        except Quarantined as error:
            reason = error.reason
        except Retryable as error:
            if not error.peer_down or not self._is_well(study, order):
                raise
            reason = error.reason  # the source is there, but never gives this one
        self._objects += taker.objects
        self._refused += taker.refused
        uid, objects, refused, now = study.study_uid, taker.objects, taker.refused, self._now()
        if reason:
            self._failed += 1
            self._backfills.failed(number, uid, reason, objects=objects, refused=refused, now=now)
            log.warning("backfill_study_failed", stage="backfill", reason=reason)
        else:
            self._studies += 1
            self._backfills.done(number, uid, objects=objects, refused=refused, now=now)

    def _is_well(self, study: StudyRef, order: Order) -> bool:
        try:
            self._source.studies(study.day, order.modalities)
        except GatewayError:
            return False
        return True

    def _fetch(self, study: StudyRef, order: Order) -> bool:
        self._taker.begin()
        self._source.fetch(study, order.modalities, self._taker)
        self._taker.flush()
        return True

    def _patiently(self, action: Callable[[], T], stop: threading.Event) -> T | None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return action()
            except Retryable:
                self._taker.begin()
                if attempt == _ATTEMPTS:
                    raise
            if stop.wait(_WAIT_SECS * attempt):
                return None
        return None

    def _progress(self, day: str) -> Progress:
        return Progress(
            day=day,
            studies=self._studies,
            failed=self._failed,
            objects=self._objects,
            refused=self._refused,
        )


def _day_before(day: str) -> str:
    return (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()
