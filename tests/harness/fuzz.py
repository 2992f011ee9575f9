"""How long the fuzzers look: a few seconds with the other tests, and as many minutes as ``ISOBRIDGE_FUZZ_MINUTES`` says (``make soak``).

Hypothesis makes the inputs. A long run takes new seeds round by round, so it never looks at the same inputs twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

MINUTES = float(os.environ.get("ISOBRIDGE_FUZZ_MINUTES", "0"))
_ROUND = 2000
_ALL = list(HealthCheck)


def fuzz(strategy: SearchStrategy[Any], *, share: float, examples: int) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make a check of one input a test of many: ``examples`` of them, or for its ``share`` of the minutes that were asked for."""

    def decorate(check: Callable[[Any], None]) -> Callable[[], None]:
        def look(count: int, number: int | None) -> None:
            chosen = settings(max_examples=count, deadline=None, database=None, suppress_health_check=_ALL, phases=_PHASES)
            test = chosen(given(strategy)(check))
            (seed(number)(test) if number is not None else test)()

        def run() -> None:
            if not MINUTES:
                look(examples, None)
                return
            until, rounds = time.monotonic() + MINUTES * 60 * share, 0
            while time.monotonic() < until:
                look(_ROUND, time.time_ns())
                rounds += 1
            print(f"{check.__name__}: {rounds * _ROUND:,} inputs")

        run.__name__ = check.__name__
        run.__doc__ = check.__doc__
        return run

    return decorate


_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
