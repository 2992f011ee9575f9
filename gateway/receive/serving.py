"""Starts and ends the receiver: serve until told to stop, or refuse politely until there is a reason to serve."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from gateway.receive.commitment import Rows as CommitmentRows
from gateway.receive.loop import Receiver
from gateway.receive.rows import Rows
from gateway.receive.settings import ReceiveSettings
from gateway.receive.talk import OnEvent
from gateway.receive.tls import TlsPort
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

#: How often it is looked whether a start that waits may go on.
_READY_SECS = 1.0


def ignore_event(_event: str, /, **_fields: str | int | float) -> None:
    """The ``on_event`` of somebody who keeps no metrics."""


def run(
    listeners: Sequence[socket.socket],
    settings: ReceiveSettings,
    files: SpoolFiles,
    rows: Rows,
    *,
    lifeline_fd: int | None,
    journal: Journal | None = None,
    on_event: OnEvent = ignore_event,
    tls: tuple[socket.socket, TlsPort] | None = None,
    commitments: CommitmentRows | None = None,
) -> None:
    """Serve the bound, listening sockets until SIGTERM, or until ``lifeline_fd`` reads its end (the supervisor is gone).

    Then no new connection is taken, objects half received are finished and answered (``drain_timeout_secs``), rows are
    written, and this returns. The sockets stay the caller's. Raises what ended the writing of rows, should it
    end. ``tls``: a listening socket whose callers must speak TLS. ``commitments``: where requests
    for storage commitment are kept, when the settings offer that.
    """
    with (
        contextlib.closing(Receiver(settings, files, rows, journal, on_event, commitments)) as receiver,
        _stopped_by_signal(receiver),
    ):
        receiver.serve(listeners, lifeline_fd, tls)


def refuse_until(
    listeners: Sequence[socket.socket],
    settings: ReceiveSettings,
    files: SpoolFiles,
    rows: Rows,
    is_ready: Callable[[], bool],
    *,
    reason: str,
    lifeline_fd: int | None,
    on_event: OnEvent = ignore_event,
    tls: tuple[socket.socket, TlsPort] | None = None,
) -> bool:
    """Let callers in and refuse every object (A700, ``reason``) until ``is_ready``, which is asked now and then in a thread of its own.

    False when it was told to stop before that. For a start that must wait: a closed port tells a scanner nothing.
    """
    done, ready = threading.Event(), threading.Event()
    with contextlib.closing(Receiver(settings, files, rows, None, on_event)) as receiver, _stopped_by_signal(receiver):
        receiver.closed_for = reason

        def ask() -> None:
            while not done.wait(_READY_SECS):
                if is_ready():
                    ready.set()
                    receiver.stop()
                    return

        thread = threading.Thread(target=ask, name="recovery")
        thread.start()
        try:
            receiver.serve(listeners, lifeline_fd, tls)
        finally:
            done.set()
            thread.join()
    return ready.is_set()


@contextlib.contextmanager
def _stopped_by_signal(receiver: Receiver) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals; the lifeline is enough
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda *_: receiver.stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
