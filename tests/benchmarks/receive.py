"""How fast is an object acknowledged? DCMTK's dcmsend against each receiver, one table."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.workbench.ae_address import AEAddress
from tests.benchmarks.measure import Sample, machine, ratio, table
from tests.benchmarks.receivers import ISOBRIDGE, RECEIVERS, Receiver, find
from tests.benchmarks.slices import make_slices

_SENT = re.compile(r"with status SUCCESS\s*:\s*(\d+)")


class Incomplete(RuntimeError):
    """Not every object was acknowledged with success: no rate can be given."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of sending: so many processes, with or without Nagle's algorithm, a share of the objects."""

    name: str
    processes: int
    no_delay: bool
    share: int  #: one object in so many: senders with Nagle are slow, and a rate needs no thousand


WAYS = (
    Way("1 association", 1, True, 1),
    Way("4 processes", 4, True, 1),
    Way("1, sender keeps Nagle", 1, False, 10),
)


def run(count: int, runs: int) -> int:
    if find("dcmsend") is None:
        print("receive: DCMTK's dcmsend is absent; nothing was measured")
        return 1
    print(f"receive: {count} PET slices of about 58 kB, dcmsend, median (min-max) of {runs} interleaved runs, objects/s")
    print(machine())
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        files = make_slices(Path(folder) / "slices", count)
        for number in range(runs):
            for receiver in RECEIVERS:
                for way in WAYS:
                    _measure(receiver, way, files, Path(folder) / f"{number}-{receiver.name}-{way.name}".replace(" ", "_"), rates)
    samples = {
        (receiver.name, way.name): Sample(tuple(rates.get((receiver.name, way.name), ())))
        for receiver in RECEIVERS
        for way in WAYS
    }
    print(_table(samples))
    return 0


def _measure(
    receiver: Receiver, way: Way, files: Sequence[Path], directory: Path, rates: dict[tuple[str, str], list[float]]
) -> None:
    if not receiver.present:
        return
    directory.mkdir()
    chosen = files[:: way.share]
    with receiver.running(directory) as address:
        try:
            seconds = send(chosen, address, processes=way.processes, no_delay=way.no_delay, directory=directory)
        except Incomplete as error:
            print(f"  {receiver.name}, {way.name}: {error}")
            return
    rates.setdefault((receiver.name, way.name), []).append(len(chosen) / seconds)


def send(files: Sequence[Path], address: AEAddress, *, processes: int, no_delay: bool, directory: Path) -> float:
    """Seconds from the first process's start to the last one's end. Raises :class:`Incomplete`."""
    environment = {**os.environ, "TCP_NODELAY": "1" if no_delay else "0"}
    reports = [directory / f"report-{number}.txt" for number in range(processes)]
    commands = [
        ["dcmsend", "-aec", address.ae_title, "-pdu", "131072", "+crf", str(report), address.host, str(address.port),
         *map(str, files[number::processes])]
        for number, report in enumerate(reports)
    ]  # fmt: skip
    started = time.monotonic()
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands
    ]
    errors = [process.communicate()[1].decode(errors="replace") for process in running]
    seconds = time.monotonic() - started
    sent = sum(int(match[1]) for report in reports if report.exists() for match in _SENT.finditer(report.read_text()))
    if sent != len(files):
        raise Incomplete(f"{sent} of {len(files)} objects acknowledged {' '.join(errors)[:200]}")
    return seconds


def _table(samples: dict[tuple[str, str], Sample]) -> str:
    header = ["receiver", "durable at 0x0000", *(cell for way in WAYS for cell in (way.name, "Isobridge is"))]
    rows = []
    for receiver in RECEIVERS:
        cells = [receiver.name, receiver.promise if receiver.present else "absent on this machine"]
        for way in WAYS:
            theirs = samples[receiver.name, way.name]
            cells += [str(theirs), "" if receiver is ISOBRIDGE else ratio(samples[ISOBRIDGE.name, way.name], theirs)]
        rows.append(cells)
    return table(header, rows)
