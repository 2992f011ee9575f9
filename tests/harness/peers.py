"""Real servers that a gateway publishes to, started and killed by tests: Orthanc, and the FHIR server sekmet-fhir.

Each keeps its port and its storage over restarts, listens on loopback only, and is ended by its own process id.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from pynetdicom.dsutils import split_dataset

from tests.harness.waiting import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECS = 60.0


class Peer:
    """One server process: start, kill -9, start again on the same port with the same storage."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    @property
    def probe(self) -> str:
        """An address that answers when the server is ready."""
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1
        deadline = time.monotonic() + START_SECS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.directory / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return requests.get(self.probe, timeout=2).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """SIGKILL: what it had not written is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Peer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Orthanc(Peer):
    """An Orthanc with its default index; without DICOM port and plugins."""

    def __init__(self, directory: Path, *, user: str | None = None, password: str | None = None, **options: object) -> None:
        super().__init__(directory)
        settings: dict[str, object] = {
            "Name": "test",
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": user is not None,
            "RegisteredUsers": {user: password} if user else {},
            "Plugins": [],
            **options,
        }
        (directory / "orthanc.json").write_text(json.dumps(settings))

    def command(self) -> Sequence[str]:
        program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        assert program is not None
        return [program, str(self.directory / "orthanc.json")]

    @property
    def probe(self) -> str:
        return f"{self.url}/system"

    def _answers(self) -> bool:
        try:
            return requests.get(self.probe, timeout=2).status_code in (200, 401)
        except requests.RequestException:
            return False

    def held(self) -> dict[str, list[str]]:
        """For each SOP Instance UID the digests of what is stored under it, computed from the bytes it gives back."""
        found: dict[str, list[str]] = {}
        with requests.Session() as session:
            for identifier in session.get(f"{self.url}/instances", timeout=60).json():
                content = session.get(f"{self.url}/instances/{identifier}/file", timeout=60).content
                uid, digest = _identity(content, self.directory / "read-back.dcm")
                found.setdefault(uid, []).append(digest)
        return found


class Sekmet(Peer):
    """The FHIR server of other people that we publish to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        settings: dict[str, Any] = {
            "base_url": self.fhir_url,
            "host": "127.0.0.1",
            "port": self.port,
            "data_dir": str(directory / "data"),
            "simulator": {"enabled": False},
            "log_inbound": False,
            "server_auth": {"types": ["none"]},
        }
        (directory / "peer.yaml").write_text(json.dumps(settings))

    @property
    def fhir_url(self) -> str:
        return f"{self.url}/fhir"

    def command(self) -> Sequence[str]:
        python = REPOSITORY / ".peers" / "sekmet-fhir" / "bin" / "python"  # its script names the place where it was installed
        return [str(python), "-m", "sekmet.cli", "serve", "-c", str(self.directory / "peer.yaml")]

    @property
    def probe(self) -> str:
        return f"{self.fhir_url}/metadata"

    def versions(self, kinds: Sequence[str]) -> dict[str, str]:
        """``Type/id`` -> versionId of everything it holds of these types."""
        return {f"{item['resourceType']}/{item['id']}": item["meta"]["versionId"] for kind in kinds for item in self.all(kind)}

    def all(self, kind: str, query: str = "") -> Iterator[dict[str, Any]]:
        return every(self.fhir_url, kind, query)


def every(fhir_url: str, kind: str, query: str = "") -> Iterator[dict[str, Any]]:
    """All that a FHIR server finds, page by page."""
    url: str | None = f"{fhir_url}/{kind}?_count=200{query}"
    while url is not None:
        bundle = requests.get(url, timeout=60).json()
        yield from (entry["resource"] for entry in bundle.get("entry", ()))
        url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None)


def _identity(content: bytes, scratch: Path) -> tuple[str, str]:
    """SOP Instance UID and digest (SHA-256 of transfer syntax and data set) of a Part 10 file."""
    scratch.write_bytes(content)
    meta, offset = split_dataset(scratch)
    digest = hashlib.sha256(str(meta.TransferSyntaxUID).encode("ascii") + content[offset:]).hexdigest()
    return str(meta.MediaStorageSOPInstanceUID), digest


class Outages:
    """Kills peers at random moments and starts each again after a random while, in its own thread, until the blows are spent."""

    def __init__(
        self, peers: Sequence[Peer], *, blows: int, seed: int, longest_up_secs: float = 1.5, longest_down_secs: float = 1.0
    ) -> None:
        self._peers = peers
        self._blows = blows
        self._rng = random.Random(seed)
        self._longest = (longest_up_secs, longest_down_secs)
        self._thread = threading.Thread(target=self._run, name="outages")
        self._failure: Exception | None = None

    def __enter__(self) -> Outages:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            for _ in range(self._blows):
                time.sleep(self._rng.uniform(0.1, self._longest[0]))
                peer = self._rng.choice(self._peers)
                peer.kill()
                time.sleep(self._rng.uniform(0.0, self._longest[1]))
                peer.start()
        except (RuntimeError, OSError) as error:
            self._failure = error
