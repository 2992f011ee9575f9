"""The DICOM receiver: one event-driven loop for all associations, in a process of its own.

Sockets, timers and the way out are here; what becomes of the objects stands in :mod:`gateway.receive.objects`. Nothing in this
process parses more than lengths: a thread that computed would slow the loop down many times over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from gateway.dicom.commitment import RESOURCE_LIMITATION
from gateway.receive import guard
from gateway.receive.commitment import CommitmentDesk
from gateway.receive.commitment import Connection as CommitmentPeer
from gateway.receive.commitment import Rows as CommitmentRows
from gateway.receive.connection import Connection
from gateway.receive.door import Door
from gateway.receive.objects import Objects
from gateway.receive.pressure import Pressure
from gateway.receive.rows import Rows
from gateway.receive.settings import ReceiveSettings
from gateway.receive.talk import OnEvent, State
from gateway.receive.tls import TlsPort
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal

_log = structlog.get_logger()

_READ_BYTES = 256 << 10
#: Connections that have not asked for an association yet, and those to which all is said: beyond this, the oldest of the address that
#: has the most gives way to a new one.
_WAITING_MOST = 100
_ENDING_MOST = 100
_TICK_SECS = 1.0
#: Answers are short. The system would keep megabytes of them for a peer that reads none.
_SEND_BUFFER_BYTES = 64 << 10


class Receiver:
    """The loop's state. Also what associations see of it (:class:`~gateway.receive.talk.Host`)."""

    def __init__(
        self,
        settings: ReceiveSettings,
        files: SpoolFiles,
        rows: Rows,
        journal: Journal | None,
        on_event: OnEvent,
        commitments: CommitmentRows | None = None,
    ) -> None:
        self.settings = settings
        self.door = Door(files, max_object_bytes=settings.max_object_bytes)
        self.on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._open = 0
        self._room = memoryview(bytearray(_READ_BYTES))
        self._calls: deque[Callable[[], None]] = deque()  # from other threads
        self._wake_in, self._wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop_at: float | None = None
        self.closed_for: str | None = None  #: why no object is taken as long as this runs
        self._objects = Objects(self, files, rows, journal)
        self._pressure = Pressure(files.directory, warn_bytes=settings.warn_bytes, reject_bytes=settings.reject_bytes)
        self._desk = CommitmentDesk(commitments, self.from_thread, self._settle_report) if commitments else None

    def open_associations(self) -> int:
        return self._open

    def associations_from(self, peer: str) -> int:
        return sum(each.is_open and each.association.peer == peer for each in self._connections)

    def congestion(self) -> str | None:
        return self._pressure.look()

    def refusal(self) -> str | None:
        return self.closed_for or self._objects.refusal()

    def stop(self) -> None:
        """Begin to drain. May be called from a signal handler or another thread."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self.settings.drain_timeout_secs
            self.wake()

    def serve(
        self, listeners: Sequence[socket.socket], lifeline_fd: int | None, tls: tuple[socket.socket, TlsPort] | None = None
    ) -> None:
        """Run until drained."""
        doors: list[tuple[socket.socket, TlsPort | None]] = [(listener, None) for listener in listeners] + ([tls] if tls else [])
        for listener, port in doors:
            listener.setblocking(False)
            accept = partial(self._accept, listener, port)
            self._selector.register(listener, selectors.EVENT_READ, lambda _mask, accept=accept: accept())
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_wake)
        if lifeline_fd is not None:
            self._selector.register(lifeline_fd, selectors.EVENT_READ, lambda _mask: self._on_lifeline(lifeline_fd))
        _log.info("receiver_started", action="receiver_started", count=len(doors))
        self._serve_until_stopped()
        for listener, _port in doors:
            self._selector.unregister(listener)
        self._drain()
        _log.info("receiver_stopped", action="receiver_stopped")

    def close(self) -> None:
        """Let go of everything; rows are written once more."""
        for connection in list(self._connections):
            self._close(connection, "the receiver stops")
        with contextlib.ExitStack() as last:  # whatever fails on the way, the rest is still let go of
            last.callback(self._let_go)
            last.callback(self._objects.close)
            if self._desk is not None:
                last.callback(self._desk.stop)
            last.callback(self._make_calls)  # what became durable meanwhile still gets its row
            last.callback(self._objects.drain)

    def _make_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def _let_go(self) -> None:
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _serve_until_stopped(self) -> None:
        tick_secs = min(_TICK_SECS, self.settings.shortest_timeout_secs() / 4)
        next_tick = time.monotonic() + tick_secs
        while self._stop_at is None:
            self._turn(tick_secs if self._connections else None)
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + tick_secs
                self._end_overdue(now)
                self._pressure.look()
                self._objects.raise_failure()

    def _drain(self) -> None:
        while self._connections and self._stop_at is not None and time.monotonic() < self._stop_at:
            for connection in list(self._connections):
                if connection.is_idle:
                    connection.association.abort(guard.NOT_SPECIFIED, "the receiver stops")
                    connection.flush()
                    self._close(connection, connection.association.ended_by)
            self._turn(0.1)

    def _turn(self, timeout_secs: float | None) -> None:
        for key, mask in self._selector.select(timeout_secs):
            key.data(mask)
        self._objects.commit_gathered()
        while self._calls:
            self._calls.popleft()()
            self._objects.commit_gathered()

    # What happens on the sockets

    def _accept(self, listener: socket.socket, port: TlsPort | None) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:  # gone again, or no descriptor is free; the listener will say so again
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room(0)
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._make_room(_WAITING_MOST)
        try:
            connection = Connection(port.wrap(sock) if port else sock, str(address[0]) if address else "", self)
        except OSError:
            sock.close()  # gone again before the handshake
            return
        self._connections.add(connection)
        self._watch(connection)

    def _make_room(self, most: int) -> None:
        """A flood of one address costs that address its own connections, never those of others."""
        for state, most_of_it in ((State.WAITING, most), (State.ENDING, min(most, _ENDING_MOST))):
            found = [each for each in self._connections if each.association.state is state and not each.is_paused]
            if found and len(found) >= most_of_it:
                crowd = Counter(each.association.peer for each in found).most_common(1)[0][0]
                oldest = min((each for each in found if each.association.peer == crowd), key=lambda each: each.opened_at)
                self._close(oldest, "gave way to a new connection")

    def _on_ready(self, connection: Connection, mask: int) -> None:
        if (mask & selectors.EVENT_READ or connection.is_shaking_hands) and not connection.read(self._room):
            self._close(connection, connection.association.ended_by)
            return
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Go on with what has been read, until the peer must speak again or its object is being made durable."""
        while True:
            connection.advance()
            self._count(connection)
            action = connection.association.action
            if action is not None and self._desk is None:
                connection.association.answer(RESOURCE_LIMITATION, self.closed_for or "Not just now.")
                continue
            if action is not None and self._desk is not None:
                self.pause(connection)
                self._desk.take(connection, action, partial(self.resume, connection))
                return
            job = connection.association.job
            if job is None:
                break
            if not self._objects.finish(connection, job):
                return
        self._settle(connection)

    def _settle_report(self, connection: CommitmentPeer) -> None:
        """An event report stands in ``out``: send it."""
        if isinstance(connection, Connection) and connection in self._connections and not connection.is_paused:
            self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        """Send the answers; then listen on, or close."""
        association = connection.association
        if not connection.flush():
            self._close(connection, association.ended_by)
            return
        if association.state is State.OPEN and self._open == 1:
            self._objects.make_ready()
        if association.state is State.ENDING and not association.out:
            self._end(connection)
        else:
            self._watch(connection)

    def _end(self, connection: Connection) -> None:
        """All is said: let the peer close first, so that it reads our last words (PS3.8 9.2, state 13)."""
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
        self._watch(connection)

    def _count(self, connection: Connection) -> None:
        is_open = connection.association.state is State.OPEN
        if is_open != connection.is_open:
            self._open += 1 if is_open else -1
            connection.is_open = is_open
            if self._desk is not None and not is_open:
                self._desk.ended(connection)
            self.tell(connection, "association_opened" if is_open else "association_ended")

    def _close(self, connection: Connection, why: str) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._unwatch(connection)
        connection.association.ended_by = why
        connection.association.state = State.ENDING
        connection.association.forget()
        self._count(connection)
        connection.sock.close()

    def _end_overdue(self, now: float) -> None:
        for connection in list(self._connections):
            why = connection.is_overdue(now)
            if why is not None:
                connection.association.abort(guard.NOT_SPECIFIED, why)
                connection.flush()
                self._close(connection, why)

    # What objects need of the loop (:class:`~gateway.receive.objects.Loop`)

    def pause(self, connection: Connection) -> None:
        """Read nothing more of this peer until ``resume``."""
        connection.is_paused = True
        self._unwatch(connection)

    def resume(self, connection: Connection) -> None:
        """Its answer is out: go on with it, if it is still there."""
        connection.is_paused = False
        if connection in self._connections:
            self._advance(connection)

    # The selector and the other threads

    def _watch(self, connection: Connection) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        if connection.watched == wanted:
            return
        if connection.watched:
            self._selector.modify(connection.sock, wanted, lambda mask: self._on_ready(connection, mask))
        else:
            self._selector.register(connection.sock, wanted, lambda mask: self._on_ready(connection, mask))
        connection.watched = wanted

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched:
            self._selector.unregister(connection.sock)
            connection.watched = 0

    def from_thread(self, call: Callable[[], None]) -> None:
        """Have the loop call something soon. Called from any thread."""
        self._calls.append(call)
        self.wake()

    def wake(self) -> None:
        """Make the loop turn. Called from any thread, and from a signal handler."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it will wake; closed: nobody is there
            os.write(self._wake_out, b"\0")

    def _on_wake(self, _mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_in, 4096)
        self._objects.raise_failure()

    def _on_lifeline(self, lifeline_fd: int) -> None:
        if not os.read(lifeline_fd, 4096):
            self._selector.unregister(lifeline_fd)
            self.stop()

    def tell(self, connection: Connection, action: str, **fields: str) -> None:
        """Log what happened with a peer."""
        association = connection.association
        if association.state is State.ENDING:
            fields.setdefault("reason", association.ended_by)
        names = {"calling_ae": association.calling_ae, "called_ae": association.called_ae, "peer": association.peer}
        _log.info(action, action=action, associations=self._open, **names, **fields)
