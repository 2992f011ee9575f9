"""WADO-RS and QIDO-RS over the spool archive (PS3.18 chapter 10), mounted at ``/dicom-web``.

Served is what was understood and is held by nobody, byte for byte as it was received; what has left the spool comes from an archive.
A study streams: memory holds one piece of one file. Nothing is transcoded.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from gateway.errors import Rejected, Retryable
from gateway.spool.archive import Archive
from gateway.spool.files import SpoolFiles
from gateway.web import dicomweb_files as content
from gateway.web import dicomweb_search as qido
from gateway.web.behind.archive import Level
from gateway.web.behind.front import Behind, Lent
from gateway.web.dicomweb_accept import DICOM, DICOM_JSON, OCTETS, PDF, choose, json_accepted
from gateway.web.dicomweb_merged import also_behind
from gateway.web.dicomweb_objects import Found, Item, Objects, encoding, encodings, given
from gateway.web.guard import STUDY_IS_SEEN
from gateway.web.multipart import HEADERS, Part, multipart

_UID = re.compile(r"[0-9.]{1,64}")
_MOST_FRAMES = 10_000
#: pydicom's UIDs are texts of a class of their own. What is no number becomes null, so places in a list are kept (PS3.18 F.2.5).
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")

Handle = Callable[[Request], Awaitable[Response]]


def dicomweb_routes(
    archive: Archive, files: SpoolFiles, *, behind: Behind | None = None, external_url: str | None = None
) -> list[BaseRoute]:
    """``behind``: the archives that are asked for what the spool does not have."""
    behind = behind or Behind([], files.directory, most_bytes=0, reserve_bytes=0)
    api = _Api(archive, Objects(archive, files, behind), behind, external_url)
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
            later = {"Retry-After": "10"} if error.status in (502, 503, 504) else {}
            return JSONResponse({"error": error.reason}, error.status, {**HEADERS, **later})
        except Retryable as error:
            return JSONResponse({"error": error.reason}, 503, {**HEADERS, "Retry-After": "5"})

    return answer


class _Api:
    def __init__(self, archive: Archive, objects: Objects, behind: Behind, external_url: str | None) -> None:
        self._archive = archive
        self._objects = objects
        self._behind = behind
        self._external_url = external_url

    async def nowhere(self, _request: Request) -> Response:
        raise Rejected("there is nothing at this address; it begins with /dicom-web/studies", status=404)

    async def retrieve(self, request: Request) -> Response:
        """A study, a series or an instance (PS3.18 10.4.1.1), byte for byte as received."""
        found = await self._find(request)
        accept, single = request.headers.get("accept"), "instance" in request.path_params
        # Before anything is answered: what an archive cannot give now is told with a status, not by breaking off.
        if known := encodings(found.items):
            bare, welcome = choose(accept, DICOM, known, single=single)
            wanted = [item for item in found.items if welcome(item.transfer_syntax_uid)]
            first = await self._objects.lend(wanted[0])
        else:
            wanted = found.items
            first = await self._objects.lend(wanted[0])
            bare, welcome = choose(accept, DICOM, [await encoding(wanted[0], first)], single=single)
        # PS3.18 table 10.4.3-2: 206 when part of what was asked for cannot be given, or when that is not known yet.
        unknown = not known and len(wanted) > 1 and not welcome("any other")
        status = 206 if found.missing or len(wanted) < len(found.items) or unknown else 200
        if not bare:
            return StreamingResponse(given(first), status, {**HEADERS, "Content-Type": DICOM})
        return multipart(self._parts(wanted, first, welcome), DICOM, status=status)

    async def _parts(self, wanted: Sequence[Item], first: Lent, welcome: Callable[[str], bool]) -> AsyncIterator[Part]:
        for number, item in enumerate(wanted):
            lent = await self._objects.lend(item) if number else first
            syntax = await encoding(item, lent)
            if welcome(syntax):
                size = (await run_in_threadpool(lent.path.stat)).st_size
                yield Part(f"{DICOM};transfer-syntax={syntax}", size, given(lent))
            lent.close()

    async def metadata(self, request: Request) -> Response:
        """Headers as DICOM JSON (PS3.18 10.4.1.1.5), written one by one."""
        json_accepted(request.headers.get("accept"))
        found = await self._find(request)
        base = base_address(request, self._external_url)
        first = await self._header_json(found.items[0], base)

        async def body() -> AsyncIterator[bytes]:
            yield b"[" + first
            for item in found.items[1:]:
                yield b",\n" + await self._header_json(item, base)
            yield b"]"

        return StreamingResponse(body(), 206 if found.missing else 200, {**HEADERS, "Content-Type": DICOM_JSON})

    async def _header_json(self, item: Item, base: str) -> bytes:
        address = f"{base}/studies/{item.study_uid}/series/{item.series_uid}/instances/{item.sop_instance_uid}"
        lent = await self._objects.lend(item)
        try:
            return await run_in_threadpool(lambda: _encoder.encode(content.metadata(lent.path, address)))
        finally:
            lent.close()

    async def frames(self, request: Request) -> Response:
        """Frames by number (PS3.18 10.4.1.1.6): native pixels, or each frame as it was compressed."""
        numbers = _frame_numbers(request.path_params["frames"])
        async with self._one(request) as (lent, syntax):
            kind = content.frame_type(syntax)
            as_multipart, _ = choose(request.headers.get("accept"), kind, [syntax], single=len(numbers) == 1)
            source = content.frames(lent.path, numbers)
            first = await run_in_threadpool(next, source)
        if not as_multipart:
            return Response(first, 200, HEADERS, kind)
        return multipart(_frame_parts(first, source, f"{kind};transfer-syntax={syntax}"), kind)

    async def bulk_data(self, request: Request) -> Response:
        """A large binary value by its tag: what a BulkDataURI of the metadata names."""
        text = request.path_params["tag"]
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", text):
            raise Rejected("a tag has eight hexadecimal digits", status=400)
        async with self._one(request) as (lent, _):
            as_multipart, _ = choose(request.headers.get("accept"), OCTETS, ["1.2.840.10008.1.2.1"], single=True)
            body = await run_in_threadpool(content.bulk_data, lent.path, int(text, 16))
        if not as_multipart:
            headers = {**HEADERS, "Content-Length": str(len(body))}
            return StreamingResponse(content.view_pieces(body), 200, headers, OCTETS)
        return multipart(_value_part(body), OCTETS)

    async def rendered(self, request: Request) -> Response:
        """An encapsulated PDF for people (PS3.18 10.4.1.1.3). It comes from strangers: browsers save it, they do not run it."""
        async with self._one(request) as (lent, _):
            body = await run_in_threadpool(content.pdf, lent.path)
        choose(request.headers.get("accept"), PDF, ["1.2.840.10008.1.2.1"], single=True)
        headers = {**HEADERS, "Content-Length": str(len(body)), "Content-Disposition": 'attachment; filename="document.pdf"'}
        return StreamingResponse(content.view_pieces(body), 200, headers, PDF)

    @asynccontextmanager
    async def _one(self, request: Request) -> AsyncIterator[tuple[Lent, str]]:
        """The file of the instance and its transfer syntax. A file that was fetched has no name afterwards; what was mapped of it stays."""
        item = (await self._find(request)).items[0]
        lent = await self._objects.lend(item)
        try:
            yield lent, await encoding(item, lent)
        finally:
            lent.close()

    async def search_studies(self, request: Request) -> Response:
        return await self._search(request, Level.STUDY)

    async def search_series(self, request: Request) -> Response:
        return await self._search(request, Level.SERIES)

    async def search_instances(self, request: Request) -> Response:
        return await self._search(request, Level.INSTANCE)

    async def _search(self, request: Request, level: Level) -> Response:
        json_accepted(request.headers.get("accept"))
        query = qido.parse(request.query_params.multi_items(), uids_of(request), level)
        base, is_seen = base_address(request, self._external_url), request.scope.get(STUDY_IS_SEEN)
        found = await run_in_threadpool(qido.search, self._archive, query, base, is_seen)
        if is_seen is None:
            found = await also_behind(found, query, self._behind, self._archive, base)
        headers = {**HEADERS, **({"Warning": f'299 isobridge "{found.warning}"'} if found.warning else {})}
        return Response(_encoder.encode(found.items), 200, headers, DICOM_JSON)

    async def _find(self, request: Request) -> Found:
        return await self._objects.find(uids_of(request), bounded=STUDY_IS_SEEN in request.scope)


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
