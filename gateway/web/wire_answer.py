"""One request and its answer on a connection: as uvicorn's, but head and first bytes of the body leave in one write."""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WITHOUT_BODY = (204, 304)


class Cycle(RequestResponseCycle):
    """``send`` is uvicorn's in other words; everything else is inherited."""

    _head = b""

    async def send(self, message: Message) -> None:  # type: ignore[override]  # Starlette's name for the same dictionary
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError("an answer begins with its head")
            self._head = self._begun(int(message["status"]), message.get("headers", ()))
        elif self.response_complete or message["type"] != "http.response.body":
            raise RuntimeError("an answer is complete, or its head comes twice")
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    def _begun(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The head. Raises ``RuntimeError`` for one that would be more than one."""
        self.response_started, self.waiting_for_100_continue = True, False
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        closes = False
        for given, value in [*self.default_headers, *headers]:
            name = given.lower()
            if name == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive, closes = False, True
            lines.append(b"%s: %s\r\n" % (name, value))
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a line break or NUL in a header of an answer")
        return head

    def _go_on(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length, pieces = 0, [head]
        elif self.chunked_encoding:
            pieces = [head, *((b"%x\r\n" % len(body), body, b"\r\n") if body else ()), *(() if more else (b"0\r\n\r\n",))]
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("an answer is longer than its Content-Length")
            pieces = [head, body]
        self.transport.writelines([piece for piece in pieces if piece])
        if more:
            return
        if self.expected_content_length != 0:
            raise RuntimeError("an answer is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
