"""The middleware that records every access before its answer leaves; and the trail as AuditEvents for those who may see it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import islice
from urllib.parse import unquote_plus, urlencode
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.audit.record import Record, audit_event
from gateway.audit.trail import Asked, AuditTrail
from gateway.errors import Rejected, Retryable
from gateway.r4 import definitions
from gateway.r4.canonical import encode
from gateway.store import dates
from gateway.web.access import NOBODY, PRINCIPAL, TOUCHED, Principal, principal_of
from gateway.web.fhir_capability import AUDIT_SEARCH
from gateway.web.fhir_http import Call, endpoint, outcome, resource_response
from gateway.web.interactions import interaction_of
from gateway.web.tokens import token

_MOST_PATIENTS = 1000
#: As many parameters are looked at, and names so long, before they are remembered.
_MOST_NAMES, _MOST_NAME_BYTES = 200, 80
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9_\-]{0,63}")
_COMMON = frozenset({"_count", "_sort", "_total", "_summary", "_elements", "_include", "_revinclude", "_has", "_page", "_format"})


class Audited:
    """The middleware, outside the log-in: what the log-in refuses is recorded too."""

    def __init__(self, app: ASGIApp, *, trail: AuditTrail, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._trail = trail
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[TOUCHED] = set()
        withheld = False

        async def recorded(message: Message) -> None:
            nonlocal withheld
            if message["type"] == "http.response.start":
                try:
                    self._record(scope, int(message["status"]))
                except Retryable as error:
                    withheld = True
                    answer = outcome(503, error.reason, headers={"Retry-After": "30"})
                    await answer(scope, receive, send)
            if not withheld:
                await send(message)

        await self._app(scope, receive, recorded)

    def _record(self, scope: Scope, status: int) -> None:
        found = interaction_of(scope)
        known: Principal = scope.get(PRINCIPAL, NOBODY)
        who = None if known is NOBODY else known
        if not found.what or (who is None and not _is_try(scope, found.what, status)):
            return
        touched = scope[TOUCHED]
        patients = sorted(touched) if len(touched) > 1 else touched
        self._trail.note(
            Record(
                key=token(),
                at=self._clock(),
                who=who.name if who else "",
                way=who.kind if who else "",
                peer=str(scope["client"][0]) if scope.get("client") else "",
                what=found.what if who or found.what == "token" else "login",
                status=status,
                kind=found.kind,
                id=found.id if _ID.fullmatch(found.id) else "",
                group=(who.group or "") if who else "",
                parameters=_names(scope.get("query_string", b"")),
                patients=tuple(islice(patients, _MOST_PATIENTS)),
            )
        )


def _is_try(scope: Scope, what: str, status: int) -> bool:
    """Whether one who was not let in tried to. What is turned away by its number alone would only fill the disk."""
    return status != 429 and (what == "token" or "authorization" in Headers(scope=scope))


def _names(query: bytes) -> tuple[str, ...]:
    """Names of parameters that are known, without modifiers and chains; never a value, never a word that somebody made up."""
    if not query:
        return ()
    pieces = query.split(b"&")
    if len(pieces) > _MOST_NAMES:
        return ("too many",)
    heads = {_head(piece.partition(b"=")[0][:_MOST_NAME_BYTES]) for piece in pieces if piece}
    return (*sorted(heads - {""}), *(("other",) if "" in heads else ()))


@lru_cache(maxsize=1024)
def _head(name: bytes) -> str:
    """The name without modifiers and chains, when it is known; else empty."""
    head = re.split(r"[:.]", unquote_plus(name.decode("utf-8", errors="replace")), maxsplit=1)[0]
    return head if _NAME.fullmatch(head) and head in _known() else ""


@cache
def _known() -> frozenset[str]:
    codes = {code for parameters in definitions.search_parameters().values() for code in parameters}
    keywords = {"PatientID", "PatientName", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "Modality"}
    own = {"_type", "_since", "_typeFilter", "_outputFormat", "_limit", "group", "start", "end"}
    return frozenset(codes | keywords | own | _COMMON)


class AuditEvents:
    """``GET /fhir/AuditEvent`` over the trail: by date, agent and patient. Values that name nobody are refused, not ignored."""

    def __init__(self, trail: AuditTrail, site: str) -> None:
        self._trail = trail
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """To stand before those of the store, which holds no AuditEvent."""
        return [
            Route("/AuditEvent", endpoint(self.search)),
            Route("/AuditEvent/_search", endpoint(self.search, allow=("POST",)), methods=["POST"]),
            Route("/AuditEvent/{id}", endpoint(self.read)),
        ]

    async def read(self, call: Call) -> Response:
        _unbounded(call)
        record = await run_in_threadpool(self._trail.get, call.request.path_params["id"])
        if record is None:
            raise Rejected("there is no such AuditEvent", status=404)
        return resource_response(encode(audit_event(record, site=self._site)), pretty=call.pretty)

    async def search(self, call: Call) -> Response:
        _unbounded(call)
        asked = read_asked(call.parameters)
        await run_in_threadpool(self._trail.flush)
        found = await run_in_threadpool(self._trail.find, asked)
        base = f"{call.base}/AuditEvent"
        links = [{"relation": "self", "url": base}]
        if found.next is not None:
            kept = [(name, value) for name, value in call.parameters if name != "_page"]
            links.append({"relation": "next", "url": f"{base}?{urlencode([*kept, ('_page', str(found.next))])}"})
        entries = [
            {"fullUrl": f"{base}/{one.key}", "resource": audit_event(one, site=self._site), "search": {"mode": "match"}}
            for one in found.records
        ]
        bundle = {"resourceType": "Bundle", "type": "searchset", "link": links, **({"entry": entries} if entries else {})}
        return resource_response(encode(bundle), pretty=call.pretty)


def read_asked(parameters: list[tuple[str, str]]) -> Asked:
    """Raises :class:`Rejected` (400)."""
    since = until = None
    values: dict[str, str] = {}
    for name, value in parameters:
        if name == "date":
            low, high = _span(value)
            since, until = low if low is not None else since, high if high is not None else until
        elif name in (*AUDIT_SEARCH, "_count", "_page", "_format", "_pretty"):
            values[name] = value
        else:
            raise Rejected(f"AuditEvents are searched by {', '.join(AUDIT_SEARCH)}", status=400)
    for name in ("_count", "_page"):
        if not re.fullmatch(r"\d{1,15}", values.get(name, "1"), re.ASCII):
            raise Rejected(f"{name} must be a whole number", status=400)
    patient = values.get("patient")
    return Asked(
        since=since,
        until=until,
        who=values.get("agent-name"),
        patient=patient.removeprefix("Patient/") if patient else None,
        below=int(values["_page"]) if "_page" in values else None,
        count=int(values.get("_count", "50")),
    )


def _span(value: str) -> tuple[float | None, float | None]:
    prefix, text = (value[:2], value[2:]) if value[:2] in ("ge", "gt", "le", "lt", "eq") else ("eq", value)
    try:
        span = dates.parse(text, ZoneInfo("UTC"))
    except ValueError as error:
        raise Rejected("date must be like ge2026-01-31 or lt2026-01-31T10:00:00Z", status=400) from error
    low, high = span.low / 1e6, span.high / 1e6
    return {"ge": (low, None), "gt": (high, None), "le": (None, high), "lt": (None, low), "eq": (low, high)}[prefix]


def _unbounded(call: Call) -> None:
    if principal_of(call.request).group is not None:
        raise Rejected("a token that is limited to a Group does not see the audit trail", status=403)


__all__ = ["AuditEvents", "Audited", "read_asked"]
