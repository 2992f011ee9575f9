"""May what two sources tell be one injection? The tolerances of design.md section 4, and how far apart the two are.

A scanner's header and a dose report are written by two clocks and two people: minutes and a few percent lie between them. Beyond
the tolerances, or without a common ground to judge by, they are two.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal

ACTIVITY_TOLERANCE = Decimal("0.10")
LONGEST_GAP_S = Decimal(1800)
#: Of nuclides that live shorter, a patient gets several injections within minutes: only an event UID tells those apart.
SHORTEST_HALF_LIFE_S = Decimal(900)
#: A scan whose header does not know the day of the injection belongs to one not longer ago: a next therapy cycle starts later.
MOST_HALF_LIVES_TO_SCAN = 3
_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What a source tells of an injection, as far as it tells: net activity in MBq, start (aware), half-life in seconds."""

    nuclide: str | None
    agent: str | None  #: code of the agent; ``None`` when only its words are known
    activity_mbq: Decimal | None
    start: dt.datetime | None
    half_life_s: Decimal | None
    clock: dt.time | None = None  #: the start by the clock on the wall, where its day is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far one source is from another: seconds later, share more. ``None`` where one of them does not say."""

    seconds: Decimal | None
    share: Decimal | None

    def words(self) -> str:
        """E.g. ``8 min later, with 1.5 % more activity``."""
        return f"{self._time()}, {self._activity()}"

    def _time(self) -> str:
        if self.seconds is None:
            return "at an unknown time"
        minutes = _short(abs(self.seconds) / 60)
        return "at the same time" if minutes == "0" else f"{minutes} min {'later' if self.seconds > 0 else 'earlier'}"

    def _activity(self) -> str:
        if self.share is None:
            return "without a comparable activity"
        percent = _short(abs(self.share) * 100)
        return "with the same activity" if percent == "0" else f"with {percent} % {'more' if self.share > 0 else 'less'} activity"


def gap(of: Injection, reference: Injection) -> Gap:
    """How ``of`` differs from ``reference``."""
    seconds = share = None
    if of.start is not None and reference.start is not None:
        seconds = Decimal(str((of.start - reference.start).total_seconds()))
    if of.activity_mbq is not None and reference.activity_mbq:
        share = of.activity_mbq / reference.activity_mbq - 1
    return Gap(seconds=seconds, share=share)


def may_be_one(of: Injection, reference: Injection) -> bool:
    """True when both tell of one nuclide, and start and activity lie within the tolerances; what is unknown is never within."""
    half_life = reference.half_life_s or of.half_life_s
    apart = gap(of, reference)
    if not same_nuclide(of, reference) or half_life is None or half_life < SHORTEST_HALF_LIFE_S:
        return False
    if of.agent and reference.agent and of.agent != reference.agent:
        return False
    if apart.seconds is None or apart.share is None:
        return False
    return abs(apart.seconds) <= min(LONGEST_GAP_S, half_life / 2) and abs(apart.share) <= ACTIVITY_TOLERANCE


def on_the_day_of(of: Injection, reference: Injection, scan: dt.datetime | None) -> Injection | None:
    """An injection that knows its time but not its day, on the day of ``reference``: when that lies before the scan, not too long.

    ``None`` when it cannot be placed. The clock on the wall is read in the zone in which the reference is written.
    """
    half_life = reference.half_life_s or of.half_life_s
    if of.start is not None or of.clock is None or reference.start is None or scan is None or half_life is None:
        return None
    until_scan = (scan - reference.start).total_seconds()
    if not -_DAY_S / 2 <= until_scan <= MOST_HALF_LIVES_TO_SCAN * half_life:
        return None
    days = (reference.start.date() + dt.timedelta(days=shift) for shift in (-1, 0, 1))
    starts = (dt.datetime.combine(day, of.clock, tzinfo=reference.start.tzinfo) for day in days)
    closest = min(starts, key=lambda start: abs((start - _start(reference)).total_seconds()))
    return replace(of, start=closest)


def _start(reference: Injection) -> dt.datetime:
    assert reference.start is not None  # noqa: S101  the caller has looked
    return reference.start


def same_nuclide(one: Injection, other: Injection) -> bool:
    """True when both name a nuclide, the same."""
    return one.nuclide is not None and one.nuclide == other.nuclide


def _short(number: Decimal) -> str:
    return f"{number:.1f}".removesuffix(".0")
