"""So many clients at one HTTP server, each with one request on the way: rates and latencies.

One thread and plain sockets, so that the clients take as little as possible of the machine that the server runs on.
"""

from __future__ import annotations

import math
import selectors
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

#: So long is waited for answers that are on the way when the time is over.
PATIENCE_SECS = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """All answers of one run. ``failed``: requests that were refused, cut off, or not answered in time."""

    latencies_secs: tuple[float, ...]
    seconds: float
    bytes: int
    failed: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies_secs) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Not a number when nothing was answered."""
        if len(self.latencies_secs) < 2:
            return 1000 * self.latencies_secs[0] if self.latencies_secs else math.nan
        return 1000 * statistics.quantiles(self.latencies_secs, n=100, method="inclusive")[percent - 1]


class _Client:
    """One keep-alive connection. Understands answers with a Content-Length, as all servers here give."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._answer = bytearray()
        self._whole = 0

    def send(self, request: bytes) -> None:
        self._answer.clear()
        self._whole = 0
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bytes | None:
        """The whole answer, or ``None`` while a part of it is missing. Raises ``OSError`` when the server hangs up."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionResetError("the server closed the connection")
        self._answer += part
        if not self._whole:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self._answer[:end]).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            if not found:
                raise ConnectionAbortedError("an answer without a Content-Length")
            self._whole = end + 4 + int(rest.partition(b"\r\n")[0])
        return bytes(self._answer) if len(self._answer) >= self._whole else None


class _Run:
    """Clients at one server: each sends its next request when it has the answer to the last. What goes wrong is counted."""

    def __init__(self, host: str, port: int, requests: Iterator[bytes]) -> None:
        self._where = host, port
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self.latencies: list[float] = []
        self.bytes = 0
        self.failed = 0

    def ask(self, clients: int, seconds: float, patience_secs: float) -> float:
        """Returns the seconds until the last answer, or until patience ended."""
        started = time.perf_counter()
        for _ in range(clients):
            self._begin()
        while self._selector.get_map() and time.perf_counter() - started < seconds + patience_secs:
            for key, _ in self._selector.select(timeout=0.1):
                self._look(key.data, time.perf_counter() - started < seconds)
        self.failed += len(self._selector.get_map())
        ended = time.perf_counter()
        for key in list(self._selector.get_map().values()):
            self._end(key.data)
        self._selector.close()
        return ended - started

    def _begin(self) -> None:
        try:
            client = _Client(*self._where)
            client.send(next(self._requests))
        except OSError:
            self.failed += 1
            return
        self._selector.register(client.socket, selectors.EVENT_READ, client)

    def _end(self, client: _Client) -> None:
        """At once: a server may close a connection that is idle for some seconds, and that is no failure."""
        self._selector.unregister(client.socket)
        client.socket.close()

    def _look(self, client: _Client, goes_on: bool) -> None:
        try:
            answer = client.read()
            if answer is None:
                return
            self._count(answer, time.perf_counter() - client.sent_at)
            if goes_on:
                client.send(next(self._requests))
                return
        except OSError:
            self.failed += 1
        self._end(client)
        if goes_on:
            self._begin()

    def _count(self, answer: bytes, seconds: float) -> None:
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            return
        self.latencies.append(seconds)
        self.bytes += len(answer)


def measure(
    base: str, paths: Sequence[str], *, clients: int, seconds: float, first: int = 0, patience_secs: float = PATIENCE_SECS
) -> Measured:
    """Ask the addresses in turn, from number ``first`` on, for so long. Only answers of status 200 count, all else as failed."""
    where = urlsplit(base)
    assert where.hostname is not None
    port = where.port or 80
    run = _Run(where.hostname, port, _requests(f"{where.hostname}:{where.port}", where.path, paths, first))
    took = run.ask(clients, seconds, patience_secs)
    return Measured(tuple(run.latencies), took, run.bytes, run.failed)


def _requests(host: str, root: str, paths: Sequence[str], first: int) -> Iterator[bytes]:
    number = first
    while True:
        path = paths[number % len(paths)]
        yield f"GET {root}/{path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/fhir+json\r\n\r\n".encode()
        number += 1
