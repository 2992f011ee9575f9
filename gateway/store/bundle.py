"""Reads a transaction bundle: what is to be put or deleted, with every reference inside it resolved. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.canonical import content_and_hash

ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"')

BAD_REQUEST = 400
CONFLICT = 409
PRECONDITION_FAILED = 412


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a transaction. ``if_match`` is the version the sender believes to be current."""

    method: Literal["PUT", "DELETE"]
    type: str
    id: str
    resource: JsonObject | None
    if_match: int | None = None
    only_new: bool = False  #: fail when there is such a resource already
    hash: str = ""  #: of the content, when it is known

    @property
    def identity(self) -> tuple[str, str]:
        return self.type, self.id


def read_transaction(bundle: Mapping[str, Any]) -> list[Change]:
    """The changes in the order of the entries. Raises :class:`Rejected` (400) when the bundle is not a transaction we can do."""
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise _refuse("expected a Bundle of type transaction")
    entries = bundle.get("entry", [])
    changes = [_change(number, entry) for number, entry in enumerate(entries)]
    seen: set[tuple[str, str]] = set()
    for number, change in enumerate(changes):
        if change.identity in seen:
            # R4 http.html#trules: "if any resource identities overlap, the server SHALL fail the transaction"
            raise _refuse(f"entry[{number}]: the same resource is changed twice in one transaction")
        seen.add(change.identity)
    return _resolve(entries, changes)


def _change(number: int, entry: Mapping[str, Any]) -> Change:
    request = entry.get("request", {})
    method, url = request.get("method"), str(request.get("url", ""))
    kind, _, logical_id = url.partition("/")
    if method not in ("PUT", "DELETE"):
        raise _refuse(f"entry[{number}]: only PUT and DELETE by id are done here")
    if kind not in definitions.resource_types() or not ID.fullmatch(logical_id):
        raise _refuse(f"entry[{number}]: request.url must be Type/id of a known type")
    resource = entry.get("resource")
    named = isinstance(resource, dict) and (resource.get("resourceType"), resource.get("id")) == (kind, logical_id)
    if method == "PUT" and not named:
        raise _refuse(f"entry[{number}]: the resource does not have the type and id of its request")
    return Change(method, kind, logical_id, resource if method == "PUT" else None, _if_match(number, request))


def _if_match(number: int, request: Mapping[str, Any]) -> int | None:
    if "ifMatch" not in request:
        return None
    version = read_etag(str(request["ifMatch"]))
    if version is None:
        raise _refuse(f'entry[{number}]: ifMatch must be of the form W/"3"')
    return version


def read_etag(text: str) -> int | None:
    """The version that ``W/"3"`` names, or ``None`` when it is no ETag of this store."""
    match = _ETAG.fullmatch(text.strip())
    return int(match[1]) if match else None


def _resolve(entries: list[Mapping[str, Any]], changes: list[Change]) -> list[Change]:
    """Replace references to the ``urn:`` full URLs of this bundle by ``Type/id`` (R4 http.html#trules)."""
    names = {
        entry["fullUrl"]: f"{change.type}/{change.id}"
        for entry, change in zip(entries, changes, strict=True)
        if str(entry.get("fullUrl", "")).startswith("urn:")
    }
    if not names:
        return changes
    return [_resolved(change, names) for change in changes]


def _resolved(change: Change, names: Mapping[str, str]) -> Change:
    """Our own publisher refers to nothing by the full URL of an entry, and its studies have thousands of nodes: so look first."""
    try:
        content, digest = content_and_hash(change.resource or {})
    except (TypeError, ValueError, RecursionError):
        return change  # it is no JSON: refused by the one who writes it
    if b'"reference":"urn:' in content:
        return replace(change, resource=_renamed(change.resource, names))
    return change if change.resource is None else replace(change, hash=digest)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            key: names.get(value, value) if key == "reference" and isinstance(value, str) else _renamed(value, names)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_renamed(child, names) for child in node]
    return node


def _refuse(reason: str) -> Rejected:
    return Rejected(f"transaction refused: {reason}", status=BAD_REQUEST)
