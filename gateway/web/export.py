"""Bulk Data Access (HL7 IG 2.0, export.html): ``$export`` of the system, of all patients, of a Group; status, manifest, files.

Whoever asked for an export may follow it and fetch its files; to others it does not exist.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from gateway.config import Settings
from gateway.errors import Rejected, Retryable
from gateway.model import JsonObject
from gateway.r4.canonical import encode
from gateway.store import FhirStore, dates
from gateway.store.export_files import JobFile
from gateway.store.export_jobs import ExportJobs, Job, instant
from gateway.web.access import reach_of
from gateway.web.export_order import read_order, read_parameters
from gateway.web.fhir_http import crashed, in_their_form, outcome

NDJSON = "application/fhir+ndjson"
ASK_AGAIN_SECS = 2
_DEFINITION = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition"
#: Name of each operation -> its definition, for the CapabilityStatement.
EXPORTS = {
    "export": f"{_DEFINITION}/export",
    "patient-export": f"{_DEFINITION}/patient-export",
    "group-export": f"{_DEFINITION}/group-export",
}
_PIECE_BYTES = 1 << 20

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def export_routes(store: FhirStore, settings: Settings) -> list[BaseRoute]:
    """The routes, to stand before those of the REST endpoint."""
    jobs = ExportJobs(settings.data.directory / "exports", store.exporter())
    api = ExportApi(jobs, token_required=bool(settings.web.users or settings.web.tokens or settings.clients))
    return api.routes()


class ExportApi:
    """The handlers over some jobs."""

    def __init__(self, jobs: ExportJobs, *, token_required: bool) -> None:
        self._jobs = jobs
        self._token_required = token_required

    def routes(self) -> list[BaseRoute]:
        return [
            _route("/$export", self.kick_off, "GET", "POST"),
            _route("/Patient/$export", self.kick_off, "GET", "POST"),
            _route("/Group/{group}/$export", self.kick_off, "GET", "POST"),
            _route("/$export-status/{job}", self.status, "GET", "HEAD", "DELETE"),
            _route("/$export-file/{job}/{name}", self.file, "GET", "HEAD"),
        ]

    async def kick_off(self, request: Request) -> Response:
        if "respond-async" not in request.headers.get("prefer", ""):
            raise Rejected("an export is made while you wait elsewhere: ask with the header 'Prefer: respond-async'", status=400)
        parameters = await read_parameters(request)
        query = f"?{urlencode(parameters)}" if parameters else ""
        order = read_order(
            request, parameters, asked=f"{base_of(request)}{_below(request)}{query}", user=_user(request), reach=reach_of(request)
        )
        job_id = await _in_thread(lambda: self._jobs.start(order))
        where = f"{base_of(request)}/$export-status/{job_id}"
        answer = outcome(202, "the export is accepted; its state is at the address of Content-Location")
        answer.headers["Content-Location"] = where
        return answer

    async def status(self, request: Request) -> Response:
        job = await self._job(request)
        if request.method == "DELETE":
            await _in_thread(lambda: self._jobs.delete(job))
            return outcome(202, "the export is removed")
        if job.state == "waiting":
            progress = self._jobs.progress(job.id)
            return Response(status_code=202, headers={"X-Progress": progress, "Retry-After": str(ASK_AGAIN_SECS)})
        expires = {"Expires": format_datetime(instant(job.expires), usegmt=True), "Cache-Control": "private, no-cache"}
        if job.state == "failed":
            return outcome(500, f"the export failed: {job.reason}", headers=expires)
        return Response(encode(self._manifest(request, job)), 200, expires, "application/json")

    async def file(self, request: Request) -> Response:
        job = await self._job(request)
        path = self._jobs.file(job, request.path_params["name"])
        if path is None or not path.is_file():
            raise Rejected("this export has no such file", status=404)
        headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding"}
        if _takes_gzip(request):
            return FileResponse(path, headers={**headers, "Content-Encoding": "gzip"}, media_type=NDJSON)
        return StreamingResponse(_unpacked(path), headers=headers, media_type=NDJSON)

    async def _job(self, request: Request) -> Job:
        job = await _in_thread(lambda: self._jobs.get(request.path_params["job"], _user(request), reach_of(request)))
        if job is None:
            raise Rejected("there is no such export; exports are removed when they expire", status=404)
        return job

    def _manifest(self, request: Request, job: Job) -> JsonObject:
        base = base_of(request)

        def listed(files: tuple[JobFile, ...]) -> list[JsonObject]:
            return [
                {"type": item.type, "url": f"{base}/$export-file/{job.id}/{item.name}", "count": item.count} for item in files
            ]

        return {
            "transactionTime": dates.as_instant(job.transaction_time),
            "request": job.order.request,
            "requiresAccessToken": self._token_required,
            "output": listed(job.output),
            "deleted": listed(job.deleted),
            "error": [],
        }


def _route(path: str, handle: Handler, *allowed: str) -> Route:
    async def handled(request: Request) -> Response:
        try:
            if request.method not in allowed:
                return outcome(405, f"{request.method} is not done here", headers={"Allow": ", ".join(allowed)})
            return await handle(request)
        except Rejected as error:
            return outcome(error.status, error.reason)
        except Retryable as error:
            return outcome(503, error.reason, headers={"Retry-After": str(ASK_AGAIN_SECS)})

    async def answer(request: Request) -> Response:
        return in_their_form(request, await handled(request))

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    return Route(path, answer, methods=methods, middleware=[Middleware(ServerErrorMiddleware, handler=crashed)])


def base_of(request: Request) -> str:
    """The endpoint under the host that the client asked."""
    return f"{request.base_url.scheme}://{request.base_url.netloc}{request.scope.get('root_path', '')}".rstrip("/")


def _below(request: Request) -> str:
    return request.url.path.removeprefix(str(request.scope.get("root_path", "")))


def _user(request: Request) -> str:
    return str(request.scope.get("isobridge.user") or "")


def _takes_gzip(request: Request) -> bool:
    words = [word.strip().lower() for word in request.headers.get("accept-encoding", "").split(",")]
    return any(word.partition(";")[0] == "gzip" and not word.replace(" ", "").endswith(";q=0") for word in words)


def _unpacked(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
