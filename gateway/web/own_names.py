"""The middleware that lets requests in under the names of this gateway only (DNS rebinding)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_MOST_KNOWN = 64


class UnderOwnNames:
    """Starlette's check, which is asked once for each Host header that proves to be one of ``names``."""

    def __init__(self, app: ASGIApp, *, names: Sequence[str]) -> None:
        self._app = app
        self._asked = TrustedHostMiddleware(self._right, allowed_hosts=names)
        self._known: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._app if _host(scope) in self._known else self._asked)(scope, receive, send)

    async def _right(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and len(self._known) < _MOST_KNOWN:
            self._known.add(_host(scope))
        await self._app(scope, receive, send)


def _host(scope: Scope) -> bytes:
    """The first, as Starlette takes it. Empty, and so never known, where there is none."""
    return next((value for name, value in scope.get("headers", ()) if name == b"host"), b"")
