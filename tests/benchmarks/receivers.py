"""The receivers that are compared. Each is started in a fresh directory on loopback, for one run, and ended by its own process id.

What a receiver costs is read from ``/proc``: processor time of all its processes, and the peak memory of the one that receives.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import echo
from tests.harness.chaos import Installation
from tests.harness.waiting import free_port

PEERS = Path(__file__).parent / "peers"
START_SECS = 30.0
SETTLE_SECS, SETTLE_STEP_SECS = 5.0, 0.2
#: DCMTK and what is built on it switch Nagle's algorithm off only when told so.
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A receiver that runs: its first process, and the one that receives."""

    address: AEAddress
    pid: int
    receiving_pid: int

    def cpu_seconds(self) -> float:
        """Processor time so far of all its processes, also of those that have ended."""
        first = psutil.Process(self.pid)
        return sum(_cpu_seconds(process) for process in (first, *first.children(recursive=True)))

    def peak_mebibytes(self) -> float:
        """The most memory that the receiving process has ever held."""
        lines = Path(f"/proc/{self.receiving_pid}/status").read_text().splitlines()
        kibibytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), "0")
        return int(kibibytes) / 1024

    def settle(self) -> None:
        """Wait until it has nothing more to do, so that one measurement does not pay for the one before; at most some seconds."""
        deadline = time.monotonic() + SETTLE_SECS
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(SETTLE_STEP_SECS)
            now = self.cpu_seconds()
            if now - before < SETTLE_STEP_SECS / 20:
                return
            before = now


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


@dataclass(frozen=True, slots=True)
class Receiver:
    """``promise`` says what is on the disk when it answers 0x0000."""

    name: str
    promise: str
    needs: str | None
    running: Callable[[Path], AbstractContextManager[Peer]]
    is_aside: bool = False  #: none of those that the others are compared with
    runs_most: int = 1000  #: a slow peer need not be measured as often

    @property
    def present(self) -> bool:
        return self.needs is None or find(self.needs) is not None


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _isobridge(directory: Path) -> AbstractContextManager[Peer]:
    """The whole daemon: it reads and maps what comes in meanwhile; publishing waits until the study is quiet, after the run."""
    return _daemon(directory, {})


def _isobridge_idle(directory: Path) -> AbstractContextManager[Peer]:
    """The same, but the worker looks for work only after the run: what the receiver alone can do, as its peers."""
    return _daemon(directory, {"work": {"poll_millisecs": 600_000}})


@contextmanager
def _daemon(directory: Path, settings: dict[str, dict[str, int]]) -> Iterator[Peer]:
    shipped = {"gather": {"quiet_secs": 60, "quiet_cap_secs": 3600}, "spool": {"journal_megabytes": 96}}
    with Installation(directory / "isobridge", settings=shipped | settings) as installation:
        address = installation.address
        assert address is not None
        reachable = AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)
        yield Peer(reachable, installation.pid, _receiving(installation))


def _receiving(installation: Installation) -> int:
    """The role that holds the spool's lock."""
    lock = str((installation.data / "spool" / "receiver.lock").resolve())
    for process in psutil.Process(installation.pid).children(recursive=True):
        if any(file.path == lock for file in process.open_files()):
            return process.pid
    raise RuntimeError("no process of the daemon receives")


@contextmanager
def _orthanc(directory: Path) -> Iterator[Peer]:
    """Debian's Orthanc with its own index (SQLite), web server off."""
    port = free_port()
    config = {
        "Name": "bench", "DicomAet": "ORTHANC", "DicomPort": port, "HttpServerEnabled": False, "DicomCheckCalledAet": False,
        "StorageDirectory": str(directory / "storage"), "IndexDirectory": str(directory / "storage"), "Plugins": [],
    }  # fmt: skip
    (directory / "orthanc.json").write_text(json.dumps(config))
    with _process([find("Orthanc") or "Orthanc", str(directory / "orthanc.json")], directory) as process:
        yield Peer(_answering(AEAddress(ae_title="ORTHANC", host="127.0.0.1", port=port)), process.pid, process.pid)


@contextmanager
def _storescp(directory: Path) -> Iterator[Peer]:
    port = free_port()
    (directory / "out").mkdir()
    command = ["storescp", "--fork", "--max-pdu", "131072", "-od", str(directory / "out"), str(port)]
    with _process(command, directory) as process:
        yield Peer(_answering(AEAddress(ae_title="STORESCP", host="127.0.0.1", port=port)), process.pid, process.pid)


@contextmanager
def _pynetdicom(directory: Path) -> Iterator[Peer]:
    (directory / "out").mkdir()
    command = [sys.executable, str(PEERS / "run_pynetdicom.py"), str(directory / "out")]
    with _process(command, directory) as process:
        assert process.stdout is not None
        address = AEAddress(ae_title="PEER", host="127.0.0.1", port=int(process.stdout.readline()))
        yield Peer(address, process.pid, process.pid)


ISOBRIDGE = Receiver("Isobridge, whole daemon", "journal (or file + directory) sync", None, _isobridge)
ISOBRIDGE_IDLE = Receiver("Isobridge, worker idle", "the same", None, _isobridge_idle, is_aside=True)
RECEIVERS = (
    ISOBRIDGE,
    ISOBRIDGE_IDLE,
    Receiver("Orthanc (Debian), SQLite index", "file fsync, index not", "Orthanc", _orthanc),
    Receiver("DCMTK storescp", "nothing", "storescp", _storescp),
    Receiver("pynetdicom, handler + fsync", "file fsync", None, _pynetdicom, is_aside=True, runs_most=2),
)


@contextmanager
def _process(command: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / "peer.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=NO_DELAY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _answering(address: AEAddress) -> AEAddress:
    """Wait until the peer answers a C-ECHO."""
    deadline = time.monotonic() + START_SECS
    while not echo(address).ok:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{address} did not start")
        time.sleep(0.05)
    return address
