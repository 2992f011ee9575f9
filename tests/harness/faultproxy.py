"""A TCP proxy that breaks what it carries as a test says: before Orthanc, a FHIR server, or our own DICOM port.

It knows nothing of what it carries. :attr:`FaultProxy.fault` may change at any time; it holds for bytes that come from then on, and for new
connections.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType

_PIECE_BYTES = 65_536
_LOOK_SECS = 0.05


class Fault(Enum):
    NONE = "pass everything on"
    DELAY = "pass every piece on, late"
    CUT = "after some bytes, close both sides at once (RST)"
    HALF_OPEN = "accept, and then nothing: no byte is read, none is sent, nothing is closed"
    BLACK_HOLE = "read all and pass nothing on"
    CHUNKS = "pass everything on in pieces of odd sizes"
    LOSE_ANSWER = "carry the request to its end, then cut instead of bringing the answer"
    REFUSE = "close each new connection at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A fault and its figures."""

    fault: Fault = Fault.NONE
    after_bytes: int = 0  #: for CUT: of what the client sends on one connection
    delay_secs: float = 0.0
    most_bytes: int = 7  #: for CHUNKS
    seed: int = 0


@dataclass(eq=False)
class _Pair:
    """One connection: the client's side and, unless nobody answers, the server's."""

    client: socket.socket
    server: socket.socket | None = None
    sent_bytes: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def close(self, *, reset: bool = False) -> None:
        for side in (self.client, self.server):
            if side is not None:
                with contextlib.suppress(OSError):
                    if reset:
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        side.shutdown(socket.SHUT_RDWR)
                side.close()


class FaultProxy:
    """Listens on a port of its own and carries each connection to ``upstream`` (host, port). A context manager."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream  #: may change: new connections go there
        self._script = Script()
        self._ended = threading.Event()
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._acceptor = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)
        self.connections = 0
        self.cuts = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def hang_up(self) -> None:
        """Close every connection that stands."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def set(self, script: Script) -> None:
        """From now on. Connections that stand keep standing: what is under way is what the fault hits."""
        self._script = script

    def __enter__(self) -> FaultProxy:
        self._listener.settimeout(_LOOK_SECS)
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()
            for thread in pair.threads:
                thread.join(5)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            client.settimeout(_LOOK_SECS)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._carry(_Pair(client))

    def _carry(self, pair: _Pair) -> None:
        fault = self._script.fault
        if fault is Fault.REFUSE:
            self.cuts += 1
            pair.close(reset=True)
            return
        with self._lock:
            self._pairs.add(pair)
        if fault is not Fault.HALF_OPEN:
            try:
                pair.server = socket.create_connection(self.upstream, timeout=5)
            except OSError:
                self._end(pair)
                return
            pair.server.settimeout(_LOOK_SECS)
            pair.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [(pair.client, pair.server, True), (pair.server, pair.client, False)]
        pair.threads = [threading.Thread(target=self._pump, args=(pair, *way), daemon=True) for way in ways]
        for thread in pair.threads:
            thread.start()

    def _pump(self, pair: _Pair, source: socket.socket | None, sink: socket.socket | None, outward: bool) -> None:
        """One direction, until a side closes, the fault says so, or the proxy ends."""
        rng = random.Random(f"{self._script.seed}{outward}")
        while source is not None and not self._ended.is_set():
            script = self._script
            if script.fault is Fault.HALF_OPEN:
                self._ended.wait(_LOOK_SECS)
                continue
            try:
                piece = source.recv(_PIECE_BYTES)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            if not piece:
                self._end(pair)
                return
            if not self._pass(pair, piece, sink, script, rng, outward):
                return

    def _pass(
        self, pair: _Pair, piece: bytes, sink: socket.socket | None, script: Script, rng: random.Random, outward: bool
    ) -> bool:
        """Carry one piece as the script says. False when the connection is over."""
        if script.fault is Fault.BLACK_HOLE or sink is None:
            return True
        if script.fault is Fault.LOSE_ANSWER and not outward:
            self._cut(pair)
            return False
        if script.fault is Fault.DELAY:
            self._ended.wait(script.delay_secs)
        if script.fault is Fault.CUT and outward:
            room = script.after_bytes - pair.sent_bytes
            if len(piece) >= room:
                self._send(sink, piece[: max(0, room)])
                self._cut(pair)
                return False
        pair.sent_bytes += len(piece) if outward else 0
        sizes = script.most_bytes if script.fault is Fault.CHUNKS else len(piece)
        while piece:
            size = rng.randint(1, sizes) if script.fault is Fault.CHUNKS else len(piece)
            if not self._send(sink, piece[:size]):
                self._end(pair)
                return False
            piece = piece[size:]
        return True

    def _send(self, sink: socket.socket, piece: bytes) -> bool:
        rest = memoryview(piece)
        while rest and not self._ended.is_set():
            try:
                rest = rest[sink.send(rest) :]
            except TimeoutError:
                continue
            except OSError:
                return False
        return True

    def _cut(self, pair: _Pair) -> None:
        self.cuts += 1
        pair.close(reset=True)
        with self._lock:
            self._pairs.discard(pair)

    def _end(self, pair: _Pair) -> None:
        pair.close()
        with self._lock:
            self._pairs.discard(pair)
