"""Tables over HTTP: ``POST /tables`` takes them in; the pages show what waits and let a person assign it.

DICOM knows no encapsulated CSV (PS3.3 A.45 has PDF, CDA, STL, OBJ, MTL), so STOW-RS cannot carry a table; this is the route beside it:
a table as the body, or several in ``multipart/related`` or ``multipart/form-data``. The name of a file stands in Content-Disposition
and never in an address: names of files name patients.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.errors import GatewayError, Rejected, Retryable
from gateway.in_force import SiteInForce
from gateway.line import Line
from gateway.spool.decisions import By
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.table_door import TableDoor, TableTaken
from gateway.tables.cells import MOST_BYTES
from gateway.tables.placing import hint_of
from gateway.web.forms import check_sender, read_form
from gateway.web.login import user_of
from gateway.web.multipart import HEADERS
from gateway.web.multipart_reader import MultipartReader, media_type
from gateway.web.notes import Notes
from gateway.web.pages import Pages
from gateway.web.stow import StowSettings
from gateway.workbench.tables import assign, choices, decision_words, fact_words, hint_words

_KINDS = (
    "text/csv",
    "text/plain",
    "text/tab-separated-values",
    "application/json",
    "application/octet-stream",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
_MULTIPART = ("multipart/related", "multipart/form-data", "multipart/mixed")
_MOST_PARTS = 20
#: Messages at once, each of which is held in memory; how long one may take to come.
PLACES, _MOST_SECS = 4, 120.0
_MOST_SHOWN = 500

log = structlog.get_logger()


class TablePages:
    def __init__(
        self,
        ledger: Ledger,
        files: SpoolFiles,
        door: TableDoor,
        site: SiteInForce,
        pages: Pages,
        notes: Notes,
        settings: StowSettings,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._door = door
        self._site = site
        self._pages = pages
        self._notes = notes
        self._settings = settings
        self._places = PLACES

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/tables", self.listed, methods=["GET"]),
            Route("/tables", self.store, methods=["POST"]),
            Route("/tables/{part:int}", self.shown, methods=["GET", "POST"]),
            Route("/actions/table", self.decide, methods=["POST"]),
        ]

    async def store(self, request: Request) -> Response:
        """Take one or more tables. Each is answered on its own; 200 when all were taken, else the code of the first that was not."""
        if not self._places:
            return _refused("too many clients are bringing tables just now", 503)
        self._places -= 1
        try:
            return await self._store(request)
        except Rejected as error:
            return _refused(error.reason, error.status)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._places += 1

    async def _store(self, request: Request) -> Response:
        user = self._may_store(request)
        try:
            tables = await asyncio.wait_for(_tables(request), _MOST_SECS)
        except TimeoutError:
            raise Rejected("the message comes too slowly", status=408) from None
        answers, code = [], 200
        for name, content in tables:
            answer, status = await run_in_threadpool(self._take, content, name, user, request.query_params.get("adapter"))
            answers.append(answer)
            code = status if code == 200 else code
        return JSONResponse({"tables": answers}, code, HEADERS)

    def _may_store(self, request: Request) -> str:
        check_sender(request, self._settings.external_url)
        user = request.scope.get("isobridge.user")
        if self._settings.senders is not None and user not in self._settings.senders:
            raise Rejected("this name may not store; an administrator lists it in web.stow_senders", status=403)
        return str(user or "")

    def _take(self, content: bytes, name: str, user: str, adapter: str | None) -> tuple[dict[str, Any], int]:
        try:
            taken = self._door.take(content, name, door="http", sender=user, now=time.time(), adapter=adapter)
        except Rejected as error:
            return {"error": error.reason}, error.status
        except Retryable as error:
            return {"error": error.reason}, 507 if "disk" in error.reason else 503
        return _answer(taken), 200

    async def listed(self, request: Request) -> Response:
        """What waits for a person, and what came lately."""
        everything = "all" in request.query_params
        parts = await run_in_threadpool(lambda: self._ledger.tables.listed(everything=everything))
        context = {"rows": parts, "everything": everything, "cut": len(parts) >= _MOST_SHOWN}
        return self._pages.draw(request, "tables.html", context)

    async def shown(self, request: Request) -> Response:
        """One part: its facts, what it may belong to, a form. A POST looks for another patient: no id of one stands in an address."""
        patient = ""
        if request.method == "POST":
            try:
                patient = dict(await read_form(request, external_url=self._settings.external_url)).get("patient", "").strip()
            except Rejected as error:
                return PlainTextResponse(f"{error.reason}\n", error.status)
        try:
            found = await run_in_threadpool(lambda: choices(self._line(), request.path_params["part"], patient=patient or None))
        except Rejected as error:
            return self._pages.draw(request, "nothing.html", {"text": error.reason}, status=404)
        zone = self._site.understanding.site.timezone
        hint = hint_of(found.fields)
        context = {
            "found": found,
            "part": found.part,
            "hint": hint_words(hint) if hint else None,
            "facts": [fact_words(result) for result in found.fields.results],
            "decisions": [decision_words(decision, zone) for decision in found.decisions],
        }
        return self._pages.draw(request, "table.html", context)

    async def decide(self, request: Request) -> Response:
        """Assign, withdraw or restore, and show the page again with a note (303)."""
        try:
            form = {name: value.strip() for name, value in await read_form(request, external_url=self._settings.external_url)}
        except Rejected as error:
            return PlainTextResponse(f"{error.reason}\n", error.status)
        number = form.get("part", "")
        part_id = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0
        try:
            by = By(name=user_of(request), reason=form.get("reason", ""), at=time.time())
            note = self._notes.leave(await run_in_threadpool(self._decide, part_id, form, by))
        except GatewayError as error:
            note = self._notes.leave(error.reason, good=False)
        return RedirectResponse(f"/tables/{part_id}?note={note}", 303)

    def _decide(self, part_id: int, form: dict[str, str], by: By) -> str:
        kind, tables = form.get("decision", ""), self._ledger.tables
        if kind == "withdraw":
            decision = tables.withdraw(part_id, by)
        elif kind == "restore":
            decision = tables.restore(part_id, by)
        elif kind == "assign":
            patient, _, administration = form.get("choice", "").rpartition("#")  # ids of patients may hold any sign
            cycle = form.get("cycle", "")
            decision = assign(
                self._line(),
                part_id,
                by,
                patient=patient or None,
                administration=administration or None,
                cycle=int(cycle) if cycle.isascii() and cycle.isdigit() and len(cycle) < 3 else None,
            )
        else:
            raise Rejected("There is no such decision.", status=404)
        log.info("decided", stage="web", action=f"table_{decision.kind}")
        return decision_words(decision, self._site.understanding.site.timezone)

    def _line(self) -> Line:
        return Line(understanding=self._site.refresh(), files=self._files, ledger=self._ledger, targets=())


def _answer(taken: TableTaken) -> dict[str, Any]:
    return {
        "digest": taken.digest,
        "state": "taken" if taken.is_new else "known",
        "adapter": taken.understood.adapter.name,
        "facts": taken.facts,
        "issues": [issue.as_json() for issue in taken.understood.issues],
    }


async def _tables(request: Request) -> list[tuple[str, bytes]]:
    """The tables of a request with their names. Raises :class:`Rejected`: 400, 413, 415."""
    kind, parameters = media_type(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected("the body must not be compressed (Content-Encoding)", status=415)
    body = bytearray()
    if kind not in (*_KINDS, *_MULTIPART):
        raise Rejected(f"Content-Type: one of {', '.join((*_KINDS, *_MULTIPART))} is accepted", status=415)
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Rejected(f"the message is larger than the {MOST_BYTES >> 20} MiB that are accepted", status=413)
    if kind not in _MULTIPART:
        return [(_name(request.headers.get("content-disposition", "")), bytes(body))]
    parts = _Parts()
    reader = MultipartReader(parameters.get("boundary", ""), parts)
    reader.feed(bytes(body))
    reader.finish()
    if not parts.tables:
        raise Rejected("the message holds no table", status=400)
    return parts.tables


class _Parts:
    """Collects the parts of a message that was measured before."""

    def __init__(self) -> None:
        self.tables: list[tuple[str, bytes]] = []
        self._name = ""
        self._body = bytearray()

    def begin(self, headers: dict[str, str]) -> None:
        if len(self.tables) >= _MOST_PARTS:
            raise Rejected(f"a message holds {_MOST_PARTS} tables at most", status=413)
        self._name, self._body = _name(headers.get("content-disposition", "")), bytearray()

    def write(self, piece: memoryview) -> None:
        self._body += piece

    def end(self) -> None:
        self.tables.append((self._name, bytes(self._body)))


def _name(disposition: str) -> str:
    """The name of a file (RFC 6266), without folders."""
    name = media_type(disposition)[1].get("filename", "")
    return name.replace("\\", "/").rpartition("/")[2] or "table"


def _refused(reason: str, code: int) -> Response:
    return JSONResponse({"error": reason}, code, {**HEADERS, "Connection": "close"})
