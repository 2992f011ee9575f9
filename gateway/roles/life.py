"""How a role learns that it is time to end."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


def stop_event(life_line: int) -> threading.Event:
    """Set by SIGTERM, or when the supervisor is gone: the pipe's only writer."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def watch() -> None:
        os.read(life_line, 1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    threading.Thread(target=watch, name="life-line", daemon=True).start()
    return stop
