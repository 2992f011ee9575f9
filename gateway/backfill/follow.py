"""Following an Orthanc: what came there since the last look, in the order in which it came, until told to stop.

The place in its log is in the ledger in one transaction with what was counted, after everything before it is durable in the spool.
A kill costs the page in hand: it is fetched again, and the bytes that were taken already are known by their digest.

Each look begins :data:`WINDOW` changes before the place that was reached. So a change that became visible late (two writers of an
index on a database server) is taken too, and an index that was put back to an older copy, or replaced, is noticed: the changes that
were read are not there, or are others. Reading then goes on after the last change that both agree on, at worst from the beginning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from gateway.backfill.changes import Change, Page
from gateway.backfill.taker import SpoolTaker
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.spool.feeds import Counts, Feed, Feeds, Place

log = structlog.get_logger()

WINDOW, PAGE = 100, 100
_ATTEMPTS = 5
_OBJECT_ATTEMPTS = 3
_WAIT_SECS = 5.0
_MOST_WAIT_SECS = 300.0


class Changes(Protocol):
    """What is asked of a source that can be followed: :class:`~gateway.backfill.changes.OrthancChanges`."""

    def page(self, since: int, limit: int) -> Page: ...

    def newest(self) -> int: ...

    def fetch(self, handle: str) -> bytes | None: ...

    def is_wanted(self, handle: str, feed: Feed) -> bool | None: ...

    def is_well(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowProgress:
    """What a run has done so far, and where it stands in the source's log."""

    cursor: int
    newest: int
    objects: int = 0
    refused: int = 0
    gone: int = 0
    failed: int = 0
    problem: str = ""


class Follow:
    """``may_work``: whether the night window is open; ``tell`` hears of each step; ``poll_secs``: between looks when nothing is new."""

    def __init__(
        self,
        feeds: Feeds,
        changes: Changes,
        taker: SpoolTaker,
        *,
        may_work: Callable[[], bool],
        tell: Callable[[FollowProgress], None],
        poll_secs: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._feeds = feeds
        self._changes = changes
        self._taker = taker
        self._may_work = may_work
        self._tell = tell
        self._poll_secs = poll_secs
        self._now = now
        self._progress = FollowProgress(cursor=0, newest=0)

    def run(self, feed: Feed, stop: threading.Event, *, once: bool = False) -> FollowProgress:
        """Until ``stop``, or with ``once`` until all that came so far was fetched.

        A source or a spool that stays away is waited for; with ``once`` its :class:`~gateway.errors.GatewayError` is raised.
        """
        number, place = self._feeds.ask(feed, now=self._now())
        self._progress = FollowProgress(cursor=place.cursor, newest=place.cursor)
        again = self._feeds.failed_handles(number)
        attempts = 0
        while not stop.is_set():
            if not self._may_work():
                stop.wait(_WAIT_SECS)
                continue
            try:
                self._try_again(number, place, again, feed, stop)
                again = ()
                place, is_caught_up = self._step(number, place, feed, stop)
            except GatewayError as error:
                attempts += 1
                self._note_problem(number, error.reason)
                if once and (attempts == _ATTEMPTS or isinstance(error, Quarantined)):
                    raise
                stop.wait(min(_WAIT_SECS * attempts, _MOST_WAIT_SECS))
                continue
            attempts = 0
            self._tell(self._progress)
            if is_caught_up and (once or stop.wait(self._poll_secs)):
                break
        return self._progress

    def _step(self, number: int, place: Place, feed: Feed, stop: threading.Event) -> tuple[Place, bool]:
        """One page of the log; returns the place reached, and whether nothing more was there."""
        page = self._changes.page(max(0, place.cursor - WINDOW), WINDOW + PAGE)
        older = self._another_past(page, place)
        if older is not None:
            log.warning("feed_turned_back", stage="backfill", count=place.cursor - older.cursor)
            self._feeds.turn_back(number, older, now=self._now())
            return older, False
        since = min(place.recent, default=place.cursor)
        new = [change for change in page.changes if change.number > since and change.number not in place.recent]
        if not new:
            self._reached(place, place.cursor, Counts(), 0)
            self._feeds.advance(number, place, Counts(), {}, newest=place.cursor, now=self._now())
            return place, True
        read, counts, failed = self._take(new, feed, stop)
        place = _after(place, read)
        newest = self._changes.newest() if len(page.changes) >= WINDOW + PAGE else page.newest
        self._feeds.advance(number, place, counts, failed, newest=newest, now=self._now())
        self._reached(place, newest, counts, len(failed))
        return place, False

    def _another_past(self, page: Page, place: Place) -> Place | None:
        """The place to go back to, where the source's log is not the one that was read."""
        here = {change.number: change.mark for change in page.changes}
        other = [number for number, mark in place.recent.items() if here.get(number, mark) != mark]
        if other:
            agreed_below = min(other)
        elif max(here, default=-1) >= place.cursor or self._changes.page(place.cursor, 1).newest >= place.cursor:
            return None
        else:
            agreed_below = place.cursor
        agreed = [number for number, mark in place.recent.items() if number < agreed_below and here.get(number) == mark]
        back = max(agreed, default=0)
        return Place(cursor=back, recent={number: mark for number, mark in place.recent.items() if number <= back})

    def _take(self, new: Sequence[Change], feed: Feed, stop: threading.Event) -> tuple[list[Change], Counts, dict[str, str]]:
        """Fetch in order until ``stop``; what was read is durable on return. Raises :class:`Retryable`."""
        self._taker.begin()
        read: list[Change] = []
        failed: dict[str, str] = {}
        gone = 0
        for change in new:
            if change.handle:
                try:
                    gone += self._is_gone(change.handle, feed, stop)
                except Quarantined as error:
                    failed[change.handle] = error.reason
                    log.warning("feed_object_failed", stage="backfill", reason=error.reason)
                except Retryable:
                    if stop.is_set():
                        break
                    raise
            read.append(change)
            if stop.is_set():
                break
        self._taker.flush()
        return read, Counts(objects=self._taker.objects, refused=self._taker.refused, gone=gone), failed

    def _is_gone(self, handle: str, feed: Feed, stop: threading.Event) -> bool:
        """Take one object, where it is wanted. Raises :class:`Quarantined` for what a source that is well cannot give."""
        for attempt in range(1, _OBJECT_ATTEMPTS + 1):
            try:
                is_wanted = self._changes.is_wanted(handle, feed)
                content = self._changes.fetch(handle) if is_wanted else None
                break
            except Retryable as error:
                if attempt == _OBJECT_ATTEMPTS:
                    if self._changes.is_well():
                        raise Quarantined(error.reason) from error
                    raise
                if stop.wait(_WAIT_SECS):
                    raise
        if content is not None:
            self._taker.take(content)
        return is_wanted is None or (is_wanted and content is None)

    def _try_again(self, number: int, place: Place, handles: Sequence[str], feed: Feed, stop: threading.Event) -> None:
        """What could not be fetched in an earlier run."""
        for start in range(0, len(handles), PAGE):
            those = [Change(number=0, mark="", handle=handle) for handle in handles[start : start + PAGE]]
            read, counts, failed = self._take(those, feed, stop)
            self._feeds.advance(number, place, counts, failed, newest=place.cursor, now=self._now())
            for change in read:
                if change.handle not in failed:
                    self._feeds.mended(number, change.handle)
            self._reached(place, place.cursor, counts, len(failed))

    def _reached(self, place: Place, newest: int, counts: Counts, failed: int) -> None:
        done = self._progress
        self._progress = FollowProgress(
            cursor=place.cursor,
            newest=max(newest, place.cursor),
            objects=done.objects + counts.objects,
            refused=done.refused + counts.refused,
            gone=done.gone + counts.gone,
            failed=done.failed + failed,
        )

    def _note_problem(self, number: int, reason: str) -> None:
        self._progress = replace(self._progress, problem=reason)
        self._tell(self._progress)
        with suppress(Retryable):  # perhaps it is the ledger that is away
            self._feeds.tell_problem(number, reason)


def _after(place: Place, read: Sequence[Change]) -> Place:
    cursor = max([place.cursor, *(change.number for change in read)])
    known = {**place.recent, **{change.number: change.mark for change in read}}
    return Place(cursor=cursor, recent={number: known[number] for number in sorted(known) if number > cursor - WINDOW})
