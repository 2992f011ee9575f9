"""Promise 1: what was acknowledged is there after kill -9 at any moment, and can be adopted without its row."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal
from gateway.spool.sweep import adopt, clear_incoming, sweep
from tests import builders
from tests.integration.receiving import PET, RawPeer, data_set_of, digest_of

#: The receiver in a process of its own, on a listener that it inherits; the ledger's place is taken by a sink.
_RECEIVER = """
import socket, sys
from pathlib import Path
from gateway.receive.serving import run
from gateway.receive.settings import ReceiveSettings
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

class Sink:
    def record_arrivals(self, batch):
        return []

listener = socket.socket(fileno=int(sys.argv[1]))
files = SpoolFiles(Path(sys.argv[2]), reserve_bytes=0)
journal = Journal(files, capacity_bytes=int(sys.argv[3]), segment_bytes=1 << 20)
run([listener], ReceiveSettings(), files, Sink(), lifeline_fd=0, journal=journal)
"""


def _send_until_it_dies(port: int, first: int, acknowledged: set[str]) -> None:
    """C-STORE new objects, one after the other; remember each whose success was read."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            peer = RawPeer(sock)
            peer.associate()
            for index in range(100_000):
                dataset = builders.pet(SOPInstanceUID=f"1.2.{first}.{index + 1}")
                part10 = builders.part10(dataset)
                if peer.store(PET, dataset.SOPInstanceUID, data_set_of(part10))[0] == 0x0000:
                    acknowledged.add(digest_of(part10))
    except (ConnectionError, OSError):
        return


@pytest.mark.parametrize("journal_bytes", [0, 4 << 20])
@pytest.mark.parametrize("peers", [1, 3])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, peers: int, journal_bytes: int) -> None:
    acknowledged: set[str] = set()
    enough = random.Random(peers).randint(15, 40)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", _RECEIVER, str(listener.fileno()), str(tmp_path), str(journal_bytes)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        listener.close()
        senders = [threading.Thread(target=_send_until_it_dies, args=(port, 10 + n, acknowledged)) for n in range(peers)]
        for sender in senders:
            sender.start()
        while len(acknowledged) < enough and process.poll() is None:
            senders[0].join(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for sender in senders:
            sender.join(30)
    files = SpoolFiles(tmp_path, reserve_bytes=0)
    clear_incoming(files, older_than_secs=-1)
    Journal(files, capacity_bytes=0).replay()
    adopted = {received.instance.digest: received for received in (adopt(files, found) for found in sweep(files))}
    assert len(acknowledged) >= enough
    assert acknowledged <= set(adopted)
    assert all(received.reason is None for received in adopted.values())
    assert list((tmp_path / "incoming").iterdir()) == []


def test_sigterm_ends_the_receiver_cleanly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", _RECEIVER, str(listener.fileno()), str(tmp_path), "0"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        with socket.create_connection(listener.getsockname(), timeout=20) as sock:
            RawPeer(sock).associate()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        process.communicate()


def test_the_receiver_ends_when_its_supervisor_does(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", _RECEIVER, str(listener.fileno()), str(tmp_path), "0"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        with socket.create_connection(listener.getsockname(), timeout=20) as sock:
            RawPeer(sock).associate()
            process.communicate(timeout=20)  # closes the lifeline
        assert process.returncode == 0
