"""Goal 11: half a thousand hostile connections at once; a good sender is answered all the same, and each bad one is closed in its time.

Deadlines are a tenth of the defaults, so that the test is short.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests import builders
from tests.harness.villains import Villain, waves
from tests.integration.receiving import PET, RawPeer, data_set_of

_RECEIVER = """
import socket, sys
from pathlib import Path
import structlog
from gateway.receive.serving import run
from gateway.receive.settings import ReceiveSettings
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))

class Sink:
    def record_arrivals(self, batch):
        return []

listener = socket.socket(fileno=int(sys.argv[1]))
files = SpoolFiles(Path(sys.argv[2]), reserve_bytes=0)
journal = Journal(files, capacity_bytes=4 << 20, segment_bytes=1 << 20)
limits = ReceiveSettings(request_timeout_secs=1, pdu_timeout_secs=2, idle_timeout_secs=3, max_associations_per_address=20)
run([listener], limits, files, Sink(), lifeline_fd=0, journal=journal)
"""
_CLOSED_SECS = 35.0
_ANSWER_SECS = 2.0
_MEMORY_BYTES = 64 << 20


@contextmanager
def receiver(directory: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A receiver in a process of its own, so that its memory can be measured."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        command = [sys.executable, "-c", _RECEIVER, str(listener.fileno()), str(directory)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        try:
            yield listener.getsockname()[1], psutil.Process(process.pid)
        finally:
            process.communicate(timeout=30)
        assert process.returncode == 0


def store_one(port: int, part10: bytes, uid: str) -> float:
    """How long an honest sender takes for an association with one object."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        peer = RawPeer(sock)
        assert peer.associate()[0] == 2
        assert peer.store(PET, uid, data_set_of(part10)) == (0x0000, "")
    return time.monotonic() - started


@pytest.mark.timeout(120)
def test_hostile_peers_cost_an_honest_sender_nothing(tmp_path: Path) -> None:
    dataset = builders.pet()
    part10, uid = builders.part10(dataset), str(dataset.SOPInstanceUID)
    with receiver(tmp_path) as (port, process):
        for _ in range(20):
            store_one(port, part10, uid)
        before_bytes = most_bytes = process.memory_info().rss
        villains: list[Villain] = []
        answers: list[float] = []
        started = time.monotonic()
        coming = waves(port)
        while time.monotonic() - started < 60:
            villains += coming.pop(0)() if coming else []
            for villain in villains:
                villain.act()
            answers.append(store_one(port, part10, uid))
            most_bytes = max(most_bytes, process.memory_info().rss)
            if not coming and all(villain.closed_secs is not None for villain in villains):
                break
        lasted: dict[str, float] = defaultdict(float)
        for villain in villains:
            lasted[villain.kind] = max(lasted[villain.kind], villain.closed_secs or float("inf"))
            villain.close()
        grown_bytes = most_bytes - before_bytes
        print(
            f"{len(villains)} villains; slowest of {len(answers)} honest objects {max(answers):.2f} s; +{grown_bytes >> 20} MiB"
        )
        print({kind: round(secs, 1) for kind, secs in lasted.items()})
        assert max(answers) < _ANSWER_SECS
        assert {kind: secs for kind, secs in lasted.items() if secs > _CLOSED_SECS} == {}
        assert grown_bytes < _MEMORY_BYTES
