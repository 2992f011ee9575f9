"""HTTP as it comes over the wire: what is refused before any room of ours sees it, and that answers leave whole."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Server

from gateway.web import listen, wire

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /x?q=1 HTTP/1.1\r\nHost: a\r\n"
TIMEOUT_SECS = 20


class Room:
    """Answers with the body it was sent, and keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[Scope] = []
        self.waits = 0.0
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.server: Server = listen.server(self)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        headers = [(b"x-body", b"%d" % len(body))]
        if scope["path"] == "/split":
            headers.append((b"x-note", b"a\r\nSet-Cookie: b"))
        if scope["path"] == "/short":
            headers.append((b"content-length", b"10"))
        if scope["path"] not in ("/stream", "/short"):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 304 if scope["path"] == "/same" else 200, "headers": headers})
        if scope["path"] == "/stream":
            for piece in (b"", b"one", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    def ask(self, *pieces: bytes) -> bytes:
        """All that is answered until the connection is closed from there."""
        with socket.create_connection(self.address, timeout=TIMEOUT_SECS) as client:
            return _sent(client, *pieces)


def _sent(client: socket.socket, *pieces: bytes) -> bytes:
    answer = bytearray()
    try:
        for piece in pieces:
            client.sendall(piece)
        while part := client.recv(1 << 16):
            answer += part
    except ConnectionError:
        pass
    return bytes(answer)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    found = Room()
    yield found
    found.server.should_exit = True
    found.thread.join(TIMEOUT_SECS)
    assert not found.thread.is_alive()


REFUSED = {
    "both framings": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, the other way": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    "a list of lengths": HEAD + b"Content-Length: 5, 5\r\n\r\n12345",
    "a signed length": HEAD + b"Content-Length: +5\r\n\r\n12345",
    "a hexadecimal chunk with prefix": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n12345\r\n0\r\n\r\n",
    "a chunk beyond all numbers": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n12345\r\n0\r\n\r\n",
    "a chunk longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n12345\r\n0\r\n\r\n",
    "bare line feeds in chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\n12345\n0\n\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another coding before": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": GET + b"X: a\r\n b\r\n\r\n",
    "NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "CR in a value": GET + b"X: a\rb\r\n\r\n",
    "a bare line feed": GET + b"X: a\nY: b\r\n\r\n",
    "NUL in a name": GET + b"X\x00: b\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
    "NUL in the address": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank in the address": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "the address of a proxy": b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "one header of 64 KiB": GET + b"X: " + b"a" * wire.MAX_HEAD_BYTES + b"\r\n\r\n",
    "a long address": b"GET /" + b"a" * wire.MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "many headers": GET + b"X: a\r\n" * wire.MAX_FIELDS + b"\r\n",
    "64 KiB of headers": GET + (b"X: " + b"a" * 1000 + b"\r\n") * 70 + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("piece", [1 << 20, 1000], ids=["at once", "in pieces"])
def test_what_can_be_read_in_two_ways_is_refused(room: Room, name: str, piece: int) -> None:
    text = REFUSED[name]
    before = len(room.seen)
    answer = room.ask(*(text[start : start + piece] for start in range(0, len(text), piece)), GET + b"\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") <= 1, "what followed was taken for a request"
    for scope in room.seen[before:]:  # a body can go wrong after the request has begun
        assert b"chunk" in name.encode(), scope


@pytest.mark.parametrize(
    "start",
    [
        GET + b"X: ",
        b"GET /",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=",
    ],
    ids=["header", "address", "trailer", "extension of a chunk"],
)
def test_a_line_that_does_not_end_is_cut_off_and_not_collected(room: Room, start: bytes) -> None:
    room.ask(GET + b"Connection: close\r\n\r\n")
    process = psutil.Process()
    before, sent = process.memory_info().rss, 0
    with socket.create_connection(room.address, timeout=TIMEOUT_SECS) as client:
        try:
            client.sendall(start)
            while sent < 64 << 20:
                client.sendall(b"a" * 65536)
                sent += 65536
        except ConnectionError:
            pass
    assert sent < 16 << 20, "the connection was not closed"  # what the system's buffers hold
    assert process.memory_info().rss - before < 16 << 20


def test_trailers_are_no_headers(room: Room) -> None:
    answer = room.ask(
        HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Basic eA==\r\n\r\n"
    )
    assert b"x-body: 3" in answer
    assert all(name != b"authorization" for name, _ in room.seen[-1]["headers"])


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_wish_to_switch_protocols_is_passed_over_with_nothing_lost(room: Room, protocol: bytes) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: " + protocol + b"\r\n"
    rest = b"cde" + GET + b"Connection: close\r\n\r\n"
    answer = room.ask(HEAD + wish + b"Content-Length: 5\r\n\r\nab", rest)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200"]
    assert b"x-body: 5" in answer
    assert answer.count(b"abcde") == 1


def test_requests_that_come_together_are_answered_in_turn(room: Room) -> None:
    slow, quick = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi"
    answer = room.ask(slow + quick)
    assert re.findall(rb"x-body: (\d)", answer) == [b"0", b"2"]
    before = len(room.seen)
    assert room.ask(slow * 200).count(b"HTTP/1.1") <= 1
    assert len(room.seen) - before <= 2


def test_a_head_that_does_not_come_is_waited_for_so_long(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_SECS", 0.3)
    started = time.monotonic()
    assert room.ask(b"") == b""
    assert room.ask(b"GET /x HTT") == b""
    with socket.create_connection(room.address, timeout=TIMEOUT_SECS) as client:  # also after a first request
        client.sendall(GET + b"\r\n")
        assert b"200" in client.recv(1 << 16)
        assert _sent(client, b"GET /x") == b""
    assert 0.9 <= time.monotonic() - started < 4.5, "closed by what ends idle connections"


@pytest.mark.parametrize("after", [b"\r\n", b"a", b"abc", b"abcGET /x"], ids=["line break", "part", "body", "next head"])
def test_a_connection_is_not_kept_for_what_follows_an_answer(room: Room, monkeypatch: pytest.MonkeyPatch, after: bytes) -> None:
    monkeypatch.setattr(wire, "HEAD_SECS", 0.3)
    first = GET + b"\r\n" if after == b"\r\n" else b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    with socket.create_connection(room.address, timeout=3) as client:
        client.sendall(first)
        assert b"200" in client.recv(1 << 16)
        assert _sent(client, after) == b""


def test_answers_have_the_form_that_http_wants(room: Room) -> None:
    close = b"Host: a\r\nConnection: close\r\n\r\n"
    streamed = room.ask(b"GET /stream HTTP/1.1\r\n" + close)
    assert streamed.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked" in streamed
    assert room.ask(b"HEAD /stream HTTP/1.1\r\n" + close).endswith(b"\r\n\r\n")
    same = room.ask(b"GET /same HTTP/1.1\r\n" + close)
    assert same.startswith(b"HTTP/1.1 304 Not Modified\r\ndate: ")
    assert same.endswith(b"\r\n\r\n")
    old = room.ask(b"GET /x HTTP/1.0\r\n\r\n")
    assert b"connection: close" in old
    waiting = room.ask(HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", b"ok")
    assert waiting.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert waiting.endswith(b"ok")
    assert room.seen[-1]["raw_path"] == b"/x"


def test_an_answer_that_would_be_two_is_none(room: Room) -> None:
    split = room.ask(b"GET /split HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"Set-Cookie" not in split
    short = room.ask(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(short.partition(b"\r\n\r\n")[2]) < 10


def test_what_is_in_hand_is_answered_before_the_end() -> None:
    room = Room()
    with socket.create_connection(room.address, timeout=TIMEOUT_SECS) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        while not room.seen:
            time.sleep(0.01)
        room.server.should_exit = True
        assert b"HTTP/1.1 200 OK" in client.recv(1 << 16)
    room.thread.join(TIMEOUT_SECS)
    assert not room.thread.is_alive()
