"""The addresses that nearly every request asks, ``/Type`` and ``/Type/id``, found by splitting the path; the others are tried one by one.

What answers is the same as behind any other route: methods, negotiation, errors, gzip.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from starlette.datastructures import URLPath
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from gateway.r4 import definitions
from gateway.web.fhir_http import crashed

GZIP_FROM_BYTES = 1024
#: A third of the time of level 9, for a fifth more bytes.
GZIP_LEVEL = 3
#: What is larger is compressed in a thread: so much takes half a millisecond.
_GZIP_HERE_BYTES = 32 * 1024
#: Has routes of its own, over the trail.
_ELSEWHERE = frozenset({"AuditEvent"})

Answer = Callable[[Request], Awaitable[Response]]


class Direct(BaseRoute):
    """The route. ``of_type`` answers ``/Type``, ``of_one`` ``/Type/id``; operations and histories (``$``, ``_``) are left to others."""

    def __init__(self, of_type: Answer, of_one: Answer) -> None:
        self._of_type, self._of_one = of_type, of_one
        self._types = definitions.resource_types() - _ELSEWHERE
        self._app = ServerErrorMiddleware(self._answer, handler=crashed)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        _, kind, *rest = f"{scope['path'][len(scope.get('root_path', '')) :]}/".split("/", 3)
        if kind not in self._types:
            return Match.NONE, {}
        if rest == [""]:
            return Match.FULL, {"endpoint": self._of_type, "path_params": {"kind": kind}}
        if len(rest) == 2 and rest[0] and rest[0][0] not in "_$" and not rest[1]:
            return Match.FULL, {"endpoint": self._of_one, "path_params": {"kind": kind, "id": rest[0]}}
        return Match.NONE, {}

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await scope["endpoint"](request)
        await compress(request, response)
        await response(scope, receive, send)


async def compress(request: Request, response: Response) -> None:
    """As Starlette's middleware does it, where the whole body is known."""
    body = bytes(response.body)
    if len(body) < GZIP_FROM_BYTES:
        return
    headers = response.headers
    headers.add_vary_header("Accept-Encoding")
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return
    if len(body) > _GZIP_HERE_BYTES:
        body = await asyncio.to_thread(zipped, body)
    else:
        body = zipped(body)
    response.body = body
    headers["Content-Encoding"], headers["Content-Length"] = "gzip", str(len(body))


def zipped(body: bytes) -> bytes:
    """In the form of ``gzip``."""
    return zlib.compress(body, GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)
