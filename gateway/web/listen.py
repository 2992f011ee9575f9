"""How the application listens: uvicorn on the loop and the parser of libuv and llhttp, with our bounds."""

from __future__ import annotations

from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from gateway.web.wire import Wire

#: How long requests in hand may still take when the role is told to end.
GRACE_SECS = 10


def server(
    app: ASGIApp, *, is_behind_proxy: bool = False, certificate: Path | None = None, key: Path | None = None
) -> uvicorn.Server:
    """Not started. Only a proxy of the site's own may name the address of who asks (``is_behind_proxy``); log-in counts failures by it."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Wire,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=is_behind_proxy,
        timeout_graceful_shutdown=GRACE_SECS,
        ssl_certfile=str(certificate) if certificate else None,
        ssl_keyfile=str(key) if key else None,
    )
    return uvicorn.Server(config)
