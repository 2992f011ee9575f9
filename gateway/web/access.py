"""Who asks, and what he may do. The log-in writes a :class:`Principal` into the ASGI scope; every room of ours that serves data asks
:func:`allows`.

Rights are those of SMART system scopes, on FHIR resource types. What DICOMweb serves is the content of an ImagingStudy, so it needs
the rights on that type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.requests import HTTPConnection

from gateway.scopes import DO_ALL, Scope, Verb

#: Key in the ASGI scope.
PRINCIPAL = "isobridge.principal"


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


#: Without users, tokens and clients in the settings, which is possible on loopback only.
ANYBODY_HERE = Principal(name="web", kind="open", scopes=DO_ALL)


def allows(principal: Principal, verb: Verb, kind: str) -> bool:
    """Whether this principal may do that to resources of the type. Who is limited to a Group changes nothing."""
    if principal.group is not None and verb in ("create", "update", "delete"):
        return False
    return any(scope.allows(verb, kind) for scope in principal.scopes)


def principal_of(request: HTTPConnection) -> Principal:
    """Who asks. Raises ``LookupError`` when no log-in stands before this room: nobody is let in by an omission."""
    principal: Principal = request.scope[PRINCIPAL]
    return principal
