"""The reads of a transaction that changes something: done after its changes, before they are final (R4 http.html#trules, step 4)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec
from sqlalchemy.engine import Connection

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.store import FhirStore, Stored
from gateway.store.search import current
from gateway.web.access import Principal, reach_of, touched
from gateway.web.fhir_bundles import search_bundle
from gateway.web.fhir_entries import MAX_READS, Read
from gateway.web.fhir_http import MAX_PARAMETERS, Call, etag
from gateway.web.fhir_write import need

#: Others wait while these are answered.
MAX_SEARCHES = 20
_BY_ID = re.compile(r"([A-Za-z]+)/([A-Za-z0-9.-]{1,64})")
_SEARCH = re.compile(r"([A-Za-z]+)(?:/_search)?(?:\?(.*))?", re.DOTALL)


def read_last(
    call: Call, store: FhirStore, connection: Connection, principal: Principal, reads: Sequence[Read]
) -> list[JsonObject]:
    """The answers, in the order of ``reads``. Raises :class:`Rejected`, which undoes the transaction."""
    searches = sum(_BY_ID.fullmatch(one.path) is None for one in reads)
    if searches > MAX_SEARCHES or len(reads) > MAX_READS:
        reason = f"at most {MAX_READS} reads, {MAX_SEARCHES} of them searches, in a transaction that changes something"
        raise Rejected(reason, status=413)
    return [_answer(call, store, connection, principal, one) for one in reads]


def _answer(call: Call, store: FhirStore, connection: Connection, principal: Principal, wanted: Read) -> JsonObject:
    if match := _BY_ID.fullmatch(wanted.path):
        need(principal, match[1], "read")
        return _read(call, connection, match[1], match[2])
    match = _SEARCH.fullmatch(wanted.path)
    if match is None:
        raise Rejected(
            "in a transaction that changes something, a GET reads one resource by its id or searches a type", status=400
        )
    need(principal, match[1], "search")
    asked = dataclasses.replace(call, parameters=_parameters(match[2] or ""))
    page = store.search_in(connection, match[1], asked.parameters, base=call.base, reach=reach_of(call.request))
    touched(call.request, [entry.stored for entry in page.entries])
    return {"resource": msgspec.Raw(search_bundle(asked, f"/{match[1]}", page)), "response": {"status": "200 OK"}}


def _read(call: Call, connection: Connection, kind: str, logical_id: str) -> JsonObject:
    stored = current(connection, kind, logical_id)
    if stored is None or stored.deleted:
        raise Rejected(f"there is no such {kind}; nothing was changed", status=404 if stored is None else 410)
    touched(call.request, [stored])
    return _entry_of(stored)


def _entry_of(stored: Stored) -> JsonObject:
    response = {"status": "200 OK", "etag": etag(stored.version), "lastModified": stored.last_updated}
    return {"resource": msgspec.Raw(stored.body), "response": response}


def _parameters(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise Rejected(
            f"the parameters of a search in a transaction cannot be read; at most {MAX_PARAMETERS}, in UTF-8", status=400
        ) from error
