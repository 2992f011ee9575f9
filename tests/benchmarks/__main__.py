"""``python -m tests.benchmarks receive convert``: the comparisons behind ``make bench``. Run by hand, on a quiet machine."""

from __future__ import annotations

import argparse

from tests.benchmarks import convert, normalise, receive

BENCHMARKS = {"receive": receive.run, "convert": convert.run, "normalise": normalise.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", choices=[*BENCHMARKS, []], help="which ones; all when none is named")
    parser.add_argument("--count", type=int, default=1000, help="slices (default 1000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    chosen = parser.parse_args()
    codes = [BENCHMARKS[name](chosen.count, chosen.runs) for name in chosen.benchmarks or BENCHMARKS]
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
