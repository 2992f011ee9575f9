"""Runs the daemon as a hospital would, and kills it as nobody should: ``kill -9`` to the whole tree, at random moments.

A fresh :class:`Installation` is a directory with a settings file, a data directory and the installation key. Ports are chosen by
the system at each start; ``data/run.json`` tells which.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.harness.witness import Address, address_in

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECS = 60.0
POLL_SECS = 0.02


class DidNotStart(RuntimeError):
    """The daemon ended or stayed silent instead of becoming ready; the message holds the end of its log."""


class Installation:
    """A directory in which one daemon runs: settings, data, log. The daemon is started and ended from here only."""

    def __init__(
        self, directory: Path, *, key_file: Path | None = None, settings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "daemon.log"
        self.run_file = self.data / "run.json"
        self.config = directory / "gateway.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        chosen: dict[str, dict[str, Any]] = {
            "data": {"directory": str(self.data)},
            "receive": {"bind": "127.0.0.1:0"},
            "web": {"bind": "127.0.0.1:0"},
            "gather": {"quiet_secs": 1, "quiet_cap_secs": 5},
            "spool": {"journal_megabytes": 8},
            "mappings": {"directory": str(REPOSITORY / "mappings")},
        }
        if key_file is not None:
            chosen["identity"] = {"key_file": str(key_file)}
        for section, options in (settings or {}).items():
            chosen.setdefault(section, {}).update(options)
        # JSON is YAML: nothing needs quoting.
        self.config.write_text(json.dumps(chosen, indent=2))

    @property
    def key_file(self) -> Path:
        """Where the daemon keeps the installation key unless told otherwise."""
        return self.data / "keys" / "installation.key"

    @property
    def address(self) -> Address | None:
        return address_in(self.run_file)()

    @property
    def fhir_url(self) -> str:
        return str(json.loads(self.run_file.read_text())["http"]["url"]) + "/fhir"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it is ready. Raises :class:`DidNotStart`."""
        self.launch()
        assert self._process is not None
        deadline = time.monotonic() + START_SECS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise DidNotStart(self.log_tail())
            time.sleep(POLL_SECS)

    def launch(self) -> None:
        """Start, and do not wait."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.run_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve", "--config", str(self.config)],
                cwd=REPOSITORY, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _is_ready(self) -> bool:
        try:
            run = json.loads(self.run_file.read_text())
            answered = requests.get(run["http"]["url"] + "/readyz", timeout=5)
        except (OSError, ValueError, KeyError):
            return False
        return run["pid"] == self.pid and answered.ok

    def kill(self) -> None:
        """SIGKILL to the daemon and everything it started; returns when all are gone."""
        if self._process is None:
            return
        tree = _tree(self._process.pid)
        # The daemon leads a session of its own, so its group is its tree; one call leaves no time to start another child.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in tree:
            _send_signal(process, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(tree, timeout=10)
        self._process = None

    def kill_one_role(self, rng: random.Random) -> None:
        """SIGKILL to one child process: the supervisor must bring the role back."""
        assert self._process is not None
        children = _tree(self._process.pid)[1:]
        if children:
            _send_signal(rng.choice(children), signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM and wait: the orderly end. Whatever is left after 60 s is killed."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=60)
        self.kill()

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Installation:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def clean_environment() -> dict[str, str]:
    """Ours without settings for the gateway, and with Python's byte code cache: a start without it takes three times as long."""
    dropped = ("PYTHONDONTWRITEBYTECODE",)
    return {name: value for name, value in os.environ.items() if not name.startswith("ISOBRIDGE_") and name not in dropped}


def _tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants, the root first."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _send_signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One kill: how long the daemon had lived, and what was hit."""

    lived_secs: float
    whole_tree: bool


class Killer:
    """Kills the daemon at random moments and starts it again, in its own thread, until the blows are spent.

    The moments come from the seed, which is printed, but what the daemon is doing at those moments is up to the machine.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        blows: int,
        seed: int,
        shortest_secs: float = 0.05,
        longest_secs: float = 1.5,
        one_role_share: float = 0.25,
    ) -> None:
        self._installation = installation
        self._blows = blows
        self._rng = random.Random(seed)
        self._between = (shortest_secs, longest_secs)
        self._one_role_share = one_role_share
        self._thread = threading.Thread(target=self._run, name="killer")
        self._failure: Exception | None = None
        self.dealt: list[Blow] = []
        print(f"chaos: seed {seed}, {blows} kills")

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for the last blow; the daemon runs again then. Raises what went wrong in the thread."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while len(self.dealt) < self._blows:
                self._strike()
        except (DidNotStart, OSError) as error:
            self._failure = error

    def _strike(self) -> None:
        lives_secs = self._rng.uniform(*self._between)
        time.sleep(lives_secs)
        whole_tree = self._rng.random() >= self._one_role_share
        if whole_tree:
            self._installation.kill()
            self._installation.start()
        else:
            self._installation.kill_one_role(self._rng)
        self.dealt.append(Blow(lived_secs=lives_secs, whole_tree=whole_tree))


def main() -> int:
    parser = argparse.ArgumentParser(description="Start a daemon and kill it again and again; send to it meanwhile.")
    parser.add_argument("directory", type=Path, help="a fresh directory for the installation")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = parser.parse_args()
    installation = Installation(chosen.directory)
    with installation, Killer(installation, blows=chosen.kills, seed=chosen.seed) as killer:
        print(f"run file: {installation.run_file}")
        killer.join()
    print(f"{len(killer.dealt)} kills, each followed by a clean start")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
