"""When two sources may tell of one injection, and how their difference is put into words."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from gateway.nuclear.sameness import Gap, Injection, gap, may_be_one

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def injected(mbq: str | None = "400", minutes: float | None = 0, half_life: str | None = "6586.2", **more: str) -> Injection:
    return Injection(
        nuclide=more.get("nuclide", "77004003"),
        agent=more.get("agent"),
        activity_mbq=Decimal(mbq) if mbq else None,
        start=NOON + dt.timedelta(minutes=minutes) if minutes is not None else None,
        half_life_s=Decimal(half_life) if half_life else None,
    )


@pytest.mark.parametrize(
    ("image", "report", "one"),
    [
        (injected(minutes=30), injected(), True),
        (injected(minutes=-30), injected(), True),
        (injected(minutes=30.1), injected(), False),
        (injected("440"), injected(), True),
        (injected("360"), injected(), True),
        (injected("440.1"), injected(), False),
        (injected(minutes=10, half_life="1223.4"), injected(half_life="1223.4"), True),
        (injected(minutes=10.3, half_life="1223.4"), injected(half_life="1223.4"), False),
        (injected(half_life="899"), injected(half_life="899"), False),
        (injected(half_life=None), injected(half_life=None), False),
        (injected(half_life=None), injected(), True),
        (injected(None), injected(), False),
        (injected(minutes=None), injected(), False),
        (injected(nuclide="1"), injected(), False),
        (injected(agent="a"), injected(agent="b"), False),
        (injected(agent="a"), injected(), True),
    ],
)
def test_two_sources_may_be_one_within_the_tolerances(image: Injection, report: Injection, one: bool) -> None:
    assert may_be_one(image, report) is one


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (injected("400", 8), "8 min later, with the same activity"),
        (injected("394", -0.5), "0.5 min earlier, with 1.5 % less activity"),
        (injected("500"), "at the same time, with 25 % more activity"),
        (injected(None, None), "at an unknown time, without a comparable activity"),
    ],
)
def test_a_gap_is_told_in_minutes_and_percent(image: Injection, words: str) -> None:
    assert gap(image, injected()).words() == words


def test_a_gap_too_small_for_words_is_none() -> None:
    assert Gap(seconds=Decimal(1), share=Decimal("0.0001")).words() == "at the same time, with the same activity"
