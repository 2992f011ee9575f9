"""Medians, spreads and the one table in which every benchmark is told."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """All runs of one measurement, in units per second; empty when the peer is absent or failed."""

    rates: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return statistics.median(self.rates) if self.rates else None

    def __str__(self) -> str:
        if self.median is None:
            return "-"
        return f"{self.median:.0f} ({min(self.rates):.0f}-{max(self.rates):.0f})"


def ratio(ours: Sample, theirs: Sample) -> str:
    """How many times ours is theirs, by the medians."""
    if ours.median is None or not theirs.median:
        return "-"
    return f"{ours.median / theirs.median:.2f}x"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def machine() -> str:
    """The machine in one line: a figure without it means nothing."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores, {model}, load {os.getloadavg()[0]:.1f} before the run"
