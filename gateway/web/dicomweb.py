"""WADO-RS and QIDO-RS over the spool archive (PS3.18 chapter 10), mounted at ``/dicom-web``.

Served is what was understood and is held by nobody, byte for byte as it was received. A study streams: memory holds one piece of
one file. Nothing is transcoded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from gateway.errors import Rejected, Retryable
from gateway.spool.archive import Archive, Served
from gateway.spool.files import SpoolFiles
from gateway.web import dicomweb_files as content
from gateway.web import dicomweb_search as qido
from gateway.web.dicomweb_accept import DICOM, DICOM_JSON, OCTETS, PDF, choose, json_accepted
from gateway.web.guard import STUDY_IS_SEEN
from gateway.web.multipart import HEADERS, Part, multipart

_UID = re.compile(r"[0-9.]{1,64}")
_MOST_FRAMES = 10_000
#: pydicom's UIDs are texts of a class of their own. What is no number becomes null, so places in a list are kept (PS3.18 F.2.5).
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")

Handle = Callable[[Request], Awaitable[Response]]


def dicomweb_routes(archive: Archive, files: SpoolFiles, *, external_url: str | None = None) -> list[BaseRoute]:
    api = _Api(archive, files, external_url)
    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = f"{series}/instances/{{instance}}"
    answers: list[tuple[str, Handle]] = [
        ("/studies", api.search_studies),
        ("/series", api.search_series),
        ("/instances", api.search_instances),
        (f"{study}/series", api.search_series),
        (f"{study}/instances", api.search_instances),
        (f"{series}/instances", api.search_instances),
        *((f"{place}/metadata", api.metadata) for place in (study, series, instance)),
        (f"{instance}/frames/{{frames}}", api.frames),
        (f"{instance}/bulkdata/{{tag}}", api.bulk_data),
        (f"{instance}/rendered", api.rendered),
        *((place, api.retrieve) for place in (study, series, instance)),
        ("/{path:path}", api.nowhere),
    ]
    return [Route(path, _told(handle), methods=["GET"]) for path, handle in answers]


def _told(handle: Handle) -> Handle:
    """Our errors as HTTP answers with one sentence."""

    async def answer(request: Request) -> Response:
        try:
            return await handle(request)
        except Rejected as error:
            return JSONResponse({"error": error.reason}, error.status, HEADERS)
        except Retryable as error:
            return JSONResponse({"error": error.reason}, 503, {**HEADERS, "Retry-After": "5"})

    return answer


class _Api:
    def __init__(self, archive: Archive, files: SpoolFiles, external_url: str | None) -> None:
        self._archive = archive
        self._files = files
        self._external_url = external_url

    async def nowhere(self, _request: Request) -> Response:
        raise Rejected("there is nothing at this address; it begins with /dicom-web/studies", status=404)

    async def retrieve(self, request: Request) -> Response:
        """A study, a series or an instance (PS3.18 10.4.1.1), byte for byte as received."""
        found, missing = await self._find(request)
        accept = request.headers.get("accept")
        single = "instance" in request.path_params
        bare, welcome = choose(accept, DICOM, [item.transfer_syntax_uid for item in found], single=single)
        wanted = [item for item in found if welcome(item.transfer_syntax_uid)]
        # PS3.18 table 10.4.3-2: 206 when part of what was asked for cannot be given.
        status = 206 if missing or len(wanted) < len(found) else 200
        if not bare:
            path = self._path(wanted[0])
            return StreamingResponse(content.pieces(path), status, {**HEADERS, "Content-Type": DICOM})
        return multipart(self._parts(wanted), DICOM, status=status)

    async def _parts(self, wanted: Sequence[Served]) -> AsyncIterator[Part]:
        for item in wanted:
            path = self._path(item)
            size = (await run_in_threadpool(path.stat)).st_size
            yield Part(f"{DICOM};transfer-syntax={item.transfer_syntax_uid}", size, content.pieces(path))

    async def metadata(self, request: Request) -> Response:
        """Headers as DICOM JSON (PS3.18 10.4.1.1.5), written one by one."""
        json_accepted(request.headers.get("accept"))
        found, missing = await self._find(request)
        base = base_address(request, self._external_url)
        first = await run_in_threadpool(self._header_json, found[0], base)

        async def body() -> AsyncIterator[bytes]:
            yield b"[" + first
            for item in found[1:]:
                yield b",\n" + await run_in_threadpool(self._header_json, item, base)
            yield b"]"

        return StreamingResponse(body(), 206 if missing else 200, {**HEADERS, "Content-Type": DICOM_JSON})

    def _header_json(self, item: Served, base: str) -> bytes:
        address = f"{base}/studies/{item.study_uid}/series/{item.series_uid}/instances/{item.sop_instance_uid}"
        return _encoder.encode(content.metadata(self._path(item), address))

    async def frames(self, request: Request) -> Response:
        """Frames by number (PS3.18 10.4.1.1.6): native pixels, or each frame as it was compressed."""
        numbers = _frame_numbers(request.path_params["frames"])
        found, _ = await self._find(request)
        kind = content.frame_type(found[0].transfer_syntax_uid)
        syntax = found[0].transfer_syntax_uid
        as_multipart, _ = choose(request.headers.get("accept"), kind, [syntax], single=len(numbers) == 1)
        source = content.frames(self._path(found[0]), numbers)
        first = await run_in_threadpool(next, source)
        if not as_multipart:
            return Response(first, 200, HEADERS, kind)
        return multipart(_frame_parts(first, source, f"{kind};transfer-syntax={syntax}"), kind)

    async def bulk_data(self, request: Request) -> Response:
        """A large binary value by its tag: what a BulkDataURI of the metadata names."""
        text = request.path_params["tag"]
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", text):
            raise Rejected("a tag has eight hexadecimal digits", status=400)
        found, _ = await self._find(request)
        as_multipart, _ = choose(request.headers.get("accept"), OCTETS, ["1.2.840.10008.1.2.1"], single=True)
        body = await run_in_threadpool(content.bulk_data, self._path(found[0]), int(text, 16))
        if not as_multipart:
            headers = {**HEADERS, "Content-Length": str(len(body))}
            return StreamingResponse(content.view_pieces(body), 200, headers, OCTETS)
        return multipart(_value_part(body), OCTETS)

    async def rendered(self, request: Request) -> Response:
        """An encapsulated PDF for people (PS3.18 10.4.1.1.3). It comes from strangers: browsers save it, they do not run it."""
        found, _ = await self._find(request)
        body = await run_in_threadpool(content.pdf, self._path(found[0]))
        choose(request.headers.get("accept"), PDF, ["1.2.840.10008.1.2.1"], single=True)
        headers = {**HEADERS, "Content-Length": str(len(body)), "Content-Disposition": 'attachment; filename="document.pdf"'}
        return StreamingResponse(content.view_pieces(body), 200, headers, PDF)

    async def search_studies(self, request: Request) -> Response:
        return await self._search(request, qido.Level.STUDY)

    async def search_series(self, request: Request) -> Response:
        return await self._search(request, qido.Level.SERIES)

    async def search_instances(self, request: Request) -> Response:
        return await self._search(request, qido.Level.INSTANCE)

    async def _search(self, request: Request, level: qido.Level) -> Response:
        json_accepted(request.headers.get("accept"))
        query = qido.parse(request.query_params.multi_items(), uids_of(request), level)
        base, is_seen = base_address(request, self._external_url), request.scope.get(STUDY_IS_SEEN)
        found = await run_in_threadpool(qido.search, self._archive, query, base, is_seen)
        headers = {**HEADERS, **({"Warning": f'299 isobridge "{found.warning}"'} if found.warning else {})}
        return Response(_encoder.encode(found.items), 200, headers, DICOM_JSON)

    async def _find(self, request: Request) -> tuple[list[Served], int]:
        """What is asked for and has a file, and how many have none. Raises :class:`Rejected`: 404, or 410 when all files are gone."""
        wanted = uids_of(request)
        found = await run_in_threadpool(self._archive.served, **wanted)
        if not found:
            held = await run_in_threadpool(self._archive.not_served, **wanted)
            raise Rejected(_absent(held), status=404)
        there = await run_in_threadpool(lambda: [item for item in found if self._path(item).exists()])
        if not there:
            raise Rejected("the originals have left the archive (retention); only their facts are kept", status=410)
        return there, len(found) - len(there)

    def _path(self, item: Served) -> Path:
        return self._files.locate(item.day, item.digest)


def _absent(held: dict[str, int]) -> str:
    if not held:
        return "nothing is known of this study, series or instance"
    states = ", ".join(f"{count} {state}" for state, count in held.items())
    return f"what is known of it is not served ({states}): it waits for the gateway or for a person's decision"


async def _frame_parts(first: bytes, rest: Iterator[bytes], content_type: str) -> AsyncIterator[Part]:
    frame: bytes | None = first
    while frame is not None:
        yield Part(content_type, len(frame), _one(frame))
        frame = await run_in_threadpool(next, rest, None)


async def _value_part(body: memoryview) -> AsyncIterator[Part]:
    yield Part(OCTETS, len(body), content.view_pieces(body))


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


def uids_of(request: Request) -> dict[str, str]:
    """The UIDs in the address. Raises :class:`Rejected` (400) for what is no UID."""
    found: dict[str, str] = {
        name: str(request.path_params[name]) for name in ("study", "series", "instance") if name in request.path_params
    }
    for name, uid in found.items():
        if not _UID.fullmatch(uid):
            raise Rejected(f"the {name} in this address is not a UID", status=400)
    return found


def _frame_numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",") if re.fullmatch(r"[1-9][0-9]{0,6}", word)]
    if not numbers or len(numbers) != text.count(",") + 1 or len(numbers) > _MOST_FRAMES:
        raise Rejected("frames are numbers from 1, with commas between them", status=400)
    return numbers


def base_address(request: Request, external_url: str | None) -> str:
    """Where this client finds us: ``web.external_url``, else as it wrote our name (some clients leave out the port)."""
    path = str(request.scope.get("root_path", ""))
    if external_url is not None:
        return f"{external_url.rstrip('/')}{path}"
    url, server = request.base_url, request.scope.get("server")
    usual = {"http": 80, "https": 443}.get(url.scheme)
    missing = url.port is None and server is not None and server[1] not in (None, usual)
    return f"{url.scheme}://{url.netloc}{f':{server[1]}' if missing and server else ''}{path}"
