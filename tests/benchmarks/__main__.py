"""``python -m tests.benchmarks receive convert query``: the comparisons behind ``make bench``. Run by hand, on a quiet machine."""

from __future__ import annotations

import argparse

from tests.benchmarks import convert, normalise, query, receive

BENCHMARKS = ("receive", "convert", "normalise", "query")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", choices=[*BENCHMARKS, []], help="which ones; all when none is named")
    parser.add_argument("--count", type=int, default=1000, help="slices (default 1000); a quick look: --count 200 --runs 1")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5; of query at most 3)")
    parser.add_argument("--observations", type=int, default=100_000, help="query: Observations (default 100000)")
    parser.add_argument("--seconds", type=float, default=1.5, help="query: each question is asked for so long (default 1.5)")
    chosen = parser.parse_args()
    several = {"receive": receive.run, "convert": convert.run, "normalise": normalise.run}
    codes = [
        several[name](chosen.count, chosen.runs)
        if name in several
        else query.run(chosen.observations, min(chosen.runs, query.MOST_RUNS), chosen.seconds)
        for name in chosen.benchmarks or BENCHMARKS
    ]
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
