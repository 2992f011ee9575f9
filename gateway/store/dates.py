"""FHIR dates as intervals: ``2026-03`` is the whole month, ``2026-03-01T10:00`` the whole minute (R4 search.html#date).

An interval is half-open, in microseconds since 1970-01-01T00:00Z. What has no zone is read in the site's zone, so that a
researcher who asks for a day gets the day the scanner had.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

#: Open ends. Within the 64 bit integers of both databases, with room to add.
EARLIEST = -(2**62)
LATEST = 2**62

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_FORM = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?"
    r"(?P<zone>Z|[+\- ]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)


class Interval(NamedTuple):
    """``low`` is inside, ``high`` is the first microsecond after it."""

    low: int
    high: int


@lru_cache(maxsize=4096)
def parse(text: str, zone: ZoneInfo) -> Interval:
    """Read a date, dateTime or instant of any precision. Raises ``ValueError`` when it is none.

    A blank before the offset is taken for the plus sign that URLs lose.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("not a date")
    if match["hour"] is None:
        return _whole_days(match, zone)
    moment = _moment(match, zone)
    return Interval(moment, moment + _precision(match))


def _whole_days(match: re.Match[str], zone: ZoneInfo) -> Interval:
    year, month, day = int(match["year"]), int(match["month"] or 1), int(match["day"] or 1)
    start = dt.date(year, month, day)
    if match["day"]:
        after = (start.year, start.month, start.day + 1)
    elif match["month"]:
        after = (year + month // 12, month % 12 + 1, 1)
    else:
        after = (year + 1, 1, 1)
    return Interval(_midnight(start, zone), _midnight_after(after, start, zone))


def _midnight_after(after: tuple[int, int, int], start: dt.date, zone: ZoneInfo) -> int:
    if after[0] > dt.MAXYEAR or start == dt.date.max:
        return LATEST
    if after[:2] == (start.year, start.month):
        return _midnight(start + dt.timedelta(days=1), zone)
    return _midnight(dt.date(*after), zone)


def _midnight(day: dt.date, zone: ZoneInfo) -> int:
    return _since_epoch(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC), zone)


def _moment(match: re.Match[str], zone: ZoneInfo) -> int:
    second = 59 if match["second"] == "60" else int(match["second"] or 0)  # a leap second
    fraction = int((match["fraction"] or ".0")[1:7].ljust(6, "0"))
    year, month, day, hour, minute = (int(match[name]) for name in ("year", "month", "day", "hour", "minute"))
    clock = dt.datetime(year, month, day, hour, minute, second, fraction, tzinfo=dt.UTC)
    return _since_epoch(clock, _offset(match["zone"]) or zone)


def _offset(text: str | None) -> dt.tzinfo | None:
    if text is None:
        return None
    if text == "Z":
        return dt.UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return dt.timezone(dt.timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _since_epoch(clock: dt.datetime, zone: dt.tzinfo) -> int:
    """Microseconds for what a clock in ``zone`` shows. The offset is a number: year 9999 has no room for a shift."""
    offset = zone.utcoffset(clock.replace(tzinfo=zone)) or dt.timedelta()
    return (clock - _EPOCH) // _MICROSECOND - offset // _MICROSECOND


def _precision(match: re.Match[str]) -> int:
    if match["second"] is None:
        return 60_000_000
    digits = len(match["fraction"] or ".") - 1
    return max(1, 1_000_000 // int(10**digits))


def period(value: Mapping[str, Any], zone: ZoneInfo) -> Interval:
    """A Period; a missing end is open. Raises ``ValueError`` when one end is no date."""
    low = parse(value["start"], zone).low if "start" in value else EARLIEST
    high = parse(value["end"], zone).high if "end" in value else LATEST
    return Interval(low, max(high, low))


@lru_cache(maxsize=256)  # all resources of a transaction have one time
def as_instant(microseconds: int) -> str:
    """``2026-01-02T10:00:00.123Z``: milliseconds, UTC."""
    moment = _EPOCH + microseconds * _MICROSECOND
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def from_datetime(moment: dt.datetime) -> int:
    """Microseconds since the epoch, cut to whole milliseconds: what is stored is what is shown."""
    return (moment - _EPOCH) // _MICROSECOND // 1000 * 1000
