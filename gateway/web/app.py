"""Every HTTP route in one place: pages, FHIR REST, DICOMweb, health, metrics; who is let in; how it listens."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from gateway.audit.trail import AuditTrail
from gateway.config import Settings
from gateway.in_force import SiteInForce
from gateway.mapping.language import Mappings
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.table_files import TableFiles
from gateway.store.store import FhirStore
from gateway.table_door import TableDoor
from gateway.web import listen
from gateway.web.actions import Actions, Decisions
from gateway.web.assets import asset
from gateway.web.audited import Audited, AuditEvents
from gateway.web.behind.build import behind
from gateway.web.cors import SharedWithOrigins
from gateway.web.dicomweb import dicomweb_routes
from gateway.web.doors import Doors
from gateway.web.dose_history import DosePages
from gateway.web.fhir import BaseWithoutSlash, fhir_routes
from gateway.web.guard import Guard
from gateway.web.health import Health
from gateway.web.login import LogIn
from gateway.web.notes import Notes
from gateway.web.own_names import UnderOwnNames
from gateway.web.pages import Pages, crashed
from gateway.web.stow import StowSettings, stow_routes
from gateway.web.tables import TablePages
from gateway.web.thumbnails import Thumbnails

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "testserver")


def build(
    settings: Settings,
    ledger: Ledger,
    store: FhirStore,
    files: SpoolFiles,
    *,
    mappings: Mappings | None = None,
    decisions: Decisions | None = None,
    site: SiteInForce | None = None,
) -> Starlette:
    """The application. ``mappings`` let the study page tell where each value goes; ``site`` gives those in force, and the page about
    them; without ``decisions`` it offers none.

    It answers only under names of its own: a page elsewhere cannot reach it by rebinding a name (DNS rebinding).
    """
    trail = AuditTrail(settings.audit_url, settings.data.directory / "audit")
    trail.start()
    doors = Doors.open(settings)
    health = Health(ledger, store, settings.spool_directory, settings.spool.reserve_megabytes, site)
    notes = Notes()
    thumbnails = Thumbnails(ledger.archive, files, settings.data.directory / "cache" / "thumbnails")
    pages = Pages(settings, ledger, files, thumbnails, notes, mappings=mappings, site=site, can_decide=decisions is not None)
    actions = Actions(ledger, notes, decisions, external_url=settings.web.external_url, site=site)
    app = Starlette(
        routes=[
            Mount(
                "/fhir", routes=fhir_routes(store, settings, [*doors.routes(), *AuditEvents(trail, settings.site.name).routes()])
            ),
            Mount(
                "/dicom-web",
                routes=[
                    *stow_routes(_direct_door(settings, ledger, files), _stow_settings(settings)),
                    *dicomweb_routes(ledger.archive, files, behind=behind(settings), external_url=settings.web.external_url),
                ],
            ),
            Route("/", pages.overview),
            Route("/held", pages.held),
            Route("/mappings", pages.mappings),
            Route("/studies", pages.studies),
            Route("/studies/{study}", pages.study),
            Route("/studies/{study}/thumbnail.png", pages.study_thumbnail),
            Route("/studies/{study}/series/{series}/thumbnail.png", pages.series_thumbnail),
            Route("/actions/retry", actions.retry, methods=["POST"]),
            Route("/actions/approve", actions.approve, methods=["POST"]),
            *_table_routes(settings, ledger, files, pages, notes, site),
            Route("/actions/{decision:str}", actions.decide, methods=["POST"]),
            Route("/assets/{name}", asset),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
        ],
        exception_handlers={404: pages.not_found, 500: crashed},
        middleware=[
            Middleware(UnderOwnNames, names=_names(settings)),
            Middleware(BaseWithoutSlash),
            Middleware(SharedWithOrigins, origins=settings.web.cors_origins),
            Middleware(Audited, trail=trail),
            Middleware(LogIn, users=settings.web.users, bearers=doors.bearers),
            Middleware(
                Guard,
                store=store,
                archive=ledger.archive,
                per_minute=settings.web.requests_per_minute,
                of_clients={one.name: one.requests_per_minute for one in settings.clients if one.requests_per_minute},
            ),
        ],
    )
    app.state.trail, app.state.doors = trail, doors
    return app


def _table_routes(
    settings: Settings, ledger: Ledger, files: SpoolFiles, pages: Pages, notes: Notes, site: SiteInForce | None
) -> list[BaseRoute]:
    """Tables need the adapters in force."""
    if site is None:
        return []
    door = TableDoor(ledger, TableFiles(settings.spool_directory), site.refresh)
    stow = _stow_settings(settings)
    doses = DosePages(ledger, files, site, pages, notes, stow.external_url)
    return [*TablePages(ledger, files, door, site, pages, notes, stow).routes(), *doses.routes()]


def _direct_door(settings: Settings, ledger: Ledger, files: SpoolFiles) -> DirectDoor:
    return DirectDoor(Door(files, max_object_bytes=settings.receive.max_object_megabytes << 20), ledger.intake)


def _stow_settings(settings: Settings) -> StowSettings:
    web = settings.web
    return StowSettings(
        senders=frozenset(web.stow_senders) if web.users or web.tokens or settings.clients else None,
        ae_title=settings.receive.ae_title,
        external_url=web.external_url,
        accept_raw_data=settings.receive.accept_raw_data,
        max_request_bytes=web.stow_max_request_megabytes << 20,
    )


def _names(settings: Settings) -> list[str]:
    """Loopback, and the host of ``web.external_url``."""
    url = settings.web.external_url
    return [*_LOOPBACK_NAMES, *([urlsplit(url).netloc.rpartition("@")[2].partition(":")[0]] if url else [])]


def run_web(
    settings: Settings,
    listener: socket.socket,
    ledger: Ledger,
    store: FhirStore,
    files: SpoolFiles,
    stop: threading.Event,
    *,
    decisions: Decisions | None = None,
    site: SiteInForce | None = None,
) -> None:
    """Serve until ``stop`` is set; requests in hand are finished."""
    app = build(settings, ledger, store, files, decisions=decisions, site=site)
    web = settings.web
    server = listen.server(app, is_behind_proxy=web.behind_tls_proxy, certificate=web.tls_certificate, key=web.tls_key)

    def wait() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=wait, name="stop", daemon=True).start()
    server.run(sockets=[listener])
    trail: AuditTrail = app.state.trail
    trail.close()
