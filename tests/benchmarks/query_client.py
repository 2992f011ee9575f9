"""So many clients at one HTTP server, each with one request on the way: rates and latencies.

One thread and plain sockets, so that the clients take as little as possible of the machine that the server runs on.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Measured:
    """All answers of one run."""

    latencies_secs: tuple[float, ...]
    seconds: float
    bytes: int

    @property
    def rate(self) -> float:
        return len(self.latencies_secs) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        if len(self.latencies_secs) < 2:
            return 1000 * self.latencies_secs[0]
        return 1000 * statistics.quantiles(self.latencies_secs, n=100, method="inclusive")[percent - 1]


class _Client:
    """One keep-alive connection. Understands answers with a Content-Length, as both servers give."""

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
        """The whole answer, or ``None`` while a part of it is missing. Raises ``AssertionError`` when it is none."""
        part = self.socket.recv(1 << 18)
        assert part, "the server closed the connection"
        self._answer += part
        if not self._whole:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = bytes(self._answer[:end]).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            assert found, head
            self._whole = end + 4 + int(rest.partition(b"\r\n")[0])
        return bytes(self._answer) if len(self._answer) >= self._whole else None


def measure(base: str, paths: Sequence[str], *, clients: int, seconds: float, first: int = 0) -> Measured:
    """Ask the addresses in turn, from number ``first`` on, for so long. Every answer must be 200: else ``AssertionError``."""
    where = urlsplit(base)
    assert where.hostname is not None
    requests = _requests(f"{where.hostname}:{where.port}", where.path, paths, first)
    latencies: list[float] = []
    received = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = _Client(where.hostname, where.port or 80)
            selector.register(client.socket, selectors.EVENT_READ, client)
        started = time.perf_counter()
        for key in list(selector.get_map().values()):
            key.data.send(next(requests))
        busy = clients
        while busy:
            for key, _ in selector.select():
                answer = key.data.read()
                if answer is None:
                    continue
                now = time.perf_counter()
                assert answer.startswith(b"HTTP/1.1 200"), answer[:600]
                latencies.append(now - key.data.sent_at)
                received += len(answer)
                if now - started < seconds:
                    key.data.send(next(requests))
                else:
                    busy -= 1
        ended = time.perf_counter()
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return Measured(tuple(latencies), ended - started, received)


def _requests(host: str, root: str, paths: Sequence[str], first: int) -> Iterator[bytes]:
    number = first
    while True:
        path = paths[number % len(paths)]
        yield f"GET {root}/{path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/fhir+json\r\n\r\n".encode()
        number += 1
