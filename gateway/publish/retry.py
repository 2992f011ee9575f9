"""When to try again: a budget of time with full jitter, not a number of attempts. Pure."""

from __future__ import annotations

FIRST_WAIT_SECS = 2.0
LONGEST_WAIT_SECS = 15 * 60.0


def next_wait_secs(*, attempts: int, age_secs: float, budget_secs: float, luck: float) -> float | None:
    """Seconds until the next attempt, or None when the budget is spent.

    ``attempts`` is how often it was tried (1 after the first failure), ``luck`` a number in [0, 1): full jitter keeps many
    waiting deliveries from knocking at the same moment.
    """
    if age_secs >= budget_secs:
        return None
    longest: float = min(LONGEST_WAIT_SECS, FIRST_WAIT_SECS * 2 ** min(attempts - 1, 20))
    return float(max(0.1, luck * longest))
