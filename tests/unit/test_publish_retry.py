"""Retrying is a budget of time with jitter."""

from __future__ import annotations

from gateway.publish.retry import LONGEST_WAIT_SECS, next_wait_secs


def wait(attempts: int, *, age_secs: float = 0, luck: float = 0.999) -> float | None:
    return next_wait_secs(attempts=attempts, age_secs=age_secs, budget_secs=3600, luck=luck)


def test_waits_grow_up_to_a_cap() -> None:
    waits = [wait(attempts) or 0 for attempts in (1, 2, 5, 50, 10_000)]
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_WAIT_SECS
    assert waits[0] < 2


def test_jitter_spreads_the_whole_wait() -> None:
    assert (wait(5, luck=0.0) or 9) < 1 < (wait(5, luck=0.9) or 0)


def test_a_spent_budget_ends_it_however_few_the_attempts() -> None:
    assert wait(1, age_secs=3600) is None
    assert wait(1000, age_secs=3599) is not None
