"""SMART Backend Services (SMART App Launch 2.2, backend-services.html): discovery, and the token endpoint (RFC 6749 4.4, RFC 7523).

Both are open to everybody who can reach the port: here a client shows who it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import parse_qsl

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.access.assertion import ALGORITHMS, Assertions
from gateway.access.book import TokenBook
from gateway.access.keys import Untrusted
from gateway.client_settings import ClientSettings
from gateway.errors import Rejected, Retryable
from gateway.scopes import granted, read_scopes
from gateway.web.access import PRINCIPAL, Principal, narrowing_of
from gateway.web.export import base_of
from gateway.web.limits import Rates

TOKEN_PATH = "/auth/token"  # noqa: S105 - an address
CONFIGURATION_PATH = "/.well-known/smart-configuration"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MOST_BYTES = 32 * 1024
_TRIES_PER_MINUTE = 120
_HEADERS = {"Cache-Control": "no-store", "Pragma": "no-cache"}

log = structlog.get_logger()


class Refused(Exception):
    """An error of RFC 6749 5.2."""

    def __init__(self, error: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.answer = JSONResponse({"error": error, "error_description": reason}, status, _HEADERS)


class Smart:
    """``external_url``: the address that assertions must be made for; ``None`` takes the one that the client asked (loopback)."""

    def __init__(
        self,
        clients: Mapping[str, ClientSettings],
        assertions: Assertions,
        book: TokenBook,
        *,
        external_url: str | None,
        rates: Rates | None = None,
    ) -> None:
        self._clients = clients
        self._assertions = assertions
        self._book = book
        self._external_url = external_url
        self._rates = rates or Rates()

    def routes(self) -> list[BaseRoute]:
        """To be mounted at ``/fhir`` before the others."""
        return [
            Route(CONFIGURATION_PATH, self.configuration, methods=["GET"]),
            Route(TOKEN_PATH, self.token, methods=["POST"]),
        ]

    def _base(self, request: Request) -> str:
        if self._external_url is not None:
            return f"{self._external_url.rstrip('/')}{request.scope.get('root_path', '')}"
        return base_of(request)

    async def configuration(self, request: Request) -> Response:
        """What ``.well-known/smart-configuration`` tells (conformance.html)."""
        # Open to everybody: that there is a query may be told, what it asks may not.
        scopes = sorted(
            {str(dataclasses.replace(scope, query="")) for client in self._clients.values() for scope in client.rights}
        )
        return JSONResponse(
            {
                "token_endpoint": f"{self._base(request)}{TOKEN_PATH}",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": [*ALGORITHMS],
                "scopes_supported": scopes,
                "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
            },
            headers={"Cache-Control": "no-cache"},
        )

    async def token(self, request: Request) -> Response:
        try:
            return await self._token(request)
        except Refused as refused:
            log.warning("token_not_given", stage="web", reason=str(refused))
            return refused.answer
        except Retryable as error:
            return JSONResponse({"error": "temporarily_unavailable", "error_description": error.reason}, 503, _HEADERS)

    async def _token(self, request: Request) -> Response:
        if wait := self._rates.wait_secs(request.client.host if request.client else "", _TRIES_PER_MINUTE):
            headers = {**_HEADERS, "Retry-After": str(wait)}
            return JSONResponse({"error": "slow_down", "error_description": "too many tokens were asked for"}, 429, headers)
        form = await _form(request)
        if form.get("grant_type") != "client_credentials":
            raise Refused("unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("client_assertion_type") != _ASSERTION_TYPE or not form.get("client_assertion"):
            raise Refused("invalid_client", f"send client_assertion with client_assertion_type={_ASSERTION_TYPE}", 401)
        try:
            audiences = [f"{self._base(request)}{TOKEN_PATH}"]
            name = await run_in_threadpool(self._assertions.client, form["client_assertion"], audiences)
        except Untrusted as error:
            raise Refused("invalid_client", f"the assertion is not accepted: {error.reason}", 401) from error
        client = self._clients[name]
        request.scope[PRINCIPAL] = Principal(name=name, kind="client", scopes=(), group=client.group)
        scopes = _granted(client, form.get("scope", ""))
        lifetime = client.token_minutes * 60
        token = await run_in_threadpool(self._book.give, name, scopes, lifetime)
        answer = {"access_token": token, "token_type": "bearer", "expires_in": lifetime, "scope": scopes}
        return JSONResponse(answer, headers=_HEADERS)


def _granted(client: ClientSettings, wanted: str) -> str:
    """What is asked for and registered. Raises :class:`Refused`."""
    try:
        asked = read_scopes(wanted)
        for one in asked:
            narrowing_of(one)
    except ValueError as error:
        raise Refused("invalid_scope", f"scope {error}") from error
    except Rejected as error:
        reason = "the query of a scope has search parameters of its own type with values, nothing else"
        raise Refused("invalid_scope", reason) from error
    if not asked:
        raise Refused("invalid_scope", "scope is missing: what the token is for, like system/Observation.rs")
    found = granted(asked, client.rights)
    if not found:
        raise Refused("invalid_scope", "nothing of that is registered for this client")
    return " ".join(map(str, found))


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused("invalid_request", "the body must be application/x-www-form-urlencoded")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Refused("invalid_request", "the form is too large", 413)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise Refused("invalid_request", "the form cannot be read") from error
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refused("invalid_request", "a field is there twice")
    return dict(pairs)
