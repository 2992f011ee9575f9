"""``multipart/related`` requests (RFC 2046 5.1), read while they come: memory holds one piece, however large a part is."""

from __future__ import annotations

import re
from typing import Protocol

from gateway.errors import Rejected

_HEADERS_MOST_BYTES = 16 * 1024
#: RFC 2046 5.1.1 allows 70 characters; some libraries write more.
_BOUNDARY_MOST = 200
#: Blanks between a delimiter and its line end (transport padding).
_PADDING_MOST = 64
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s]*))')


class Parts(Protocol):
    """Who takes the parts. Called in order: ``begin``, any number of ``write``, ``end``."""

    def begin(self, headers: dict[str, str]) -> None:
        """A part begins; the names of its headers are in small letters."""

    def write(self, piece: memoryview) -> None:
        """The next piece of its body. Its memory is used anew afterwards."""

    def end(self) -> None:
        """The part is complete."""


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """A Content-Type as type and parameters, both in small letters but for the values."""
    found = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in _PARAMETER.findall(content_type)}
    return content_type.partition(";")[0].strip().lower(), found


class MultipartReader:
    """``feed`` the body as it comes. Raises :class:`Rejected` (400) where it is no multipart message."""

    def __init__(self, boundary: str, parts: Parts) -> None:
        if not boundary or len(boundary) > _BOUNDARY_MOST or not boundary.isascii():
            raise Rejected("Content-Type: multipart/related needs a boundary", status=400)
        self._delimiter = b"\r\n--" + boundary.encode()
        self._parts = parts
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very start looks like all others
        self._state = self._preamble
        self.is_complete = False  #: the closing delimiter has come; what follows is ignored

    def feed(self, piece: bytes) -> None:
        if self.is_complete:
            return
        self._buffer += piece
        while not self.is_complete and self._state():
            pass

    def finish(self) -> None:
        """The body has ended. Raises :class:`Rejected` (400) when it was not closed."""
        if not self.is_complete:
            raise Rejected("the message ends before its closing boundary: it was cut short", status=400)

    def _preamble(self) -> bool:
        """What stands before the first delimiter is nobody's (RFC 2046 5.1.1)."""
        return self._until_delimiter(into=None)

    def _body(self) -> bool:
        return self._until_delimiter(into=self._parts)

    def _until_delimiter(self, into: Parts | None) -> bool:
        """Pass on what is surely no delimiter; at one, go to what follows it. False: more bytes are needed."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            self._pass_on(into, max(0, len(self._buffer) - len(self._delimiter) + 1))
            return False
        behind = at + len(self._delimiter)
        line_end = self._buffer.find(b"\r\n", behind, behind + _PADDING_MOST + 2)
        closes = self._buffer[behind : behind + 2] == b"--"
        if not closes and line_end < 0 and len(self._buffer) < behind + _PADDING_MOST + 2:
            self._pass_on(into, at)
            return False
        if not closes and (line_end < 0 or self._buffer[behind:line_end].strip(b" \t")):
            self._pass_on(into, behind)  # the boundary's letters inside a value
            return True
        self._pass_on(into, at)
        if into is not None:
            into.end()
        del self._buffer[: len(self._delimiter) if closes else line_end - at]
        self.is_complete, self._state = closes, self._headers
        return True

    def _pass_on(self, into: Parts | None, count: int) -> None:
        if into is not None and count:
            with memoryview(self._buffer)[:count] as piece:
                into.write(piece)
        del self._buffer[:count]

    def _headers(self) -> bool:
        """The lines up to an empty one. The line end of the delimiter stands at the start of the buffer."""
        end = self._buffer.find(b"\r\n\r\n", 0, _HEADERS_MOST_BYTES)
        if end < 0:
            if len(self._buffer) >= _HEADERS_MOST_BYTES:
                raise Rejected("the headers of a part are too long or do not end", status=400)
            return False
        headers: dict[str, str] = {}
        for line in bytes(self._buffer[2:end]).decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if line and not colon:
                raise Rejected("a header line of a part has no colon", status=400)
            headers[name.strip().lower()] = value.strip()
        headers.pop("", None)
        del self._buffer[: end + 4]
        self._parts.begin(headers)
        self._state = self._body
        return True
