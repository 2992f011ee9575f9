"""Hostile peers: each holds a connection and does one bad thing with it, until the receiver closes it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

from tests.harness import corpus
from tests.harness.corpus_wire import ECHO, context, data, pdu, pdv, request, store, user

#: On Linux all of 127.0.0.0/8 is this machine: villains and honest senders have addresses of their own.
BAD_ADDRESS = "127.0.0.2"

#: What a villain sends, piece by piece; at the end of it, it only waits.
Script = Iterator[bytes]


class Villain:
    """``act`` often. ``closed_secs``: from connecting to being closed; None while the connection stands."""

    def __init__(self, kind: str, port: int, script: Script, *, every_secs: float = 0.0, reads: bool = True) -> None:
        self.kind = kind
        self.closed_secs: float | None = None
        self._script = script
        self._every_secs = every_secs
        self._reads = reads
        self._left = b""
        self._next_at = self._opened_at = time.monotonic()
        self._sock = socket.socket()
        if not reads:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.settimeout(10)
        self._sock.bind((BAD_ADDRESS, 0))
        self._sock.connect(("127.0.0.1", port))
        self._sock.setblocking(False)

    def act(self) -> None:
        """Say the next word, if it is time; notice the end."""
        if self.closed_secs is not None:
            return
        try:
            self._speak()
            if self._reads:
                while self._sock.recv(65536):
                    pass
                self._end()
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def close(self) -> None:
        self._sock.close()

    def _speak(self) -> None:
        now = time.monotonic()
        if not self._left and now >= self._next_at:
            self._left = next(self._script, b"")
            self._next_at = now + self._every_secs
        if self._left:
            try:
                self._left = self._left[self._sock.send(self._left) :]
            except BlockingIOError:
                return

    def _end(self) -> None:
        self.closed_secs = time.monotonic() - self._opened_at
        self._sock.close()


def _byte_by_byte(sent: bytes, *, first: bytes = b"") -> Script:
    if first:
        yield first
    for place in range(len(sent)):
        yield sent[place : place + 1]


def _and_then(*pieces: bytes) -> Script:
    yield from pieces


def _object_in_drops() -> Script:
    """Whole PDUs, so that no PDU is ever late, and an object that never ends."""
    yield request()
    yield data(pdv(1, 3, store()))
    yield from repeat(data(pdv(1, 0, b"\0\0")))


def _bombs() -> Script:
    bomb = corpus.deflate(
        corpus.sound(behind=struct.pack("<HH2sHI", 0x0040, 0x0A30, b"SQ", 0, 8 * 400_000) + corpus.item(b"") * 400_000)
    )
    yield request(context(1, corpus.PET, corpus.DEFLATED), user())
    for _ in range(2):
        yield data(pdv(1, 3, store()), pdv(1, 2, bomb))


def _scripts() -> dict[str, tuple[int, Callable[[], Script], float, bool]]:
    """Kind -> how many, what they say, how often, whether they read."""
    return {
        "silence": (500, lambda: _and_then(), 0, True),
        "a head of 4 GiB": (20, lambda: _and_then(pdu(1, b"", length=0xFFFFFFFF) + bytes(60_000)), 0, True),
        "HTTP": (20, lambda: _and_then(b"GET / HTTP/1.1\r\n\r\n"), 0, True),
        "TLS": (20, lambda: _and_then(b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500)), 0, True),
        "half a request": (20, lambda: _and_then(request()[:-9]), 0, True),
        "a request byte by byte": (20, lambda: _byte_by_byte(request()), 0.05, True),
        "too many associations": (40, lambda: _and_then(request()), 0, True),
        "half a PDU": (2, lambda: _and_then(request() + pdu(4, bytes(9), length=2000)), 0, True),
        "a PDU byte by byte": (2, lambda: _byte_by_byte(pdu(4, bytes(9), length=5000), first=request()), 0.1, True),
        "a data PDU of 4 GiB": (5, lambda: _and_then(request() + pdu(4, b"", length=0xFFFFFFFF)), 0, True),
        "an object in drops": (2, _object_in_drops, 0.05, True),
        "echoes whose answers nobody reads": (
            2,
            lambda: (piece for piece in (request(), *repeat(ECHO * 200, 100_000))),
            0,
            False,
        ),
        "bombs": (2, _bombs, 0.2, True),
    }


def waves(port: int) -> list[Callable[[], list[Villain]]]:
    """Kind after kind, when called; those that hold associations first, or none of them would get one."""
    scripts = _scripts()
    order = sorted(scripts, key=lambda kind: (scripts[kind][0] > 5, kind == "silence"))
    return [partial(_wave, kind, port, *scripts[kind]) for kind in order]


def _wave(kind: str, port: int, count: int, script: Callable[[], Script], every_secs: float, reads: bool) -> list[Villain]:
    return [Villain(kind, port, script(), every_secs=every_secs, reads=reads) for _ in range(count)]
