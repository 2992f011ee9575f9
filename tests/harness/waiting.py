"""Waiting for what comes true by itself, and ports that nobody uses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def until(holds: Callable[[], object], what: str = "it never happened", *, secs: float = 120, every_secs: float = 0.1) -> None:
    """Until something holds; fails with ``what`` when it does not in time."""
    deadline = time.monotonic() + secs
    while not holds():
        assert time.monotonic() < deadline, f"not in {secs:.0f} s: {what}"
        time.sleep(every_secs)


def free_port() -> int:
    """For peers that cannot choose a port themselves, and for addresses that are named before anybody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
