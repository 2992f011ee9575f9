"""A role as a child process: a fork of the supervisor, which has read all code and the mappings in force already.

So a start reads them once for all roles, and a role that dies is back at once: nobody waits for imports while a scanner calls. The
supervisor must have one thread only and no open database when it forks, since neither survives a fork.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from gateway.errors import GatewayError, told


class Closable(Protocol):
    """A socket or a file."""

    def close(self) -> None: ...


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def settle() -> None:
    """Before the first fork: what is there now is there for good, so no role need touch, and thereby copy, its pages."""
    gc.collect()
    gc.freeze()


def start(name: str, run: Callable[[], None], *, closes: Sequence[int | Closable]) -> BaseProcess:
    """Fork, and let ``run`` be all that the child does. ``closes`` is what belongs to the supervisor or to another role."""

    def live() -> None:
        for one in closes:
            os.close(one) if isinstance(one, int) else one.close()
        _be_oneself(name, before)
        try:
            run()
        except (GatewayError, OSError) as error:
            lines, code = told(error)
            print(*lines, sep="\n", file=sys.stderr, flush=True)
            sys.exit(code)

    process = multiprocessing.get_context("fork").Process(target=live, name=name)
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, _SIGNALS
    )  # else a signal may reach the child under the supervisor's handler
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def _be_oneself(name: str, mask: set[int]) -> None:
    """The handlers of a fresh process, and a name of its own for ``ps -e`` and ``top``."""
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/comm").write_text(process_name(name))


def process_name(role: str) -> str:
    """What the process of a role is called; the system keeps 15 characters."""
    return f"isobr-{role}"[:15]
