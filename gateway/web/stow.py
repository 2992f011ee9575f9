"""STOW-RS (PS3.18 10.5): objects come in by HTTP, through the same door as those that scanners send.

A request streams: memory holds a few pieces of it, however large its objects are. Walking, hashing and waiting for the disk happen in
threads. What is answered as stored has its file and its row. A client that is slow or goes away costs one of a few places, for a while.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.dicom.text import printable
from gateway.errors import Rejected, Retryable
from gateway.model import Arrival, Door
from gateway.receive import status
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Expected
from gateway.receive.file_stream import Sender
from gateway.web.dicomweb import base_address, uids_of
from gateway.web.dicomweb_accept import DICOM, DICOM_JSON, MULTIPART
from gateway.web.forms import check_sender
from gateway.web.multipart import HEADERS
from gateway.web.multipart_reader import MultipartReader, media_type
from gateway.web.stow_answer import answer, answer_type
from gateway.web.stow_json import JsonParts
from gateway.web.stow_parts import FileParts, Results, Stored

#: Requests at once: each may hold some megabytes and a thread.
PLACES = 8
#: Of these, for one name of log-in, or one address where nobody logs in: whoever is slow, others still find a place.
PLACES_OF_ONE = 4
#: Pieces are handed to a thread in portions of this size.
_PORTION_BYTES = 256 * 1024
_AE_MOST = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StowSettings:
    """What clients may do. ``senders`` are names of log-in; None: nobody logs in here (loopback), and everybody may store."""

    senders: frozenset[str] | None
    ae_title: str
    external_url: str | None = None
    accept_raw_data: bool = False
    max_request_bytes: int = 4 << 30
    idle_timeout_secs: float = 30.0  #: between two pieces
    pace_secs: float = 30.0  #: whenever we have waited so long for a client, it must have kept the pace in that time
    least_bytes_per_sec: float = 16 * 1024


class _Taking(Protocol):
    """One request's content on its way in. ``are_independent``: what came whole is stored although the rest did not come."""

    are_independent: bool
    broken: Rejected | None

    def feed(self, portion: bytes) -> None: ...

    def finish(self) -> list[Stored]: ...

    def discard(self) -> None: ...


def stow_routes(direct: DirectDoor, settings: StowSettings) -> list[BaseRoute]:
    api = _Stow(direct, settings)
    return [Route(path, api.store, methods=["POST"]) for path in ("/studies", "/studies/{study}")]


class _Stow:
    def __init__(self, direct: DirectDoor, settings: StowSettings) -> None:
        self._direct = direct
        self._settings = settings
        self._storing: Counter[str] = Counter()  #: requests at once, by who sent them

    async def store(self, request: Request) -> Response:
        """POST of one or more objects. Everything that can be refused is refused before the body is asked for."""
        try:
            kind = answer_type(request.headers.get("accept"))
            taking = self._taking(request)
        except Rejected as error:
            return _refused(error.reason, error.status)
        who = str(request.scope.get("isobridge.user") or _peer(request))
        if self._storing.total() >= PLACES:
            return _refused("too many clients are storing just now", 503)
        if self._storing[who] >= PLACES_OF_ONE:
            return _refused(f"you are storing {PLACES_OF_ONE} messages already", 503)
        self._storing[who] += 1
        try:
            return await self._take(request, taking, kind)
        finally:
            self._storing[who] -= 1
            self._storing += Counter()  # forgets who has none

    def _taking(self, request: Request) -> _Taking:
        """Who may store, what, and how it is read. Raises :class:`Rejected`: 400, 403, 413, 415."""
        check_sender(request, self._settings.external_url)
        user = request.scope.get("isobridge.user")
        if self._settings.senders is not None and user not in self._settings.senders:
            raise Rejected("this name may not store; an administrator lists it in web.stow_senders", status=403)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Rejected("the body must not be compressed (Content-Encoding)", status=415)
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_request_bytes:
            raise Rejected(self._too_large(), status=413)
        expected = Expected(study_instance_uid=uids_of(request).get("study", ""))
        # A name of log-in is no AE title, but it tells as well as one who brought an object.
        name = printable(str(user or ""))[:_AE_MOST]
        sender = Sender(calling_ae=name, called_ae=self._settings.ae_title, accept_raw_data=self._settings.accept_raw_data)
        results = Results(self._direct, _arrivals(request, sender), expected)
        kind, parameters = media_type(request.headers.get("content-type", ""))
        if kind == DICOM:
            return _Single(FileParts(results, sender))
        inner = parameters.get("type", DICOM).lower()
        if kind != MULTIPART or inner not in (DICOM, DICOM_JSON):
            raise Rejected(
                f'Content-Type: {MULTIPART}; type="{DICOM}" (files) or type="{DICOM_JSON}" (metadata with bulk data) is accepted',
                status=415,
            )
        parts = FileParts(results, sender) if inner == DICOM else JsonParts(results, sender)
        return _Multipart(parameters.get("boundary", ""), parts)

    async def _take(self, request: Request, taking: _Taking, kind: str) -> Response:
        broken: Rejected | None = None
        try:
            try:
                async for portion in _portions(request, self._settings):
                    await run_in_threadpool(taking.feed, portion)
            except Rejected as error:
                if error.status == 408 or not taking.are_independent:
                    raise
                broken = error
            results = await run_in_threadpool(taking.finish)
        except ClientDisconnect:
            log.info("stow_broken_off", stage="web", peer=_peer(request))
            return Response(status_code=400)  # nobody is there to read it
        except Rejected as error:
            return _refused(error.reason, error.status)
        except Retryable as error:
            return _refused(error.reason, 507 if "disk" in error.reason else 503)
        finally:
            await asyncio.shield(run_in_threadpool(taking.discard))
        broken = broken or taking.broken
        stored = sum(item.status == status.SUCCESS for item in results)
        log.info("stow_answered", stage="web", count=stored, missing=len(results) - stored, peer=_peer(request))
        found = answer(results, broken, base=base_address(request, self._settings.external_url), kind=kind)
        if broken is not None:
            found.headers["Connection"] = "close"
        return found

    def _too_large(self) -> str:
        return f"the message is larger than the {self._settings.max_request_bytes >> 20:,} MiB that are accepted"


class _Multipart:
    """Parts, and what is wrong with the message as a whole."""

    def __init__(self, boundary: str, parts: FileParts | JsonParts) -> None:
        self._parts = parts
        self._reader = MultipartReader(boundary, parts)
        self.broken: Rejected | None = None
        self.are_independent = parts.are_independent

    def feed(self, portion: bytes) -> None:
        self._reader.feed(portion)

    def finish(self) -> list[Stored]:
        try:
            self._reader.finish()
        except Rejected as error:
            if not self._parts.are_independent:
                raise
            self.broken = error
        return self._parts.finish()

    def discard(self) -> None:
        self._parts.discard()


class _Single:
    """One file without parts around it (PS3.18 10.5.1)."""

    are_independent = False
    broken: Rejected | None = None

    def __init__(self, parts: FileParts) -> None:
        self._parts = parts
        self._parts.begin({})

    def feed(self, portion: bytes) -> None:
        self._parts.write(portion)

    def finish(self) -> list[Stored]:
        self._parts.end()
        return self._parts.finish()

    def discard(self) -> None:
        self._parts.discard()


async def _portions(request: Request, settings: StowSettings) -> AsyncIterator[bytes]:
    """The body in larger pieces. Raises :class:`Rejected`: 408 for a client that does not keep the pace, 413 for too much."""
    stream, total, waited, came = request.stream(), 0, 0.0, 0
    gathered = bytearray()
    while True:
        asked_at = time.monotonic()
        try:
            piece = await asyncio.wait_for(anext(stream), settings.idle_timeout_secs)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise Rejected("nothing came for too long", status=408) from None
        total += len(piece)
        if total > settings.max_request_bytes:
            raise Rejected(
                f"the message is larger than the {settings.max_request_bytes >> 20:,} MiB that are accepted", status=413
            )
        waited, came = waited + time.monotonic() - asked_at, came + len(piece)
        if waited >= settings.pace_secs:
            if came < waited * settings.least_bytes_per_sec:
                raise Rejected("the message comes too slowly", status=408)
            waited, came = 0.0, 0
        gathered += piece
        if len(gathered) >= _PORTION_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _arrivals(request: Request, sender: Sender) -> Callable[[], Arrival]:
    peer = _peer(request)

    def arrival() -> Arrival:
        return Arrival(
            door=Door.STOW,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=peer,
            received_at=dt.datetime.now(dt.UTC),
        )

    return arrival


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


def _refused(reason: str, code: int) -> Response:
    """The connection ends with it: the rest of the body is not read."""
    headers = {**HEADERS, "Connection": "close", **({"Retry-After": "5"} if code in (503, 507) else {})}
    return JSONResponse({"error": reason}, code, headers)
