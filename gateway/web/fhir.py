"""The FHIR R4 REST endpoint over the embedded store: read, vread, history, search (R4 http.html), and the write mode where it is on.

Store calls block, so they run in a small pool of threads; the database gives each its own connection.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TypeVar
from zoneinfo import ZoneInfo

from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.config import Settings
from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.canonical import encode
from gateway.r4.published import unstored
from gateway.store import FhirStore, Stored, dates, history
from gateway.store.compartment import PATIENT
from gateway.store.history import HistoryQuery
from gateway.web.access import reach_of, touched
from gateway.web.export import export_routes
from gateway.web.fhir_body import Bodies
from gateway.web.fhir_bundles import history_bundle, search_bundle, shape_of
from gateway.web.fhir_capability import capability_statement
from gateway.web.fhir_concept_maps import concept_maps
from gateway.web.fhir_direct import GZIP_FROM_BYTES, GZIP_LEVEL, Answer, Direct
from gateway.web.fhir_http import (
    Call,
    Endpoint,
    crashed,
    endpoint,
    etag,
    http_date,
    matches,
    not_newer,
    resource_response,
)
from gateway.web.fhir_security import security
from gateway.web.fhir_shape import shaped
from gateway.web.fhir_transact import BundleApi
from gateway.web.fhir_write import WriteApi, Writers
from gateway.web.smart import TOKEN_PATH
from gateway.web.threads import Threads
from gateway.web.views import view_routes

THREADS = 4
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]

T = TypeVar("T")


def fhir_routes(store: FhirStore, settings: Settings, beside: Sequence[BaseRoute] = ()) -> list[BaseRoute]:
    """The routes of the endpoint, to be mounted at ``/fhir``. Every answer, also to an unknown address, is FHIR.

    ``beside`` are those of others below the same address; they come before the ones that take what nobody knows.
    """
    api = _Api(store, settings)
    writers, bodies = Writers(settings), Bodies(settings.web.fhir_max_request_megabytes << 20)
    write = WriteApi(store, writers, bodies, api.pool)
    of_type, of_one = _several(api.search, **write.of_type), _several(api.read, **write.of_one)
    bundles = BundleApi(store, writers, bodies, api.pool)

    def route(path: str, handle: Endpoint, *allow: str) -> Route:
        return _route(path, endpoint(handle, allow=allow or ("GET", "HEAD")))

    return [
        Direct(of_type, of_one),
        *beside,
        *export_routes(store, settings),
        *view_routes(store, settings),
        route("/metadata", api.metadata),
        route("/_history", api.history),
        route("/{kind}/_search", api.search, "POST"),
        route("/{kind}/_history", api.history),
        route("/Patient/{id}/$everything", api.everything),
        route("/{kind}/{id}/_history/{version}", api.vread),
        route("/{kind}/{id}/_history", api.history),
        route("/Patient/{patient}/{kind}/_search", api.search, "POST"),
        route("/Patient/{patient}/{kind}", api.search),
        _route("/{kind}/{id}", of_one),
        _route("/{kind}", of_type),
        _route("/", _several(api.nowhere, POST=bundles.handle)),
        route("/{path:path}", api.nowhere),
    ]


def _several(read: Endpoint, **others: Endpoint) -> Answer:
    """What answers at an address with a handler for each method."""
    by_method = {"GET": read, "HEAD": read, **others}

    async def handle(call: Call) -> Response:
        return await by_method[call.request.method](call)

    return endpoint(handle, allow=tuple(by_method), form=False)


def _route(path: str, answer: Answer) -> Route:
    middleware = [
        Middleware(ServerErrorMiddleware, handler=crashed),
        Middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES, compresslevel=GZIP_LEVEL),
    ]
    return Route(path, answer, methods=_METHODS, middleware=middleware)


class BaseWithoutSlash:
    """Middleware: the base address is ``/fhir``, and a mount knows it with a slash at its end only. Bundles are sent there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/fhir":
            scope = {**scope, "path": "/fhir/", "raw_path": b"/fhir/"}
        await self._app(scope, receive, send)


class _Api:
    """The handlers. Each reads the call, asks the store in a thread and writes the answer."""

    def __init__(self, store: FhirStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._zone = ZoneInfo(settings.site.timezone)
        self._since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.pool = Threads(THREADS, "fhir")

    async def metadata(self, call: Call) -> Response:
        settings = self._settings
        outside = settings.web.external_url
        tokens_at = f"{outside.rstrip('/')}{call.request.scope.get('root_path', '')}" if outside else call.base
        statement = capability_statement(
            base=call.base,
            site=settings.site.name,
            since=self._since,
            security=security(settings, f"{tokens_at}{TOKEN_PATH}"),
            writable=settings.web.fhir_write != "off",
        )
        return resource_response(encode(statement), pretty=call.pretty)

    async def nowhere(self, call: Call) -> Response:
        raise Rejected(f"there is nothing at this address; see {call.base}/metadata", status=404)

    async def read(self, call: Call) -> Response:
        logical_id = call.request.path_params["id"]
        for one in unstored(call.request.path_params["kind"]):
            if one["id"] == logical_id:
                return resource_response(encode(one), pretty=call.pretty)
        kind = _kind(call)
        stored = await self.pool.run(lambda: self._store.read(kind, logical_id, reach=reach_of(call.request)))
        return _version_response(call, stored)

    async def vread(self, call: Call) -> Response:
        kind, logical_id, text = _kind(call), call.request.path_params["id"], call.request.path_params["version"]
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise Rejected("there is no such version", status=404)
        reach = reach_of(call.request)
        return _version_response(call, await self.pool.run(lambda: self._store.vread(kind, logical_id, int(text), reach=reach)))

    async def history(self, call: Call) -> Response:
        """Of one resource, of a type, or of everything."""
        path = call.request.path_params
        kind = _kind(call) if "kind" in path else None
        query, reach = self._history_query(call, kind, path.get("id")), reach_of(call.request)
        address = "".join(f"/{part}" for part in (kind, path.get("id")) if part) + "/_history"

        def work() -> bytes:
            if query.id is not None and (kind is None or self._store.read(kind, query.id, reach=reach) is None):
                raise _unknown(kind or "resource")
            page = self._store.history_page(query, reach=reach)
            touched(call.request, page.versions)
            return encode(history_bundle(call, address, page))

        return resource_response(await self.pool.run(work), pretty=call.pretty)

    def _history_query(self, call: Call, kind: str | None, logical_id: str | None) -> HistoryQuery:
        count, since = call.last("_count") or str(history.DEFAULT_COUNT), call.last("_since")
        if not re.fullmatch(r"\d{1,9}", count, re.ASCII):
            raise Rejected("_count must be a whole number", status=400)
        try:
            moment = dates.parse(since.removeprefix("ge"), self._zone).low if since else None
        except ValueError as error:
            raise Rejected("_since must be an instant such as 2026-01-31T10:00:00Z", status=400) from error
        number = min(max(int(count), 1), history.MAX_COUNT)
        return HistoryQuery(type=kind, id=logical_id, since=moment, count=number, start=call.last("_page") or None)

    async def search(self, call: Call) -> Response:
        if maps := unstored(call.request.path_params["kind"]):
            return resource_response(encode(concept_maps(maps, call.parameters, call.base)), pretty=call.pretty)
        kind, patient = _kind(call), call.request.path_params.get("patient")
        if patient is not None and kind not in PATIENT:
            raise Rejected(f"{kind} is not in the compartment of a patient", status=404)
        path, reach = f"/{kind}" if patient is None else f"/Patient/{patient}/{kind}", reach_of(call.request)

        def work() -> bytes:
            page = self._store.search(kind, call.parameters, strict=call.strict, base=call.base, patient=patient, reach=reach)
            touched(call.request, [entry.stored for entry in page.entries])
            return search_bundle(call, path, page)

        return resource_response(await self.pool.run(work), pretty=call.pretty)

    async def everything(self, call: Call) -> Response:
        patient = call.request.path_params["id"]

        def work() -> bytes:
            page = self._store.everything(patient, call.parameters, base=call.base, reach=reach_of(call.request))
            if page is None:
                raise _unknown("Patient")
            touched(call.request, [entry.stored for entry in page.entries])
            return search_bundle(call, f"/Patient/{patient}/$everything", page)

        return resource_response(await self.pool.run(work), pretty=call.pretty)


def _kind(call: Call) -> str:
    kind: str = call.request.path_params["kind"]
    if kind not in definitions.resource_types():
        raise Rejected("this address names no resource type that is known here", status=404)
    return kind


def _unknown(kind: str) -> Rejected:
    return Rejected(f"there is no such {kind}", status=404)


def _version_response(call: Call, stored: Stored | None) -> Response:
    if stored is None:
        raise _unknown(_kind(call))
    headers = {"ETag": etag(stored.version), "Last-Modified": http_date(stored.updated)}
    if stored.deleted:
        raise Rejected(f"this {stored.type} has been deleted", status=410)
    touched(call.request, [stored])
    asked = call.request.headers
    # RFC 9110, 13.2.2: the date counts only for a client that names no version
    known = (
        matches(asked["if-none-match"], stored.version)
        if "if-none-match" in asked
        else not_newer(asked.get("if-modified-since"), stored.updated)
    )
    if known:
        return Response(status_code=304, headers=headers)
    shape = shape_of(call)
    body = encode(shaped(stored.resource(), *shape)) if any(shape) else stored.body
    return resource_response(body, pretty=call.pretty, headers=headers)
