"""The FHIR R4 REST endpoint over the embedded store: read, vread, history, search (R4 http.html). Read-only for clients.

Store calls block, so they run in a small pool of threads; the database gives each its own connection.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.config import Settings
from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.canonical import encode
from gateway.store import Entry, FhirStore, Page, Stored
from gateway.web.export import export_routes
from gateway.web.fhir_capability import capability_statement
from gateway.web.fhir_http import (
    Call,
    Endpoint,
    crashed,
    endpoint,
    etag,
    http_date,
    matches,
    operation_outcome,
    resource_response,
)
from gateway.web.fhir_shape import shaped
from gateway.web.views import view_routes

THREADS = 4
GZIP_FROM_BYTES = 1024
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]

T = TypeVar("T")


def fhir_routes(store: FhirStore, settings: Settings) -> list[BaseRoute]:
    """The routes of the endpoint, to be mounted at ``/fhir``. Every answer, also to an unknown address, is FHIR."""
    api = _Api(store, settings.site.name)

    def route(path: str, handle: Endpoint, *allow: str) -> Route:
        middleware = [
            Middleware(ServerErrorMiddleware, handler=crashed),
            Middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES),
        ]
        return Route(path, endpoint(handle, allow=allow or ("GET", "HEAD")), methods=_METHODS, middleware=middleware)

    return [
        *export_routes(store, settings),
        *view_routes(store, settings),
        route("/metadata", api.metadata),
        route("/{kind}/_search", api.search, "POST"),
        route("/{kind}/{id}/_history/{version}", api.vread),
        route("/{kind}/{id}/_history", api.history),
        route("/{kind}/{id}", api.read),
        route("/{kind}", api.search),
        route("/{path:path}", api.nowhere),
    ]


class _Api:
    """The handlers. Each reads the call, asks the store in a thread and writes the answer."""

    def __init__(self, store: FhirStore, site: str) -> None:
        self._store = store
        self._site = site
        self._since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fhir")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def metadata(self, call: Call) -> Response:
        statement = capability_statement(base=call.base, site=self._site, since=self._since)
        return resource_response(encode(statement), pretty=call.pretty)

    async def nowhere(self, call: Call) -> Response:
        raise Rejected(f"there is nothing at this address; see {call.base}/metadata", status=404)

    async def read(self, call: Call) -> Response:
        kind, logical_id = _kind(call), call.request.path_params["id"]
        stored = await self._in_thread(lambda: self._store.read(kind, logical_id))
        return _version_response(call, stored)

    async def vread(self, call: Call) -> Response:
        kind, logical_id, text = _kind(call), call.request.path_params["id"], call.request.path_params["version"]
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise Rejected("there is no such version", status=404)
        return _version_response(call, await self._in_thread(lambda: self._store.vread(kind, logical_id, int(text))))

    async def history(self, call: Call) -> Response:
        kind, logical_id = _kind(call), call.request.path_params["id"]
        versions = await self._in_thread(lambda: self._store.history(kind, logical_id))
        if not versions:
            raise _unknown(kind)
        bundle = {
            "resourceType": "Bundle",
            "type": "history",
            "total": len(versions),
            "link": [{"relation": "self", "url": f"{call.base}/{kind}/{logical_id}/_history"}],
            "entry": [_history_entry(call.base, stored) for stored in versions],
        }
        return resource_response(encode(bundle), pretty=call.pretty)

    async def search(self, call: Call) -> Response:
        kind = _kind(call)
        strict = "handling=strict" in call.request.headers.get("prefer", "").replace(" ", "")

        def work() -> bytes:
            page = self._store.search(kind, call.parameters, strict=strict, base=call.base)
            return encode(_search_bundle(call, kind, page))

        return resource_response(await self._in_thread(work), pretty=call.pretty)


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
    if matches(call.request.headers.get("if-none-match"), stored.version):
        return Response(status_code=304, headers=headers)
    shape = _shape(call)
    body = encode(shaped(stored.resource(), *shape)) if any(shape) else stored.body
    return resource_response(body, pretty=call.pretty, headers=headers)


def _shape(call: Call) -> tuple[str | None, Sequence[str]]:
    """(``_summary``, ``_elements``), as far as they change a resource."""
    summary = call.last("_summary")
    elements = [name.rpartition(".")[2] for name in (call.last("_elements") or "").split(",") if name]
    return (summary if summary in ("true", "text", "data") else None), elements


def _history_entry(base: str, stored: Stored) -> JsonObject:
    created = stored.version == 1
    entry: JsonObject = {"fullUrl": f"{base}/{stored.type}/{stored.id}"}
    if not stored.deleted:
        entry["resource"] = msgspec.Raw(stored.body)
    entry["request"] = {"method": "DELETE" if stored.deleted else "PUT", "url": f"{stored.type}/{stored.id}"}
    entry["response"] = {
        "status": "204" if stored.deleted else "201" if created else "200",
        "etag": etag(stored.version),
        "lastModified": stored.last_updated,
    }
    return entry


def _search_bundle(call: Call, kind: str, page: Page) -> JsonObject:
    bundle: JsonObject = {"resourceType": "Bundle", "type": "searchset"}
    if page.total is not None:
        bundle["total"] = page.total
    links = [{"relation": "self", "url": _search_url(call, kind, page, call.last("_page"))}]
    if page.next:
        links.append({"relation": "next", "url": _search_url(call, kind, page, page.next)})
    bundle["link"] = links
    shape = _shape(call)
    entries: list[Any] = [_search_entry(call.base, entry, shape) for entry in page.entries]
    if page.warnings and call.last("_page") is None:
        warning = operation_outcome("warning", "not-supported", list(page.warnings))
        entries.append({"resource": warning, "search": {"mode": "outcome"}})
    if entries:
        bundle["entry"] = entries
    return bundle


def _search_entry(base: str, entry: Entry, shape: tuple[str | None, Sequence[str]]) -> JsonObject:
    stored = entry.stored
    # The stored bytes are passed through as they are: no decoding, no rounding, no reordering.
    resource = shaped(stored.resource(), *shape) if any(shape) else msgspec.Raw(stored.body)
    return {"fullUrl": f"{base}/{stored.type}/{stored.id}", "resource": resource, "search": {"mode": entry.mode}}


def _search_url(call: Call, kind: str, page: Page, mark: str | None) -> str:
    """Under the host that the client asked, with the parameters that took part."""
    parameters = [*page.used, ("_page", mark)] if mark else list(page.used)
    return f"{call.base}/{kind}" + (f"?{urlencode(parameters, safe=':,/')}" if parameters else "")
