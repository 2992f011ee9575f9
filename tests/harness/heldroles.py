"""The daemon, except that its roles start when a test says so, and stopped: a tracer can take hold of each before its first step.

    python -m tests.harness.heldroles --config gateway.yaml

reads commands line by line: ``start receive`` answers with the process id of the role, which waits for SIGCONT; ``end`` ends all in flow
order. Everything else is the supervisor's own doing: schema, key, sockets, ``run.json``, the fork.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway import config
from gateway.daemon import Supervisor, _Role
from gateway.telemetry import configure
from tests.harness.chaos import REPOSITORY, Installation, clean_environment
from tests.harness.waiting import until

#: What the log says when a role is ready.
READY = {"receive": "receiver_started", "work": "mappings_in_force"}


class HeldSupervisor(Supervisor):
    """Starts a role on demand and leaves it dead when it dies."""

    def _supervise(self) -> None:
        print("ready", flush=True)
        for line in sys.stdin:
            word, _, name = line.strip().partition(" ")
            if word == "end":
                return
            role = next(item for item in self._children if item.name == name)
            if role.process is not None:
                role.process.join()
            self._start(role)
            assert role.process is not None
            print(role.process.pid, flush=True)

    def _run(self, role: _Role, *, again: bool) -> Callable[[], None]:
        run = super()._run(role, again=again)

        def held() -> None:
            os.kill(os.getpid(), signal.SIGSTOP)
            run()

        return held


class HeldRoles:
    """The other end: a context manager for tests. What it started ends with it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> HeldRoles:
        self._installation.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.harness.heldroles", "--config", str(self._installation.config)]
        with self._installation.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, start_new_session=True,
            )  # fmt: skip
        self._read("ready")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self._process.communicate("end\n", timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def start(self, role: str, *, held: bool = False) -> int:
        """Start a role; its former process must be dead or dying. Returns its process id."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"start {role}\n")
        self._process.stdin.flush()
        pid = int(self._read())
        wait_until_stopped(pid)
        if not held:
            os.kill(pid, signal.SIGCONT)
        return pid

    def start_and_wait(self, role: str, *, secs: float = 60.0) -> int:
        """Start a role and wait until its log says that it is ready."""
        sign = READY[role]
        before = self._said(sign)
        pid = self.start(role)
        until(lambda: self._said(sign) > before, f"{role} is ready", secs=secs, every_secs=0.02)
        return pid

    def _said(self, sign: str) -> int:
        return self._installation.log.read_text(errors="replace").count(sign)

    def _read(self, expected: str = "") -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        while line and expected and line != expected:  # the log of a supervisor goes to stdout as well
            line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(self._installation.log_tail())
        return line


def state_of(pid: int, task: int | None = None) -> str:
    """R, S, D, T (stopped), t (traced), Z, or nothing when it is gone."""
    path = Path(f"/proc/{pid}/task/{task}/stat" if task else f"/proc/{pid}/stat")
    try:
        return path.read_text().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_stopped(pid: int, *, secs: float = 20.0) -> None:
    """Until every thread of a process stands still: none is inside a system call then."""
    deadline = time.monotonic() + secs
    while any(state_of(pid, int(task.name)) not in "Tt" for task in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not stand still")
        time.sleep(0.002)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    settings = config.load(parser.parse_args().config).settings
    configure(level=settings.log.level, style=settings.log.format, role="supervisor")
    HeldSupervisor(settings).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
