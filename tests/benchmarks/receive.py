"""How fast is an object acknowledged, how long does a sender wait, what does it cost? Each receiver with the same data in the same run.

Each measurement has a receiver of its own, started in a fresh directory and idle before the first object comes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure import Sample, machine, ratio, table
from tests.benchmarks.receivers import ISOBRIDGE, ISOBRIDGE_IDLE, RECEIVERS, Peer, Receiver, find
from tests.benchmarks.senders import Incomplete, Way, answer_seconds, dcmsend
from tests.benchmarks.slices import make_ct_slices, make_slices
from tests.harness.rawscu import Lost

ONE, FOUR = Way("1 association", 1), Way("4 processes", 4)
NAGLE = Way("1, sender keeps Nagle", 1, no_delay=False, share=10)
_ASSOCIATIONS = 4
#: What is measured right after a backlog came: the worker, if it does not rest, converts it meanwhile.
BACKLOG = "after a backlog"


@dataclass(frozen=True, slots=True)
class Series:
    """What is sent, and how."""

    name: str
    files: Sequence[Path]
    ways: tuple[Way, ...]
    backlog: Sequence[Path] = ()  #: sent just before, to be converted while ``files`` come


@dataclass(slots=True)
class Measured:
    """One receiver, all runs. Rates by way in objects per second, the rest per object."""

    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    median_millisecs: list[float] = field(default_factory=list)
    p99_millisecs: list[float] = field(default_factory=list)
    cpu_millisecs: list[float] = field(default_factory=list)
    peak_mebibytes: list[float] = field(default_factory=list)

    def add_answers(self, seconds: Sequence[float]) -> None:
        ordered = sorted(seconds)
        self.median_millisecs.append(1000 * statistics.median(ordered))
        self.p99_millisecs.append(1000 * ordered[(len(ordered) * 99 - 1) // 100])

    def rate(self, way: Way) -> Sample:
        return Sample(tuple(self.rates[way.name]))


_Results = dict[tuple[str, str], Measured]


def run(count: int, runs: int) -> int:
    """``count`` PET slices and half as many of CT."""
    if find("dcmsend") is None:
        print("receive: DCMTK's dcmsend is absent; nothing was measured")
        return 1
    print(f"receive: median (min-max) of {runs} interleaved runs; {machine()}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        places = Path(folder)
        pet = make_slices(places / "pet", count)
        backlog = make_slices(places / "backlog", count, seed=9200)
        ct = make_ct_slices(places / "ct", max(count // 2, _ASSOCIATIONS))
        every = (
            Series(f"{len(pet)} PET slices of about {_kilobytes(pet)} kB", pet, (ONE, FOUR, NAGLE), backlog),
            Series(f"{len(ct)} CT slices of about {_kilobytes(ct)} kB", ct, (ONE, FOUR)),
        )
        results: dict[str, _Results] = {series.name: defaultdict(Measured) for series in every}
        for number in range(runs):
            for receiver in RECEIVERS:
                for series in every:
                    if receiver.present and number < receiver.runs_most and _ways(receiver, series):
                        _measure(receiver, series, results[series.name], places)
    for series in every:
        print(f"\n{series.name}, dcmsend, objects/s\n{_rates(series, results[series.name])}")
        print(f"\nthe same, {_ASSOCIATIONS} associations, per object\n{_costs(results[series.name])}")
        if series.backlog:
            print(f"\n{_while_converting(results[series.name])}")
    return 0


def _kilobytes(files: Sequence[Path]) -> int:
    return round(files[0].stat().st_size / 1000)


def _ways(receiver: Receiver, series: Series) -> tuple[Way, ...]:
    """The issue's peers all ways; what only explains our figures, or is slow, the one that tells most."""
    if receiver.is_aside:
        return (FOUR,) if series.backlog else ()
    return series.ways


def _measure(receiver: Receiver, series: Series, results: _Results, places: Path) -> None:
    measured = results[receiver.name, ""]

    def by_dcmsend(way: Way) -> Callable[[Peer, Path], None]:
        def measure(peer: Peer, directory: Path) -> None:
            chosen, before = series.files[:: way.share], peer.cpu_seconds()
            rate = len(chosen) / dcmsend(chosen, peer.address, way, directory)
            measured.rates[way.name].append(rate)
            if way is FOUR:
                measured.cpu_millisecs.append(1000 * (peer.cpu_seconds() - before) / len(chosen))
                measured.peak_mebibytes.append(peer.peak_mebibytes())

        return measure

    def by_ours(peer: Peer, _directory: Path) -> None:
        measured.add_answers(answer_seconds(series.files, peer.address, _ASSOCIATIONS))

    for way in _ways(receiver, series):
        _with_fresh(receiver, by_dcmsend(way), places, f"{receiver.name}, {way.name}")
    _with_fresh(receiver, by_ours, places, f"{receiver.name}, answers")
    if series.backlog and receiver in (ISOBRIDGE, ISOBRIDGE_IDLE):
        busy = results[receiver.name, BACKLOG]
        _with_fresh(receiver, lambda peer, place: _beside_work(peer, place, series, busy), places, f"{receiver.name}, {BACKLOG}")


def _beside_work(peer: Peer, directory: Path, series: Series, measured: Measured) -> None:
    """A backlog first; then one half of the objects for the rate and the other for the answers."""
    dcmsend(series.backlog, peer.address, FOUR, directory)
    half, before = series.files[::2], peer.cpu_seconds()
    measured.rates[FOUR.name].append(len(half) / dcmsend(half, peer.address, FOUR, directory))
    measured.cpu_millisecs.append(1000 * (peer.cpu_seconds() - before) / len(half))
    measured.add_answers(answer_seconds(series.files[1::2], peer.address, _ASSOCIATIONS))
    measured.peak_mebibytes.append(peer.peak_mebibytes())


def _with_fresh(receiver: Receiver, measure: Callable[[Peer, Path], None], places: Path, what: str) -> None:
    with tempfile.TemporaryDirectory(prefix="receiver-", dir=places) as folder:
        directory = Path(folder)
        try:
            with receiver.running(directory) as peer:
                peer.settle()
                measure(peer, directory)
        except (Incomplete, Lost) as error:
            print(f"  {what}: {error}")


def _rates(series: Series, results: _Results) -> str:
    header = ["receiver", "durable at 0x0000", *(cell for way in series.ways for cell in (way.name, "Isobridge is"))]
    rows = []
    for receiver in RECEIVERS:
        cells = [receiver.name, receiver.promise if receiver.present else "absent on this machine"]
        for way in series.ways:
            ours, theirs = results[ISOBRIDGE.name, ""].rate(way), results[receiver.name, ""].rate(way)
            cells += [str(theirs), "" if receiver is ISOBRIDGE else ratio(ours, theirs)]
        rows.append(cells)
    return table(header, rows)


def _costs(results: _Results) -> str:
    header = ["receiver", "answer ms, median", "answer ms, p99", "CPU ms, all processes", "peak MiB, receiving process"]
    rows = [
        [
            f"{name}, {situation}" if situation else name,
            _spread(one.median_millisecs, 1),
            _spread(one.p99_millisecs, 1),
            _spread(one.cpu_millisecs, 2),
            _spread(one.peak_mebibytes, 0),
        ]
        for (name, situation), one in results.items()
        if one.median_millisecs
    ]
    return table(header, rows)


def _while_converting(results: _Results) -> str:
    """Both have taken the same backlog just before; one of them converts it."""
    busy, idle = results[ISOBRIDGE.name, BACKLOG].rate(FOUR), results[ISOBRIDGE_IDLE.name, BACKLOG].rate(FOUR)
    return f"with conversion running: {busy} objects/s, without {idle}: {ratio(busy, idle)} (wanted: 0.70x or more)"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
