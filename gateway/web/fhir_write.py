"""The write mode of the FHIR endpoint (R4 http.html): create, update, delete, each also by criteria. Off unless the settings say so.

Who may write is asked of :mod:`gateway.web.access`. Everything is validated before the store sees it.
"""

from __future__ import annotations

import structlog
from starlette.responses import Response

from gateway.config import Settings
from gateway.errors import Rejected
from gateway.r4.canonical import encode
from gateway.scopes import LETTERS, Verb
from gateway.store import FhirStore, Stored
from gateway.store.operations import Criteria, Operation, checked_criteria, conditional_reference, read_criteria
from gateway.store.writer import Outcome, stamped
from gateway.web.access import Principal, allows, principal_of, touched
from gateway.web.fhir_body import Bodies
from gateway.web.fhir_entries import operation, verbs, writable
from gateway.web.fhir_http import Call, Endpoint, etag, http_date, operation_outcome, resource_response
from gateway.web.threads import Threads

_TRANSPORT = frozenset({"_format", "_pretty"})

log = structlog.get_logger()


class Writers:
    """Who may write here, by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._mode = settings.web.fhir_write

    @property
    def on(self) -> bool:
        return self._mode != "off"

    def who(self, call: Call) -> Principal:
        """Raises :class:`Rejected` (403, 405)."""
        if not self.on:
            raise Rejected("this endpoint is read-only for clients", status=405)
        principal = principal_of(call.request)
        if principal.kind == "open" and self._mode != "loopback":
            raise Rejected("nobody writes here without a log-in", status=403)
        if principal.kind in ("open", "person") and "origin" in call.request.headers:
            # A page elsewhere may make the browser of somebody who is let in send things.
            raise Rejected("pages in a browser do not write here; use a program with a token", status=403)
        return principal


def need(principal: Principal, kind: str, *wanted: Verb) -> None:
    """Raises :class:`Rejected` (403)."""
    for verb in wanted:
        if not allows(principal, verb, kind):
            raise Rejected(f"to {verb} {kind} you need the scope system/{kind}.{LETTERS[verb]}", status=403)


def need_for(principal: Principal, wanted: Operation) -> None:
    """What the operation needs, conditional references in it included. Raises :class:`Rejected` (403)."""
    need(principal, wanted.type, *verbs(wanted))
    for kind in sorted(_referred_types(wanted.resource)):
        need(principal, kind, "search")


def _referred_types(resource: object) -> set[str]:
    found: set[str] = set()
    waiting = [resource]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
            text = node.get("reference")
            asked = conditional_reference(text) if isinstance(text, str) and "?" in text else None
            if asked is not None:
                found.add(asked[0])
        elif isinstance(node, list):
            waiting += node
    return found


def signature(principal: Principal) -> str:
    """How the store remembers who wrote."""
    return f"{principal.kind}:{principal.name}"


class WriteApi:
    """The handlers of single changes. Store calls run in the threads of ``pool``."""

    def __init__(self, store: FhirStore, writers: Writers, bodies: Bodies, pool: Threads) -> None:
        self._store = store
        self._writers = writers
        self._bodies = bodies
        self._pool = pool

    @property
    def of_type(self) -> dict[str, Endpoint]:
        """What is done to ``/Type``, by method; nothing while the write mode is off."""
        return {"POST": self.create, "PUT": self.update, "DELETE": self.delete} if self._writers.on else {}

    @property
    def of_one(self) -> dict[str, Endpoint]:
        """What is done to ``/Type/id``."""
        return {"PUT": self.update, "DELETE": self.delete} if self._writers.on else {}

    async def create(self, call: Call) -> Response:
        """``POST /Type``, with ``If-None-Exist`` (or, as some clients do, with the criteria in the address) only if there is none."""
        principal, kind = self._begin(call, "create")
        criteria = _criteria(call)
        told = call.request.headers.get("if-none-exist")
        if told is not None:
            if criteria is not None:
                raise Rejected("criteria stand in the address and in If-None-Exist; use one", status=400)
            criteria = read_criteria(_utf8(told))
        body = await self._bodies.resource(call.request)
        return await self._do(call, principal, operation("POST", kind, None, criteria, body))

    async def update(self, call: Call) -> Response:
        """``PUT /Type/id``, and ``PUT /Type?criteria``."""
        principal, kind = self._begin(call, "update")
        logical_id = call.request.path_params.get("id")
        criteria = None if logical_id else _criteria(call)
        if logical_id is None and criteria is None:
            raise Rejected("an update needs an id or criteria in its address", status=400)
        body = await self._bodies.resource(call.request)
        asked = call.request.headers
        wanted = operation(
            "PUT",
            kind,
            logical_id,
            criteria,
            body,
            if_match=asked.get("if-match"),
            only_new=asked.get("if-none-match", "").strip() == "*",
        )
        return await self._do(call, principal, wanted)

    async def delete(self, call: Call) -> Response:
        """``DELETE /Type/id``, and ``DELETE /Type?criteria`` of at most one."""
        principal, kind = self._begin(call, "delete")
        logical_id = call.request.path_params.get("id")
        criteria = None if logical_id else _criteria(call)
        if logical_id is None and criteria is None:
            raise Rejected("a deletion needs an id or criteria in its address", status=400)
        wanted = operation("DELETE", kind, logical_id, criteria, None, if_match=call.request.headers.get("if-match"))
        return await self._do(call, principal, wanted)

    def _begin(self, call: Call, verb: Verb) -> tuple[Principal, str]:
        """Who and what, before any body is read."""
        principal = self._writers.who(call)
        kind = writable(call.request.path_params["kind"])
        need(principal, kind, verb)
        return principal, kind

    async def _do(self, call: Call, principal: Principal, wanted: Operation) -> Response:
        need_for(principal, wanted)

        def work() -> Response:
            (outcome,) = self._store.write([wanted], by=signature(principal), base=call.base)
            log.info("fhir_written", stage="web", method=wanted.method, kind=wanted.type, status=outcome.status[:3])
            stored = written(self._store, outcome)
            touched(call.request, stored)
            return _answer(call, principal, outcome, stored[-1] if stored and wanted.method != "DELETE" else None)

        return await self._pool.run(work)


def written(store: FhirStore, outcome: Outcome) -> list[Stored]:
    """What stands there now; of what was removed, the version before."""
    change = outcome.change
    if not outcome.version:
        return []
    if change.resource is not None:
        body = encode(stamped(change.resource, outcome.version, outcome.updated))
        return [Stored(change.type, change.id, outcome.version, outcome.updated, deleted=False, body=body)]
    stored = store.vread(change.type, change.id, outcome.version)
    if stored is not None and stored.deleted:
        stored = store.vread(change.type, change.id, outcome.version - 1)
    return [] if stored is None or stored.deleted else [stored]


def may_see(principal: Principal, outcome: Outcome) -> bool:
    """His own words, or what he may read: a conditional create finds what somebody else wrote."""
    return outcome.change.resource is not None or allows(principal, "read", outcome.change.type)


def _answer(call: Call, principal: Principal, outcome: Outcome, stored: Stored | None) -> Response:
    """``stored`` is what stands there now; ``None`` after a deletion."""
    change, status = outcome.change, int(outcome.status[:3])
    headers = {}
    if outcome.version:
        headers = {"ETag": etag(outcome.version), "Last-Modified": http_date(outcome.updated)}
    if stored is not None:
        headers["Location"] = f"{call.base}/{change.type}/{change.id}/_history/{outcome.version}"
    wish = returned(call, default="minimal" if stored is None else "representation")
    if wish == "operationoutcome":
        said = encode(operation_outcome("information", "informational", [outcome.status]))
        return resource_response(said, pretty=call.pretty, status=status if stored else 200, headers=headers)
    if wish == "representation" and stored is not None and may_see(principal, outcome):
        return resource_response(stored.body, pretty=call.pretty, status=status, headers=headers)
    return Response(status_code=status, headers=headers)


def returned(call: Call, *, default: str) -> str:
    """``Prefer: return=...`` (R4 http.html#ops): minimal, representation or operationoutcome."""
    found = [wish.removeprefix("return=") for wish in call.wishes if wish.startswith("return=")]
    return found[0] if found and found[0] in ("minimal", "representation", "operationoutcome") else default


def _utf8(header: str) -> str:
    """Clients write names as they are; HTTP hands a header over as Latin-1. Read wrongly it would match nothing, and make a second."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise Rejected("If-None-Exist is not UTF-8; write it with percent signs", status=400) from error


def _criteria(call: Call) -> Criteria | None:
    asked = [(name, value) for name, value in call.parameters if name not in _TRANSPORT]
    return checked_criteria(asked) if asked else None
