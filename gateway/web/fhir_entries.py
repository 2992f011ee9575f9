"""Reads what a request wants changed into an :class:`Operation`, from HTTP headers or from an entry of a bundle. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.validate import validate
from gateway.scopes import Verb
from gateway.store.bundle import ID, read_etag
from gateway.store.operations import Criteria, Operation, read_criteria

MAX_ENTRIES = 2000
MAX_READS = 200
#: Nobody else writes these: they tell of this server and of who did what.
RESERVED = frozenset({"AuditEvent", "CapabilityStatement", "OperationOutcome", "SearchParameter"})

Method = Literal["POST", "PUT", "DELETE"]
_VERBS: Mapping[str, Verb] = {"POST": "create", "PUT": "update", "DELETE": "delete"}
_READ = re.compile(r"[^?$#]*(\?[^#]*)?")


@dataclass(frozen=True, slots=True)
class Read:
    """An entry that only asks. ``path`` stands below the endpoint, with its query."""

    path: str
    method: Literal["GET", "HEAD"]
    headers: Mapping[str, str]


def verbs(operation: Operation) -> tuple[Verb, ...]:
    """What the writer must be allowed to do: criteria are a search."""
    own = _VERBS[operation.method]
    return (own, "search") if operation.criteria is not None else (own,)


def writable(kind: str, place: str = "") -> str:
    """Raises :class:`Rejected`: 404 for a type that is not known, 405 for one that nobody writes."""
    if kind not in definitions.resource_types():
        raise Rejected(f"{place}this address names no resource type that is known here", status=404)
    if kind in RESERVED:
        raise Rejected(f"{place}{kind} is written by this server only", status=405)
    return kind


def checked(resource: Any, kind: str, place: str = "") -> JsonObject:
    """A valid resource of this type. Raises :class:`Rejected`: 400 for another type, 422 with every complaint on a line of its own."""
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise Rejected(f"{place}the resource is not of the type that its address names", status=400)
    if complaints := validate(resource):
        raise Rejected("\n".join(place + complaint for complaint in complaints), status=422)
    return resource


def version_wanted(text: str | None, place: str = "") -> int | None:
    """Of ``If-Match``. Raises :class:`Rejected` (400)."""
    if text is None:
        return None
    version = read_etag(text)
    if version is None:
        raise Rejected(f'{place}If-Match must be of the form W/"3"', status=400)
    return version


def operation(
    method: Method,
    kind: str,
    logical_id: str | None,
    criteria: Criteria | None,
    resource: Any,
    *,
    if_match: str | None = None,
    only_new: bool = False,
    full_url: str = "",
    place: str = "",
) -> Operation:
    """Raises :class:`Rejected`."""
    writable(kind, place)
    if logical_id is not None and not ID.fullmatch(logical_id):
        raise Rejected(f"{place}an id has 1 to 64 letters, digits, dots and dashes", status=400)
    body = None if method == "DELETE" else checked(resource, kind, place)
    if method == "PUT" and body is not None:
        own = body.get("id")
        if criteria is None and own != logical_id:
            raise Rejected(f"{place}the resource must have the id of its address", status=400)
        logical_id = own if isinstance(own, str) else None
    return Operation(
        method=method,
        type=kind,
        id=logical_id,
        criteria=criteria,
        resource=body,
        if_match=version_wanted(if_match, place),
        only_new=only_new,
        full_url=full_url,
        place=place,
    )


def read_entry(number: int, entry: JsonObject, base: str) -> Operation | Read:
    """One entry of a batch or transaction whose shape has been validated. Raises :class:`Rejected`."""
    place = f"entry[{number}]: "
    request: JsonObject = entry.get("request") or {}
    method, url = str(request.get("method", "")), str(request.get("url", ""))
    path = url.removeprefix(base).lstrip("/")
    if method in ("GET", "HEAD"):
        if not _READ.fullmatch(path) or path.startswith(("http:", "https:")):
            raise Rejected(f"{place}no operations ($) and no addresses of other servers in a bundle", status=400)
        asked = {"If-None-Match": request.get("ifNoneMatch"), "If-Modified-Since": request.get("ifModifiedSince")}
        return Read(path, "GET" if method == "GET" else "HEAD", {name: value for name, value in asked.items() if value})
    if method not in _VERBS:
        raise Rejected(f"{place}{method or 'no method'} is not done here; GET, HEAD, POST, PUT and DELETE are", status=405)
    address, _, query = path.partition("?")
    kind, slash, logical_id = unquote(address).partition("/")
    if not kind or (slash and not logical_id) or (query and logical_id):
        raise Rejected(f"{place}request.url must be Type, Type/id or Type?criteria", status=400)
    if (method == "POST" and logical_id) or (method != "POST" and not (logical_id or query)):
        raise Rejected(f"{place}request.url does not go with {method}", status=400)
    told = request.get("ifNoneExist") if method == "POST" else None
    if query and told:
        raise Rejected(f"{place}criteria stand in the address and in ifNoneExist; use one", status=400)
    criteria = read_criteria(str(told or query), place) if told or query else None
    return operation(
        "POST" if method == "POST" else "PUT" if method == "PUT" else "DELETE",
        kind,
        logical_id or None,
        criteria,
        entry.get("resource"),
        if_match=request.get("ifMatch"),
        full_url=str(entry.get("fullUrl", "")),
        place=place,
    )


def checked_bundle(bundle: JsonObject) -> list[JsonObject]:
    """The entries of a batch or transaction, their shape proven, their resources not yet. Raises :class:`Rejected`: 400, 413."""
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") not in ("batch", "transaction"):
        raise Rejected("this address takes a Bundle of type batch or transaction", status=400)
    entries = bundle.get("entry", [])
    if isinstance(entries, list) and len(entries) > MAX_ENTRIES:
        raise Rejected(f"a bundle holds at most {MAX_ENTRIES} entries here; send it in parts", status=413)
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        bare = [{key: value for key, value in entry.items() if key != "resource"} for entry in entries]
        complaints = validate({**bundle, "entry": bare} if bare else bundle)
    else:
        complaints = ["Bundle.entry: must be a list of objects"]
    if complaints:
        raise Rejected("\n".join(complaints), status=400)
    return list(entries)
