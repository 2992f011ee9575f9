"""Promises of dates in searches: every precision is an interval, zones count, and nothing a client writes crashes."""

from __future__ import annotations

import contextlib
import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store import dates
from gateway.store.dates import EARLIEST, LATEST, parse, period

BRUSSELS = ZoneInfo("Europe/Brussels")
SECOND = 1_000_000


def at(text: str) -> int:
    return dates.from_datetime(dt.datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2026", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2026-02", "2026-01-31T23:00:00Z", "2026-02-28T23:00:00Z"),
        ("2026-12", "2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2024-02-29", "2024-02-28T23:00:00Z", "2024-02-29T23:00:00Z"),
        ("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours long: summer time begins
        ("2026-01-01T00:00", "2025-12-31T23:00:00Z", "2025-12-31T23:01:00Z"),  # minutes, no zone
        ("2026-07-01T12:00:00", "2026-07-01T10:00:00Z", "2026-07-01T10:00:01Z"),
        ("2026-07-01T12:00:00-05:00", "2026-07-01T17:00:00Z", "2026-07-01T17:00:01Z"),
        ("2026-07-01T12:00:00 02:00", "2026-07-01T10:00:00Z", "2026-07-01T10:00:01Z"),  # the plus that a URL lost
        ("2026-07-01T12:00:00.250Z", "2026-07-01T12:00:00.250Z", "2026-07-01T12:00:00.251Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z", "2017-01-01T00:00:00Z"),  # a leap second
    ],
)
def test_a_date_is_the_interval_it_names(text: str, low: str, high: str) -> None:
    assert parse(text, BRUSSELS) == (at(low), at(high))


@pytest.mark.parametrize(
    "text", ["9999", "9999-12", "9999-12-31", "9999-12-31T23:59:59.999999Z", "0001-01-01", "0001-01-01T00:00:00+14:00"]
)
def test_the_ends_of_the_calendar_are_dates(text: str) -> None:
    low, high = parse(text, BRUSSELS)
    assert EARLIEST < low < high <= LATEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000",
        "2026-13",
        "2026-02-30",
        "2026-1-1",
        "2026-01-01T24:00",
        "2026-01-01T10",
        "x",
        "２０２６",
        "2026-01-01T10:00:00+99:00",
    ],
)
def test_what_is_no_date_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, BRUSSELS)


def test_a_period_may_be_open_at_either_end() -> None:
    assert period({"start": "2026-01-01"}, BRUSSELS).high == LATEST
    assert period({"end": "2026-01-01"}, BRUSSELS).low == EARLIEST


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse(text, BRUSSELS)


@given(st.integers(min_value=-2_000_000_000, max_value=4_000_000_000))
def test_an_instant_lies_in_its_own_second_day_and_year(seconds: int) -> None:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    inside = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    local = moment.astimezone(BRUSSELS)
    for form in ("%Y", "%Y-%m", "%Y-%m-%d"):
        low, high = parse(local.strftime(form), BRUSSELS)
        assert low <= inside < high
    low, high = parse(moment.strftime("%Y-%m-%dT%H:%M:%SZ"), BRUSSELS)
    assert low <= inside < high == low + SECOND


def test_a_stored_time_is_shown_as_it_is_kept() -> None:
    assert dates.as_instant(at("2026-01-02T10:00:00.123999Z")) == "2026-01-02T10:00:00.123Z"
