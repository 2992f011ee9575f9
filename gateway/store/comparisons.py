"""Dates, numbers and texts of a search compared with columns (R4 search.html#prefix): reads the value, gives the condition."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import LiteralString
from zoneinfo import ZoneInfo

from gateway.errors import Rejected
from gateway.store import dates, values
from gateway.store.dates import Interval
from gateway.store.query import split_bars, unescaped
from gateway.store.sql import Sql, negated, sql

#: Sorts behind every text that can stand in an index.
_LAST_CHARACTER = "\U0010ffff"
_PREFIXES = frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"})
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)

#: An interval and what was asked: which columns and which of its ends, in the order of the places. The first term of ge and le is what an
#: index can use.
_INTERVALS: dict[str, tuple[LiteralString, str]] = {
    "gt": ("{} > {}", "hH"),
    "lt": ("{} < {}", "lL"),
    "ge": ("({} > {} AND ({} > {} OR {} >= {}))", "hLhHlL"),
    "le": ("({} < {} AND ({} < {} OR {} <= {}))", "lHlLhH"),
    "sa": ("{} >= {}", "lH"),
    "eb": ("{} <= {}", "hL"),
    "ap": ("({} < {} AND {} > {})", "lHhL"),
    "eq": ("({} >= {} AND {} <= {} AND {} < {})", "lLhHlH"),
    "ne": ("NOT ({} >= {} AND {} <= {})", "lLhH"),
}
_NUMBERS: dict[str, tuple[LiteralString, str]] = {
    "gt": ("{} > {}", "h"),
    "lt": ("{} < {}", "l"),
    "ge": ("{} >= {}", "h"),
    "le": ("{} <= {}", "l"),
    "sa": ("{} > {}", "l"),
    "eb": ("{} < {}", "h"),
}


def read_date(code: str, value: str, zone: ZoneInfo, now: dt.datetime) -> tuple[str, Interval]:
    """The comparison asked for, and with what. Raises :class:`Rejected` (400)."""
    prefix, rest = _split_prefix(value)
    try:
        asked = dates.parse(rest, zone)
    except ValueError as error:
        raise bad(code, "must be a date such as 2026-01-31 or 2026-01-31T10:00:00Z, with a prefix such as ge") from error
    if prefix == "ap":
        # R4 search.html#prefix: "10% of the gap between now and the date"
        slack = abs(dates.from_datetime(now) - asked.low) // 10
        asked = Interval(max(asked.low - slack, dates.EARLIEST), min(asked.high + slack, dates.LATEST))
    return prefix, asked


def _split_prefix(value: str) -> tuple[str, str]:
    """Comparison and operand; without a prefix the comparison is ``eq``."""
    return (value[:2], value[2:]) if value[:2] in _PREFIXES else ("eq", value)


def interval_matches(prefix: str, asked: Interval, low: Sql, high: Sql) -> Sql:
    """R4 search.html#prefix, for a value that is itself an interval."""
    pattern, places = _INTERVALS[prefix]
    parts: dict[str, Sql | int] = {"l": low, "h": high, "L": asked.low, "H": asked.high}
    return sql(pattern, *[parts[place] for place in places])


#: Of an interval that matches: after which end of what was asked it ends, and before which it begins, if before any.
_ENDS_AFTER = {"gt": "high", "ge": "low", "sa": "high", "ap": "low", "eq": "low"}
_BEGINS_BEFORE = {"lt": "low", "le": "high", "eb": "low", "ap": "high", "eq": "high"}


def touched(readings: Sequence[tuple[str, Interval]]) -> Interval | None:
    """What every interval touches for which all of this holds; ``None`` when it may be anywhere on one side."""
    lows = [getattr(asked, _ENDS_AFTER[prefix]) for prefix, asked in readings if prefix in _ENDS_AFTER]
    highs = [getattr(asked, _BEGINS_BEFORE[prefix]) for prefix, asked in readings if prefix in _BEGINS_BEFORE]
    return Interval(max(lows), min(highs) + 1) if lows and highs else None


def quantity_matches(code: str, value: str, columns: Sequence[Sql], *, is_number: bool = False) -> list[Sql]:
    """``[prefix]number``, ``number|system|code`` or ``number||unit`` (code or unit as written).

    ``columns``: system, code, unit, low, high. Raises :class:`Rejected` (400).
    """
    system_column, code_column, unit_column, low, high = columns
    parts = split_bars(value)
    prefix, number = _split_prefix(parts[0])
    if len(parts) > (1 if is_number else 3) or not _NUMBER.fullmatch(number):
        raise bad(code, "must be a number, number|system|code or number||unit, with a prefix such as gt")
    matches = [_number_matches(prefix, Decimal(number), low, high)]
    system, unit = (*parts[1:], "", "")[:2]
    if system:
        matches.append(sql("{} = {}", system_column, values.key(system)))
    if unit and system:
        matches.append(sql("{} = {}", code_column, values.key(unit)))
    elif unit:
        matches.append(sql("({} = {} OR {} = {})", code_column, values.key(unit), unit_column, values.key(unit)))
    return matches


def _number_matches(prefix: str, number: Decimal, low: Sql, high: Sql) -> Sql:
    exactly = float(number)
    if prefix in _NUMBERS:
        pattern, column = _NUMBERS[prefix]
        return sql(pattern, low if column == "l" else high, exactly)
    if prefix == "ap":
        return sql("({} <= {} AND {} >= {})", low, exactly + abs(exactly) / 10, high, exactly - abs(exactly) / 10)
    # R4 search.html#number: "100" means the range from 99.5 to 100.5 that it is the rounding of
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    within = sql("({} >= {} AND {} < {})", low, float(number - half), high, float(number + half))
    return negated(within) if prefix == "ne" else within


def starts_with(column: Sql, text: str) -> Sql:
    """An index can answer this, and LIKE it cannot."""
    return sql("({} >= {} AND {} < {})", column, text, column, text + _LAST_CHARACTER)


def contains(column: Sql, text: str) -> Sql:
    escaped = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return sql("{} LIKE {} ESCAPE '/'", column, f"%{escaped}%")


def folded(value: str) -> str:
    """A text of a client as an index holds it."""
    return values.folded(unescaped(value))


def bad(code: str, reason: str) -> Rejected:
    return Rejected(f"the value of '{code}' {reason}", status=400)
