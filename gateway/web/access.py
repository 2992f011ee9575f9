"""Who asks, and what he may do. The log-in writes a :class:`Principal` into the ASGI scope; every room of ours that serves data asks
:func:`allows`.

Rights are those of SMART system scopes, on FHIR resource types. What DICOMweb serves is the content of an ImagingStudy, so it needs
the rights on that type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from starlette.requests import HTTPConnection

from gateway.r4 import definitions
from gateway.scopes import DO_ALL, READ_ALL, Scope, Verb, only_some
from gateway.store import Stored
from gateway.store.reach import Reach, patients_named
from gateway.store.sight import narrowing

#: Key in the ASGI scope.
PRINCIPAL = "isobridge.principal"
#: The ids of the patients whose data an answer tells.
TOUCHED = "isobridge.touched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """One who asks. ``group``: the id of the Group whose patients are all that he sees; ``None`` stands for no such limit.

    ``kind``: ``open`` is anybody on this machine (no log-in is set up, loopback only), ``person`` a user with a password, ``token`` a
    program with a token of the settings, ``client`` one with tokens of our own, ``issuer`` one with tokens of another issuer.
    """

    name: str
    kind: Literal["open", "person", "token", "client", "issuer"]
    scopes: tuple[Scope, ...]
    group: str | None = None


#: Of those who run the gateway: they may also see who accessed what.
WATCH = (Scope("AuditEvent", "rs"),)
#: What a person and a token of ``web.tokens`` may do at the programs' interfaces.
PERSON = (*READ_ALL, *WATCH)
PROGRAM = READ_ALL

#: Without users, tokens and clients in the settings, which is possible on loopback only.
ANYBODY_HERE = Principal(name="web", kind="open", scopes=(*DO_ALL, *WATCH))
#: Behind the addresses that are open to all: may do nothing. There a client shows who it is.
NOBODY = Principal(name="", kind="client", scopes=())


def allows(principal: Principal, verb: Verb, kind: str) -> bool:
    """Whether this principal may do that to resources of the type. Who is limited to a Group, or to what a query finds, changes nothing."""
    is_limited = principal.group is not None or any(scope.query for scope in principal.scopes)
    if is_limited and verb in ("create", "update", "delete"):
        return False
    return any(scope.allows(verb, kind) for scope in principal.scopes)


def principal_of(request: HTTPConnection) -> Principal:
    """Who asks. Where no log-in stands before a room (it does before all of them in ``app.py``), anybody on this machine."""
    principal: Principal = request.scope.get(PRINCIPAL, ANYBODY_HERE)
    return principal


def reach_of(request: HTTPConnection) -> Reach:
    """How far he sees in the store. Includes, chains, exports and views are kept within it."""
    principal = principal_of(request)
    return _reach(principal.group, principal.scopes)


@lru_cache(maxsize=256)
def _reach(group: str | None, scopes: tuple[Scope, ...]) -> Reach:
    return Reach(group, _types(scopes, "read"), _types(scopes, "search"), only_some(scopes))


def _types(scopes: tuple[Scope, ...], verb: Verb) -> frozenset[str] | None:
    types = definitions.resource_types()
    found = frozenset(kind for kind in types if any(scope.allows(verb, kind) for scope in scopes))
    return None if found >= types else found


def is_below(path: str, starts: tuple[str, ...]) -> bool:
    """Whether a path is one of these addresses, which are written with a slash at their end, or below one."""
    return f"{path}/".startswith(starts)


def narrowing_of(scope: Scope) -> None:
    """Raises :class:`~gateway.errors.Rejected` for a scope whose query is no search of its type."""
    if scope.query:
        narrowing(scope.type, scope.query)


def touched(request: HTTPConnection, seen: Iterable[Stored]) -> None:
    """Note whose data an answer tells, for the audit trail."""
    found: set[str] = request.scope.setdefault(TOUCHED, set())
    for stored in seen:
        found |= patients_named(stored.type, stored.id, stored.body)
