"""HTTP/1.1 on a connection: uvicorn's protocol over llhttp, with the bounds that llhttp leaves to its user.

llhttp refuses what request smuggling is made of (two framings, bad chunk sizes, NUL, CR or LF inside a header). Refused here are the
rest of it (RFC 9112, 3.2 and 6.1), heads and trailers that do not end, and heads that do not come; a request to switch to another
protocol is answered as if it had not been made (RFC 9110, 7.8), with its body.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.web.wire_answer import Cycle

#: Request line and header fields, or trailer fields, of one message; lists of ids in an address fit.
MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 128
#: Requests sent before the answers to earlier ones.
MAX_PIPELINED = 16
#: From the opening of a connection, or the first byte after an answer or of a request, to the end of the next head.
HEAD_SECS = 30.0
_OF_UPGRADES = (b"upgrade", b"http2-settings", b"connection")


class Unacceptable(Exception):
    """llhttp lets it pass, and we do not."""


class Wire(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._since_progress = 0  #: bytes since anything became complete
        self._head_bytes = 0
        self._in_head = True
        self._upgrades = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._since_progress += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._since_progress > MAX_HEAD_BYTES:
            self._refuse()
        elif self._deadline is None and ((self._in_head and self._since_progress) or self._is_answered()):
            # What is answered already may still have a body to come, and line breaks may come after it: no timer of uvicorn's runs then.
            self._deadline = self.loop.call_later(HEAD_SECS, self._too_slow)

    def _is_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as end:
            rest, head = data[int(end.args[0]) :], self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            # As uvicorn does: what follows the last request of a connection is passed over.
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            if rest:
                self._feed(rest)

    def _head_without_upgrade(self) -> bytes:
        """What llhttp has parsed, and thereby checked, once more: it takes no body of a request that wants to switch."""
        tokens = [token.strip().lower() for name, value in self.headers if name == b"connection" for token in value.split(b",")]
        kept = [(name, value) for name, value in self.headers if name not in _OF_UPGRADES]
        kept += [(b"connection", token) for token in tokens if token in (b"close", b"keep-alive")]
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        return b"\r\n".join([*lines, *(b"%s: %s" % one for one in kept), b"", b""])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes, self._in_head, self._upgrades = 0, True, False

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._in_head:  # a trailer field is no header field: nobody may find it there when the request has been let in
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrades = True
            return
        version = self.parser.get_http_version()
        self._check_head(version)
        self._in_head = False
        self._since_progress = self._head_bytes = 0
        self._disarm()
        path, _, query = self.url.partition(b"#")[0].partition(b"?")
        text = path.decode("ascii")
        method: str = self.parser.get_method().decode("ascii")
        self.scope |= {"method": method, "path": unquote(text) if "%" in text else text, "raw_path": path, "query_string": query}
        if version != "1.1":
            self.scope["http_version"] = version
        self._begin(is_kept=version == "1.1" and self.parser.should_keep_alive())

    def _begin(self, *, is_kept: bool) -> None:
        """Let the application answer, as soon as the requests before it have been answered."""
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=is_kept,
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._since_progress = 0
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._since_progress = 0

    def on_message_complete(self) -> None:
        if self._upgrades:
            return
        self._since_progress = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_FIELDS:
            raise Unacceptable

    def _check_head(self, version: str) -> None:
        """One Host; the path alone in the request line; no coding but ``chunked``, and that of HTTP/1.1 only."""
        hosts = 0
        for name, value in self.headers:
            hosts += name == b"host"
            if name == b"transfer-encoding" and (value.lower() != b"chunked" or version != "1.1"):
                raise Unacceptable
        if hosts > 1 or (hosts == 0 and version == "1.1") or version not in ("1.0", "1.1") or not self.url.startswith(b"/"):
            raise Unacceptable
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Unacceptable

    def _refuse(self) -> None:
        """400 where an answer can still be one to this request; then the connection ends, since nobody knows where the next begins."""
        if self.transport.is_closing():
            return
        in_hand = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (in_hand and (self._in_head or self.cycle.response_started)):
            self.transport.close()
        else:
            self.send_400_response("Invalid HTTP request received.")

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
