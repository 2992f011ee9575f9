"""The bundles that searches and histories are answered with."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import msgspec

from gateway.model import JsonObject
from gateway.r4.canonical import encode
from gateway.store import Entry, Page, Stored
from gateway.store.history import HistoryPage
from gateway.web.fhir_http import Call, Parameters, etag, operation_outcome
from gateway.web.fhir_shape import shaped

_MODES = ("match", "include")

Shape = tuple[str | None, Sequence[str]]


def shape_of(call: Call) -> Shape:
    """(``_summary``, ``_elements``), as far as they change a resource."""
    summary = call.last("_summary")
    elements = [name.rpartition(".")[2] for name in (call.last("_elements") or "").split(",") if name]
    return (summary if summary in ("true", "text", "data") else None), elements


def search_bundle(call: Call, path: str, page: Page) -> bytes:
    """JSON. ``path`` is the address below the endpoint that was asked, without parameters."""
    bundle: JsonObject = {"resourceType": "Bundle", "type": "searchset"}
    if page.total is not None:
        bundle["total"] = page.total
    bundle["link"] = _links(call, path, page.used, page.next)
    entries = _search_entries(call.base, page.entries, shape_of(call))
    if page.warnings and call.last("_page") is None:
        warning = operation_outcome("warning", "not-supported", list(page.warnings))
        entries.append(encode({"resource": warning, "search": {"mode": "outcome"}}))
    head = encode(bundle)
    return b"".join((head[:-1], b',"entry":[', b",".join(entries), b"]}")) if entries else head


def history_bundle(call: Call, path: str, page: HistoryPage) -> JsonObject:
    used = [(name, value) for name, value in call.parameters if name in ("_since", "_count")]
    bundle: JsonObject = {
        "resourceType": "Bundle",
        "type": "history",
        **({} if page.total is None else {"total": page.total}),
        "link": _links(call, path, used, page.next),
    }
    if page.versions:
        bundle["entry"] = [_history_entry(call.base, stored) for stored in page.versions]
    return bundle


def _history_entry(base: str, stored: Stored) -> JsonObject:
    created = stored.version == 1
    entry: JsonObject = {"fullUrl": f"{base}/{stored.type}/{stored.id}"}
    if not stored.deleted:
        entry["resource"] = msgspec.Raw(stored.body)
    entry["request"] = {"method": "DELETE" if stored.deleted else "PUT", "url": f"{stored.type}/{stored.id}"}
    entry["response"] = {
        "status": "204" if stored.deleted else "201" if created else "200",
        "etag": etag(stored.version),
        "lastModified": stored.last_updated,
    }
    return entry


def _search_entries(base: str, entries: Sequence[Entry], shape: Shape) -> list[bytes]:
    """The stored bytes are passed through as they are: no decoding, no rounding, no reordering."""
    start, modes = (
        b'{"fullUrl":' + encode(f"{base}/")[:-1],
        {mode: b',"search":' + encode({"mode": mode}) + b"}" for mode in _MODES},
    )
    is_whole = not any(shape)
    return [
        b'%b%b/%b","resource":%b%b'
        % (
            start,
            stored.type.encode(),
            stored.id.encode(),
            stored.body if is_whole else encode(shaped(stored.resource(), *shape)),
            modes[entry.mode],
        )
        for entry in entries
        for stored in (entry.stored,)
    ]


def _links(call: Call, path: str, used: Sequence[tuple[str, str]], following: str | None) -> list[JsonObject]:
    links = [{"relation": "self", "url": _url(call, path, used, call.last("_page"))}]
    if following:
        links.append({"relation": "next", "url": _url(call, path, used, following)})
    return links


def _url(call: Call, path: str, used: Sequence[tuple[str, str]], mark: str | None) -> str:
    """Under the host that the client asked, with the parameters that took part."""
    # A page that is followed keeps the format that its first page was asked in.
    kept = {name for name, _ in used}
    shape: Parameters = [
        (n, v) for n, v in call.parameters if n in ("_format", "_elements", "_summary", "_pretty") and n not in kept
    ]
    parameters = [*used, *shape, *([("_page", mark)] if mark else [])]
    return f"{call.base}{path}" + (f"?{urlencode(parameters, safe=':,/')}" if parameters else "")
