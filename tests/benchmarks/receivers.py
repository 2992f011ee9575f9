"""The receivers that are compared. Each is started in a fresh directory on loopback, for one run, and ended by its own process id."""

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

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import echo
from tests.harness.chaos import Installation
from tests.harness.waiting import free_port

PEERS = Path(__file__).parent / "peers"
START_SECS = 30.0
#: DCMTK and what is built on it switch Nagle's algorithm off only when told so.
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """``promise`` says what is on the disk when it answers 0x0000."""

    name: str
    promise: str
    needs: str | None
    running: Callable[[Path], AbstractContextManager[AEAddress]]

    @property
    def present(self) -> bool:
        return self.needs is None or find(self.needs) is not None


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _isobridge(directory: Path) -> AbstractContextManager[AEAddress]:
    """The whole daemon: it reads and maps what comes in meanwhile; publishing waits until the study is quiet, after the run."""
    return _daemon(directory, {})


def _isobridge_idle(directory: Path) -> AbstractContextManager[AEAddress]:
    """The same, but the worker looks for work only after the run: what the receiver alone can do, as its peers."""
    return _daemon(directory, {"work": {"poll_millisecs": 600_000}})


@contextmanager
def _daemon(directory: Path, settings: dict[str, dict[str, int]]) -> Iterator[AEAddress]:
    shipped = {"gather": {"quiet_secs": 60, "quiet_cap_secs": 3600}, "spool": {"journal_megabytes": 96}}
    with Installation(directory / "isobridge", settings=shipped | settings) as installation:
        address = installation.address
        assert address is not None
        yield AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)


@contextmanager
def _orthanc(directory: Path) -> Iterator[AEAddress]:
    """Debian's Orthanc with its own index (SQLite), web server off."""
    port = free_port()
    config = {
        "Name": "bench", "DicomAet": "ORTHANC", "DicomPort": port, "HttpServerEnabled": False, "DicomCheckCalledAet": False,
        "StorageDirectory": str(directory / "storage"), "IndexDirectory": str(directory / "storage"), "Plugins": [],
    }  # fmt: skip
    (directory / "orthanc.json").write_text(json.dumps(config))
    with _process([find("Orthanc") or "Orthanc", str(directory / "orthanc.json")], directory):
        yield _answering(AEAddress(ae_title="ORTHANC", host="127.0.0.1", port=port))


@contextmanager
def _storescp(directory: Path) -> Iterator[AEAddress]:
    port = free_port()
    (directory / "out").mkdir()
    command = ["storescp", "--fork", "--max-pdu", "131072", "-od", str(directory / "out"), str(port)]
    with _process(command, directory):
        yield _answering(AEAddress(ae_title="STORESCP", host="127.0.0.1", port=port))


@contextmanager
def _pynetdicom(directory: Path) -> Iterator[AEAddress]:
    (directory / "out").mkdir()
    command = [sys.executable, str(PEERS / "run_pynetdicom.py"), str(directory / "out")]
    with _process(command, directory) as process:
        assert process.stdout is not None
        yield AEAddress(ae_title="PEER", host="127.0.0.1", port=int(process.stdout.readline()))


ISOBRIDGE = Receiver("Isobridge, whole daemon", "journal (or file + directory) sync", None, _isobridge)
RECEIVERS = (
    ISOBRIDGE,
    Receiver("Isobridge, worker idle", "the same", None, _isobridge_idle),
    Receiver("Orthanc (Debian), SQLite index", "file fsync, index not", "Orthanc", _orthanc),
    Receiver("DCMTK storescp", "nothing", "storescp", _storescp),
    Receiver("pynetdicom, handler + fsync", "file fsync", None, _pynetdicom),
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
