"""When to try again: a budget of time with full jitter, not a number of attempts; and when to leave a whole target alone. Pure."""

from __future__ import annotations

FIRST_WAIT_SECS = 2.0
LONGEST_WAIT_SECS = 15 * 60.0

#: A target that is down is knocked at this often at most, so that it is taken up soon after it comes back.
LONGEST_PAUSE_SECS = 60.0


def next_wait_secs(*, attempts: int, age_secs: float, budget_secs: float, luck: float) -> float | None:
    """Seconds until the next attempt, or None when the budget is spent.

    ``attempts`` is how often it was tried (1 after the first failure), ``luck`` a number in [0, 1): full jitter keeps many
    waiting deliveries from knocking at the same moment.
    """
    if age_secs >= budget_secs:
        return None
    longest: float = min(LONGEST_WAIT_SECS, FIRST_WAIT_SECS * 2 ** min(attempts - 1, 20))
    return float(max(0.1, luck * longest))


class Circuit:
    """Whether a target may be knocked at: after it failed as a whole, one probe after a pause that grows with each failure.

    Closed: work as usual. Open: nothing is leased until the pause is over. Probing: one item decides.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_probing(self) -> bool:
        """The last knock failed: send one item only."""
        return self._failures > 0

    def pause_secs(self, now: float) -> float:
        """Seconds until the next knock; 0 when it may be now."""
        return max(0.0, self._open_until - now)

    def failed(self, *, now: float, luck: float, wait_secs: float | None = None) -> float:
        """The target failed as a whole. Returns the pause in seconds: what it asked for, or half to all of a doubling one."""
        self._failures += 1
        longest = min(LONGEST_PAUSE_SECS, 2.0 ** min(self._failures - 1, 20))
        pause = max(0.2, longest * (0.5 + luck / 2)) if wait_secs is None else min(wait_secs, LONGEST_WAIT_SECS)
        self._open_until = now + pause
        return pause

    def answered(self) -> bool:
        """The target answered, whatever it said. True when it had been away."""
        was_away = self._failures > 0
        self._failures, self._open_until = 0, 0.0
        return was_away
