"""Lets scripts of named web pages read the two programs' interfaces (CORS, Fetch standard 3.2), and no other page of ours.

It stands before the log-in: a browser asks first, without a token, whether it may ask at all.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.web.access import is_below

_PATHS = ("/fhir/", "/dicom-web/")
#: DELETE ends an export; what else changes something is for programs on servers, not for pages.
_METHODS = ("GET", "HEAD", "POST", "DELETE")
_REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "If-Modified-Since",
    "If-None-Match",
    "Prefer",
    "X-Request-Id",
)
_RESPONSE_HEADERS = (
    "Content-Location",
    "ETag",
    "Expires",
    "Last-Modified",
    "Location",
    "Retry-After",
    "X-Progress",
    "X-Request-Id",
)
_KEEP_SECS = 600


class SharedWithOrigins:
    """The middleware. Without ``origins`` it changes nothing."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=list(_METHODS),
            allow_headers=list(_REQUEST_HEADERS),
            expose_headers=list(_RESPONSE_HEADERS),
            max_age=_KEEP_SECS,
        )
        self._active = bool(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shared = self._active and is_below(scope.get("path", ""), _PATHS)
        await (self._shared if shared else self._app)(scope, receive, send)
