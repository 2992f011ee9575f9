"""Reads the parameters of ``$export``, from the query or from a Parameters resource, into an :class:`Order`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from starlette.requests import Request

from gateway.errors import Rejected
from gateway.r4.canonical import decode
from gateway.store import dates
from gateway.store.export import known_types
from gateway.store.export_jobs import Order
from gateway.store.reach import EVERYTHING, Reach

MAX_BODY_BYTES = 64 * 1024
MAX_PARAMETERS = 200
_NDJSON_NAMES = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z]{1,63}")

Parameters = list[tuple[str, str]]


async def read_parameters(request: Request) -> Parameters:
    """All parameters. Raises :class:`Rejected` (400, 413, 415)."""
    found = _query(request.scope.get("query_string", b""))
    if request.method != "POST":
        return found
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Rejected(f"the body is larger than {MAX_BODY_BYTES // 1024} KiB", status=413)
    if not body.strip():
        return found
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return found + _query(bytes(body))
    if kind not in ("application/fhir+json", "application/json"):
        raise Rejected("the body of an export is a Parameters resource in JSON", status=415)
    return found + list(_members(bytes(body)))


def read_order(request: Request, parameters: Parameters, *, asked: str, user: str, reach: Reach = EVERYTHING) -> Order:
    """What is asked for. Parameters that are not known are refused, unless ``Prefer: handling=lenient``."""
    lenient = "handling=lenient" in request.headers.get("prefer", "").replace(" ", "")
    group = request.path_params.get("group")
    by_patient = request.url.path.endswith("/Patient/$export")
    level: Literal["system", "patient", "group"] = "group" if group else "patient" if by_patient else "system"
    types: list[str] = []
    since: int | None = None
    filters: list[tuple[str, tuple[tuple[str, str], ...]]] = []
    for name, value in parameters:
        if name == "_type":
            types += [word for word in value.split(",") if word]
        elif name == "_since":
            since = _since(value)
        elif name == "_typeFilter":
            filters += _type_filters(value)
        elif name == "_outputFormat":
            if value.replace(" ", "+").lower() not in _NDJSON_NAMES:
                raise Rejected("_outputFormat: only application/fhir+ndjson is written", status=400)
        elif not lenient:
            raise Rejected(f"'{name[:64]}' is not a parameter of this export", status=400)
    kept = _types(types, lenient=lenient)
    kept_filters = tuple(item for item in filters if not lenient or (item[0] in known_types() and (not kept or item[0] in kept)))
    return Order(asked, level, group, kept, since, kept_filters, user, reach.group, _reachable(reach), reach.only)


def _reachable(reach: Reach) -> tuple[str, ...] | None:
    """An export is a search whose every result is read."""
    if reach.readable is None and reach.searchable is None:
        return None
    return tuple(sorted(kind for kind in known_types() if reach.may_read(kind) and reach.may_search(kind)))


def _types(names: Sequence[str], *, lenient: bool) -> tuple[str, ...]:
    if not all(_TYPE_NAME.fullmatch(name) for name in names):
        raise Rejected("_type is a list of resource types", status=400)
    kept = tuple(dict.fromkeys(name for name in names if not lenient or name in known_types()))
    if names and not kept:
        raise Rejected("_type names no resource type that is known here", status=400)
    return kept


def _since(value: str) -> int:
    try:
        return dates.parse(value.replace(" ", "+"), ZoneInfo("UTC")).low
    except ValueError as error:
        raise Rejected("_since must be an instant, like 2026-03-01T10:00:00Z", status=400) from error


def _type_filters(value: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """``Observation?code=1&date=ge2026,Patient?gender=female``: several after a comma that a type and ``?`` follow."""
    for part in re.split(r",(?=[A-Z][A-Za-z]*\?)", value):
        kind, mark, query = part.partition("?")
        if not mark or not _TYPE_NAME.fullmatch(kind):
            raise Rejected("_typeFilter must be Type?parameter=value", status=400)
        yield kind, tuple(parse_qsl(query, keep_blank_values=True))


def _members(body: bytes) -> Iterator[tuple[str, str]]:
    """The name and the one value[x] of each parameter of a Parameters resource."""
    try:
        tree = decode(body)
    except ValueError as error:
        raise Rejected("the body is not JSON", status=400) from error
    if not isinstance(tree, dict) or tree.get("resourceType") != "Parameters":
        raise Rejected("the body is not a Parameters resource", status=400)
    members: Any = tree.get("parameter", [])
    if not isinstance(members, list) or len(members) > MAX_PARAMETERS:
        raise Rejected("Parameters.parameter is not a list of a sensible length", status=400)
    for member in members:
        values = [value for key, value in member.items() if key.startswith("value")] if isinstance(member, dict) else []
        if len(values) != 1 or not isinstance(values[0], str) or not isinstance(member.get("name"), str):
            raise Rejected("a parameter needs a name and one value that is a text", status=400)
        yield member["name"], values[0]


def _query(encoded: bytes) -> Parameters:
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise Rejected("the parameters are not UTF-8", status=400) from error
    except ValueError as error:
        raise Rejected(f"more than {MAX_PARAMETERS} parameters", status=400) from error
