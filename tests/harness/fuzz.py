"""How long the fuzzers look: a few seconds with the other tests, and as many minutes as ``ISOBRIDGE_FUZZ_MINUTES`` says (``make soak``).

The short look is hypothesis', which shrinks what it finds. The long one draws by a plain random generator, fifty times as many inputs in
the same time; what it finds is told with its seed: ``ISOBRIDGE_FUZZ_SEED`` looks at that input alone.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

MINUTES = float(os.environ.get("ISOBRIDGE_FUZZ_MINUTES", "0"))
SEED = os.environ.get("ISOBRIDGE_FUZZ_SEED")


def fuzz(
    strategy: SearchStrategy[Any], draw: Callable[[random.Random], Any], *, share: float, examples: int
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Make a check of one input a test of many: ``examples`` of ``strategy``, or ``draw`` for its ``share`` of the minutes asked for."""

    def decorate(check: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            if SEED is not None:
                check(draw(random.Random(int(SEED))))
            elif MINUTES:
                count = _for_long(check, draw, MINUTES * 60 * share)
                print(f"\n{check.__name__}: {count:,} inputs")
            else:
                chosen = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
                chosen(given(strategy)(check))()

        run.__name__ = check.__name__
        run.__doc__ = check.__doc__
        return run

    return decorate


def _for_long(check: Callable[[Any], None], draw: Callable[[random.Random], Any], secs: float) -> int:
    until, number = time.monotonic() + secs, time.time_ns()
    count = 0
    while time.monotonic() < until:
        count += 1
        try:
            check(draw(random.Random(number + count)))
        except BaseException:
            print(f"\n{check.__name__}: ISOBRIDGE_FUZZ_SEED={number + count}")
            raise
    return count
