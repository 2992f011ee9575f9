"""Two senders: DCMTK's ``dcmsend``, for rates as a site would see them, and one of ours that times every answer."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.workbench.ae_address import AEAddress
from tests.harness.rawscu import RawAssociation
from tests.harness.witness import Outgoing

_SENT = re.compile(r"with status SUCCESS\s*:\s*(\d+)")


class Incomplete(RuntimeError):
    """Not every object was acknowledged with success: no rate can be given."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of sending: so many processes, with or without Nagle's algorithm, a share of the objects."""

    name: str
    processes: int
    no_delay: bool = True
    share: int = 1  #: one object in so many: senders with Nagle are slow, and a rate needs no thousand


def dcmsend(files: Sequence[Path], address: AEAddress, way: Way, directory: Path) -> float:
    """Seconds from the first process's start to the last one's end. Raises :class:`Incomplete`."""
    environment = {**os.environ, "TCP_NODELAY": "1" if way.no_delay else "0"}
    reports = [directory / f"report-{number}.txt" for number in range(way.processes)]
    commands = [
        ["dcmsend", "-aec", address.ae_title, "-pdu", "131072", "+crf", str(report), address.host, str(address.port),
         *map(str, files[number::way.processes])]
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


def answer_seconds(files: Sequence[Path], address: AEAddress, associations: int) -> list[float]:
    """For each object the seconds from its first byte to its answer, over so many associations at once.

    The files stand in memory beforehand and nothing is parsed, so that the times are the receiver's. Raises :class:`Incomplete`.
    """
    waiting = [
        [(item, item.data_set()) for item in map(Outgoing.read, files[number::associations])] for number in range(associations)
    ]
    taken: list[list[float]] = [[] for _ in range(associations)]
    together = threading.Barrier(associations)
    threads = [
        threading.Thread(target=_send_timed, args=(objects, address, together, times))
        for objects, times in zip(waiting, taken, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = [seconds for times in taken for seconds in times]
    if len(answered) != len(files):
        raise Incomplete(f"{len(answered)} of {len(files)} objects acknowledged")
    return answered


def _send_timed(
    objects: Sequence[tuple[Outgoing, bytes]], address: AEAddress, together: threading.Barrier, times: list[float]
) -> None:
    """Only what was answered with success counts. Raises :class:`~tests.harness.rawscu.Lost` in its thread when the peer goes away."""
    where, contexts = (address.host, address.port), [item.context for item, _ in objects]
    with RawAssociation(where, contexts, called_ae=address.ae_title, calling_ae="BENCH") as association:
        together.wait(timeout=30)
        for item, data_set in objects:
            started = time.perf_counter()
            status = association.store(item.context, item.sop_instance_uid, data_set)
            if status == 0:
                times.append(time.perf_counter() - started)
