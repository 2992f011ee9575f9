"""What a request is, by its method and path alone: the words of the audit trail, and the rights that it needs.

Handlers keep what they give within the same rights (:func:`gateway.web.access.reach_of`); this comes first, and refuses whatever has
a form that is not known here to everybody who has limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.scopes import Verb

Need = tuple[Verb, str]

#: Key in the ASGI scope.
_KEY = "isobridge.interaction"
_KIND = re.compile(r"[A-Z][A-Za-z]{1,63}")
_UID = re.compile(r"[0-9.]{1,64}")
_READING = ("GET", "HEAD")
#: Method -> what it does to one resource, and the right that it needs.
_OF_ONE: Mapping[str, tuple[str, Verb]] = {
    "GET": ("read", "read"),
    "HEAD": ("read", "read"),
    "PUT": ("update", "update"),
    "PATCH": ("patch", "update"),
    "DELETE": ("delete", "delete"),
}
_SEARCHED_LEVELS = ("studies", "series", "instances")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """``what`` as in :class:`gateway.audit.record.Record`; empty: not recorded. ``needs`` is ``None`` for a form that is not known."""

    what: str
    kind: str = ""
    id: str = ""
    needs: tuple[Need, ...] | None = ()


def interaction_of(scope: MutableMapping[str, Any]) -> Interaction:
    """Of a request; looked up once."""
    found: Interaction | None = scope.get(_KEY)
    if found is None:
        found = scope[_KEY] = interaction(str(scope["method"]), str(scope["path"]))
    return found


def interaction(method: str, path: str) -> Interaction:
    head, _, rest = path.removeprefix("/").partition("/")
    if head == "fhir":
        return _fhir(method, rest.split("/") if rest else [])
    if head == "dicom-web":
        return _dicomweb(method, rest.split("/"))
    if head in ("assets", "healthz", "readyz", "metrics", "favicon.ico"):
        return Interaction(what="")
    study = rest.partition("/")[0] if head == "studies" else ""
    return Interaction(what="page", kind=head if head.isalpha() else "", id=study if _UID.fullmatch(study) else "", needs=None)


def _fhir(method: str, parts: list[str]) -> Interaction:
    first = parts[0] if parts else ""
    if first in ("metadata", ".well-known"):
        return Interaction(what="")
    if parts == ["auth", "token"]:
        return Interaction(what="token")
    if any(part.startswith("$") for part in parts):
        return _operation(parts)
    if parts == ["_history"]:
        return Interaction(what="history-system", needs=(("search", "*"),))
    if not parts or parts == [""]:
        return Interaction(what="transaction", needs=() if method == "POST" else None)
    if not _KIND.fullmatch(first):
        return Interaction(what="operation", needs=None)
    return _typed(method, first, parts[1:])


def _operation(parts: list[str]) -> Interaction:
    """``$export``, ``$run`` and ``$everything`` look after types by themselves: which they are stands in parameters."""
    name = next(part for part in parts if part.startswith("$"))
    kind = parts[0] if _KIND.fullmatch(parts[0]) else "Bundle"
    # an export is known by a random word that opens it; it does not belong into a record
    own_id = parts[1] if len(parts) > 2 and kind in ("Patient", "Group", "ViewDefinition") else ""
    known: dict[str, tuple[Need, ...]] = {
        "$export": (),
        "$export-status": (),
        "$export-file": (),
        "$run": (),
        "$everything": (("read", "Patient"),),
    }
    return Interaction(what="operation", kind=kind, id=own_id, needs=known.get(name))


def _typed(method: str, kind: str, rest: list[str]) -> Interaction:
    """``Type``, ``Type/id`` and what is below."""
    if kind == "ViewDefinition":
        return Interaction(what="")
    if not rest or rest == ["_search"]:
        return _of_type(method, kind, is_search=bool(rest))
    if rest == ["_history"]:
        return Interaction(what="history-type", kind=kind, needs=(("search", kind),))
    logical_id = rest[0]
    if len(rest) == 1:
        what, verb = _OF_ONE.get(method, ("update", "update"))
        return Interaction(what=what, kind=kind, id=logical_id, needs=((verb, kind),))
    if rest[1] == "_history" and len(rest) <= 3:
        what = "history-instance" if len(rest) == 2 else "vread"
        return Interaction(what=what, kind=kind, id=logical_id, needs=(("read", kind),))
    if kind == "Patient" and _KIND.fullmatch(rest[1]) and rest[2:] in ([], ["_search"]):
        return Interaction(what="search", kind=rest[1], needs=(("search", rest[1]),))
    return Interaction(what="operation", kind=kind, needs=None)


def _of_type(method: str, kind: str, *, is_search: bool) -> Interaction:
    if is_search or method in _READING:
        return Interaction(what="search", kind=kind, needs=(("search", kind),))
    if method == "POST":
        return Interaction(what="create", kind=kind, needs=(("create", kind),))
    # Conditional: which one is meant is found by a search.
    verb: Verb = "delete" if method == "DELETE" else "update"
    return Interaction(what=verb, kind=kind, needs=((verb, kind), ("search", kind)))


def _dicomweb(method: str, parts: list[str]) -> Interaction:
    """Headers tell the patient's name, so reading objects and searching them need the right to read patients too."""
    kind = "ImagingStudy"
    study = parts[1] if len(parts) > 1 and parts[0] == "studies" and _UID.fullmatch(parts[1]) else ""
    if method == "POST":
        return Interaction(what="store", kind=kind, id=study, needs=(("create", kind),))
    if parts[0] not in _SEARCHED_LEVELS or (len(parts) > 1 and not study) or "" in parts:
        return Interaction(what="dicom", kind=kind, needs=None)
    is_search = parts[-1] in _SEARCHED_LEVELS
    verb: Verb = "search" if is_search else "read"
    return Interaction(what="query" if is_search else "dicom", kind=kind, id=study, needs=((verb, kind), ("read", "Patient")))
