"""Tables over HTTP: the shipped ViewDefinitions, and ``$run`` (SQL on FHIR v2, operation ViewDefinition/$run).

``GET /fhir/ViewDefinition/administrations/$run?_format=csv&date=ge2026``: parameters without an underscore, and the common search
parameters, narrow the resources as in a search. Rows are sent as they are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any
from urllib.parse import parse_qsl

from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.config import Settings
from gateway.errors import Rejected, Retryable
from gateway.fhir.endpoint import images_address
from gateway.r4.canonical import encode
from gateway.store import FhirStore
from gateway.store.reach import Reach
from gateway.views.definition import Row, View
from gateway.views.formats import MEDIA_TYPES, WRITERS
from gateway.views.run import run_view, shipped_definition, shipped_names, shipped_view
from gateway.web.access import reach_of
from gateway.web.fhir_http import crashed, in_their_form, outcome

MAX_PARAMETERS = 200
_GZIP_FROM_BYTES = 1024
#: Tables made at once. Each holds a thread and a reading connection for as long as its client takes to read; a search must still get in.
RUNS_AT_ONCE = 4
_AGAIN_SECS = 10
_OWN = frozenset({"_format", "_limit", "group"})

Handler = Callable[[Request], Awaitable[Response]]


def view_routes(store: FhirStore, settings: Settings) -> list[BaseRoute]:
    """The routes, to stand before those of the REST endpoint."""
    api = _Api(store, images_address(settings))
    return [
        _route("/ViewDefinition/{name}/$run", api.run),
        _route("/ViewDefinition/{name}", api.read),
        _route("/ViewDefinition", api.all),
    ]


class _Api:
    def __init__(self, store: FhirStore, images_at: str | None) -> None:
        self._store = store
        self._images_at = images_at
        self._running = 0

    async def all(self, _request: Request) -> Response:
        entries = [{"resource": shipped_definition(name)} for name in shipped_names()]
        return _json({"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries})

    async def read(self, request: Request) -> Response:
        tree = shipped_definition(request.path_params["name"])
        if tree is None:
            raise _unknown()
        return _json(tree)

    async def run(self, request: Request) -> Response:
        view = shipped_view(request.path_params["name"]) if request.path_params["name"] in shipped_names() else None
        if view is None:
            raise _unknown()
        parameters = _parameters(request)
        own = {name: value for name, value in parameters if name in _OWN}
        form = _format(own.get("_format"), request.headers.get("accept", "*/*"))
        where = [(name, value) for name, value in parameters if name not in _OWN]
        reach = reach_of(request)
        if not (reach.may_read(view.resource) and reach.may_search(view.resource)):
            raise Rejected(f"this token may not read and search {view.resource}, of which this view is made", status=403)
        limit = _limit(own["_limit"]) if "_limit" in own else None
        if self._running >= RUNS_AT_ONCE:
            return outcome(429, f"{RUNS_AT_ONCE} tables are being made; try again", headers={"Retry-After": str(_AGAIN_SECS)})
        with ExitStack() as place:
            self._running += 1
            place.callback(self._ended)
            rows = await asyncio.to_thread(lambda: self._rows(view, where, own.get("group"), reach))
            headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
            written = WRITERS[form](view.columns, islice(rows, limit))
            return _Table(written, place.pop_all().close, headers=headers, media_type=MEDIA_TYPES[form])

    def _ended(self) -> None:
        self._running -= 1

    def _rows(self, view: View, where: list[tuple[str, str]], group: str | None, reach: Reach) -> Iterator[Row]:
        """The first row is made at once, so that what is wrong from the start is an answer and not an end in the middle."""
        rows = run_view(self._store, view, where, group=group, images_at=self._images_at, reach=reach, in_a_hurry=True)
        return chain(list(islice(rows, 1)), rows)


class _Table(StreamingResponse):
    """Tells when it has been sent, or its client has gone."""

    def __init__(self, written: Iterator[bytes], ended: Callable[[], None], **options: Any) -> None:
        super().__init__(written, **options)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _route(path: str, handle: Handler) -> Route:
    async def handled(request: Request) -> Response:
        try:
            if request.method not in ("GET", "HEAD"):
                return outcome(405, f"{request.method} is not done here", headers={"Allow": "GET, HEAD"})
            return await handle(request)
        except Rejected as error:
            return outcome(error.status, error.reason)
        except Retryable as error:
            return outcome(503, error.reason, headers={"Retry-After": "5"})

    async def answer(request: Request) -> Response:
        return in_their_form(request, await handled(request))

    middleware = [Middleware(ServerErrorMiddleware, handler=crashed), Middleware(GZipMiddleware, minimum_size=_GZIP_FROM_BYTES)]
    return Route(path, answer, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], middleware=middleware)


def _parameters(request: Request) -> list[tuple[str, str]]:
    try:
        text = request.scope.get("query_string", b"").decode()
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise Rejected("the parameters are not UTF-8", status=400) from error
    except ValueError as error:
        raise Rejected(f"more than {MAX_PARAMETERS} parameters", status=400) from error


def _format(asked: str | None, accept: str) -> str:
    """``_format``, else the Accept header, else NDJSON. Raises :class:`Rejected` (406)."""
    names = {**{name: name for name in WRITERS}, **{kind.partition(";")[0]: name for name, kind in MEDIA_TYPES.items()}}
    names |= {"application/fhir+json": "json", "application/ndjson": "ndjson", "application/fhir+ndjson": "ndjson"}
    if asked is not None:
        if asked.partition(";")[0].replace(" ", "+") not in names:
            raise Rejected(f"_format: one of {', '.join(WRITERS)}", status=406)
        return names[asked.partition(";")[0].replace(" ", "+")]
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((names[kind] for kind in wanted if kind in names), "ndjson")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Rejected("_limit must be a whole number", status=400)
    return int(text)


def _unknown() -> Rejected:
    return Rejected(f"there is no such view; these are shipped: {', '.join(shipped_names())}", status=404)


def _json(tree: Any) -> Response:
    return Response(encode(tree), headers={"Cache-Control": "private, no-cache"}, media_type="application/fhir+json")
