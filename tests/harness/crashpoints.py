"""Ends a role at one chosen system call: ``strace -e inject=fdatasync:signal=KILL:when=3`` on one of its threads, or on all.

A recording tells which calls a piece of work makes; each of them is a crash point. The signal comes when the call is entered, so the call
itself is not done. Of the page writes of one SQLite transaction only the last is a point: before it they all leave the same, a log without
a commit.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness.heldroles import state_of

#: What changes files or names, and what makes that durable.
CALLS = (
    *("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "ftruncate"),
    *("pwrite64", "pwritev", "writev", "sendfile", "openat"),
)
_ENTERED = re.compile(r"^(?P<task>\d+)\s+(?P<call>\w+)\((?P<rest>.*)$")
_CREATES = re.compile(r"O_CREAT")
#: Shared memory of SQLite: no file that anybody relies on after a crash.
_OF_NO_INTEREST = re.compile(r'-shm"|EEXIST')


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """The n-th call of this name (from 1) by the n-th thread (from 0; -1: whichever thread comes to it first)."""

    thread: int
    call: str
    number: int

    def __str__(self) -> str:
        who = "any thread" if self.thread < 0 else f"thread {self.thread}"
        return f"{self.call} {self.number} of {who}"


class Tracer:
    """A strace on a process, or on one of its threads, until the block ends."""

    def __init__(self, pid: int, log: Path, *, point: Point | None = None) -> None:
        self.log = log
        self._pid = pid
        self._point = point
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Tracer:
        point = self._point
        calls = [f"trace={','.join(CALLS)}"] if point is None else [f"trace={point.call}", _injection(point)]
        threads = threads_of(self._pid)
        one = point is not None and 0 <= point.thread < len(threads)
        whom = ["-p", str(threads[point.thread])] if point and one else ["-f", "-p", str(self._pid)]
        options = [item for option in calls for item in ("-e", option)]
        self._process = subprocess.Popen(
            ["strace", "-o", str(self.log), *options, *whom], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        told = self._process.stderr.readline()
        if "attached" not in told:
            raise RuntimeError(told)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        if self._process.poll() is None:  # either way it lets go of the process, which lives on
            self._process.send_signal(signal.SIGINT if self._point is None else signal.SIGKILL)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stderr.close()


def _injection(point: Point) -> str:
    return f"inject={point.call}:signal=KILL:when={point.number}"


def threads_of(pid: int) -> list[int]:
    """The ids of the threads of a process, in the order in which they were made."""
    return sorted(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())


def points_in(log: Path, threads: list[int]) -> list[Point]:
    """The crash points of a recording, in the order in which they came."""
    counts: dict[tuple[int, str], int] = {}
    found: list[Point] = []
    last: dict[int, Point] = {}
    for line in log.read_text(errors="replace").splitlines():
        entered = _ENTERED.match(line)
        if entered is None:
            continue
        task, call, rest = int(entered["task"]), entered["call"], entered["rest"]
        number = counts[task, call] = counts.get((task, call), 0) + 1
        if _OF_NO_INTEREST.search(rest) or (call == "openat" and not _CREATES.search(rest)):
            continue
        point = Point(threads.index(task) if task in threads else -1, call, number)
        if call == "pwrite64" and last.get(task) == Point(point.thread, call, number - 1):
            found.remove(last[task])  # of a run of page writes the last one stands for all
        last[task] = point
        found.append(point)
    return found


@contextlib.contextmanager
def recording(pid: int, log: Path, points: list[Point]) -> Iterator[None]:
    """Notes in ``points`` the crash points that the block's work has."""
    with Tracer(pid, log):
        yield
        threads = threads_of(pid)
    points += points_in(log, threads)


def strike(
    pid: int, log: Path, point: Point, work: Callable[[], None], is_done: Callable[[], bool], *, secs: float = 20.0
) -> bool:
    """Have the process do ``work`` with a crash point set. True when it died there, False when the work was done without coming to it."""
    with Tracer(pid, log, point=point):
        if state_of(pid) in "Tt":
            os.kill(pid, signal.SIGCONT)
        work()
        deadline = time.monotonic() + secs
        while state_of(pid) not in ("", "Z"):
            if is_done():
                return False
            if time.monotonic() > deadline:
                raise TimeoutError(f"neither dead nor done: {point}")
            time.sleep(0.03)
    return True
