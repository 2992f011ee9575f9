"""Every HTTP route in one place: FHIR REST, health, metrics, the front page."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount, Route

from gateway.config import Settings
from gateway.spool.ledger import Ledger
from gateway.store.store import FhirStore
from gateway.web.fhir import fhir_routes
from gateway.web.front import Front
from gateway.web.health import Health


def build(settings: Settings, ledger: Ledger, store: FhirStore) -> Starlette:
    """The application. It answers only under loopback names: a page elsewhere cannot reach it by rebinding a name (DNS rebinding)."""
    health = Health(ledger, store, settings.spool_directory, settings.spool.reserve_megabytes)
    front = Front(ledger, settings.receive.ae_title)
    return Starlette(
        routes=[
            Route("/", front.page),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
            Mount("/fhir", routes=fhir_routes(store, settings)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", "testserver"])],
    )


def run_web(settings: Settings, listener: socket.socket, ledger: Ledger, store: FhirStore, stop: threading.Event) -> None:
    """Serve until ``stop`` is set; requests in hand are finished."""
    config = uvicorn.Config(
        build(settings, ledger, store),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)

    def wait() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=wait, name="stop", daemon=True).start()
    server.run(sockets=[listener])
