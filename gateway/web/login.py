"""Log-in for every address but health: HTTP Basic for people, bearer tokens for programs. No sessions, nothing to steal but the password.

Without users, tokens and clients in the settings (possible on loopback only) everybody on this machine is let in. A wrong password costs
the guesser time: one scrypt, then a wait that doubles with each failure of that address, then 429 until he has been quiet. A guess
counts from the moment it is made, so many at once gain nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Rejected, Retryable
from gateway.web.access import ANYBODY_HERE, NOBODY, PERSON, PRINCIPAL, Principal, is_below
from gateway.web.bearers import Bearers
from gateway.web.fhir_http import in_their_form, outcome
from gateway.web.passwords import hash_password, password_matches
from gateway.web.smart import CONFIGURATION_PATH, TOKEN_PATH

#: Answered to anybody: they hold no data, and a supervisor that asks has no password.
#: The others are where a client learns how to show who it is, and does; ``/metadata`` speaks of the server alone.
OPEN = frozenset({"/healthz", "/readyz", "/fhir/metadata", f"/fhir{CONFIGURATION_PATH}", f"/fhir{TOKEN_PATH}"})
#: What a token opens. Pages with buttons are for people.
FOR_PROGRAMS = ("/fhir/", "/dicom-web/", "/metrics/")
#: What is not told in terms of patients and resources, so that scopes say nothing of it.
_NOT_FOR_CLIENTS = "/metrics"

FREE_FAILURES = 3
MOST_FAILURES = 12
FORGET_AFTER_SECS = 300
LONGEST_WAIT_SECS = 4.0
_FIRST_WAIT_SECS = 0.25
_MOST_ADDRESSES = 10_000
_SCRYPTS_AT_ONCE = 2
_REMEMBERED = 64

log = structlog.get_logger()


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0


class Patience:
    """How long an address has to wait for its next answer. Old and many addresses are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, _Failures] = OrderedDict()

    def blocked_secs(self, address: str) -> int:
        """Seconds until this address may try again; 0 when it may now."""
        failures = self._current(address)
        return math.ceil(failures.last + FORGET_AFTER_SECS - self._clock()) if failures.count >= MOST_FAILURES else 0

    def failed(self, address: str) -> float:
        """Count a failure. Returns how long to wait before it is answered."""
        failures = self._current(address)
        failures.count, failures.last = failures.count + 1, self._clock()
        self._by_address[address] = failures
        self._by_address.move_to_end(address)
        while len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        beyond = failures.count - FREE_FAILURES
        return min(LONGEST_WAIT_SECS, _FIRST_WAIT_SECS * 2.0 ** (beyond - 1)) if beyond > 0 else 0.0

    def succeeded(self, address: str) -> None:
        self._by_address.pop(address, None)

    def _current(self, address: str) -> _Failures:
        known = self._by_address.get(address)
        return known if known and self._clock() - known.last < FORGET_AFTER_SECS else _Failures()


class LogIn:
    """The middleware. Puts who asks into the scope, and his name into ``scope["isobridge.user"]``."""

    def __init__(self, app: ASGIApp, *, users: Mapping[str, str], bearers: Bearers, patience: Patience | None = None) -> None:
        self._app = app
        self._users = dict(users)
        self._bearers = bearers
        self._patience = patience or Patience()
        self._nobody = hash_password(secrets.token_hex(8))
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._turn = asyncio.Semaphore(_SCRYPTS_AT_ONCE)
        self._checks: dict[bytes, asyncio.Task[str | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope.get("path") in OPEN:
            scope[PRINCIPAL] = NOBODY
            await self._app(scope, receive, send)
            return
        if not self._users and self._bearers.is_empty:
            scope[PRINCIPAL] = ANYBODY_HERE
            await self._app(scope, receive, send)
            return
        try:
            user = await self._user(scope)
        except Retryable as error:
            user = _refused(scope, 503, error.reason, retry_after=5)
        except Rejected as error:  # a token that was good once: a client that has not noticed, and no guess
            user = _refused(scope, error.status, error.reason)
        if isinstance(user, Response):
            await user(scope, receive, send)
        else:
            scope[PRINCIPAL], scope["isobridge.user"] = user, user.name
            await self._app(scope, receive, send)

    async def _user(self, scope: Scope) -> Principal | Response:
        """Who asks, or the answer that sends him away."""
        scheme, _, words = Headers(scope=scope).get("authorization", "").partition(" ")
        address = scope["client"][0] if scope.get("client") else ""
        if not words:
            return _refused(scope, 401, "log in first")
        known = self._recall(f"{scheme} {words}")
        if known is not None:
            return _person(known)
        if wait := self._patience.blocked_secs(address):
            return _refused(scope, 429, "too many wrong log-ins from this address", retry_after=wait)
        if scheme.lower() == "basic":
            # A browser asks for many things at once before its first answer: the same words are one guess.
            check = self._checks.get(self._mark(f"{scheme} {words}"))
            wait_secs, name = (0.0, await asyncio.shield(check)) if check else await self._guess(f"{scheme} {words}", address)
            user = _person(name) if name is not None else None
        else:
            user = await self._program(words.strip(), scope["path"]) if scheme.lower() == "bearer" else None
            wait_secs = 0.0 if user else self._patience.failed(address)
        if user is None:
            log.warning("login_failed", stage="web", peer=address)
            await asyncio.sleep(wait_secs)
            return _refused(scope, 401, "this name or password is not known")
        self._patience.succeeded(address)
        return user

    async def _guess(self, line: str, address: str) -> tuple[float, str | None]:
        """Count it first, then look: how long a wrong one waits, and who it is. What is right is taken back by the caller."""
        wait_secs = self._patience.failed(address)
        mark = self._mark(line)
        self._checks[mark] = check = asyncio.create_task(self._person(line.partition(" ")[2].strip()))
        check.add_done_callback(lambda _: self._checks.pop(mark, None))
        user = await asyncio.shield(check)
        if user is not None:
            self._remember(line, user)
        return wait_secs, user

    async def _program(self, token: str, path: str) -> Principal | None:
        if not is_below(path, FOR_PROGRAMS):
            return None
        found = await run_in_threadpool(self._bearers.principal, token)
        return None if found and found.kind != "token" and path.startswith(_NOT_FOR_CLIENTS) else found

    async def _person(self, encoded: str) -> str | None:
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        # An unknown name costs the same time as a known one.
        line = self._users.get(name, self._nobody)
        async with self._turn:
            right = await run_in_threadpool(password_matches, password, line)
        return name if right and name in self._users else None

    def _recall(self, words: str) -> str | None:
        """A log-in that was right a moment ago costs no scrypt; only its keyed hash is kept."""
        return self._known.get(self._mark(words))

    def _remember(self, words: str, user: str) -> None:
        self._known[self._mark(words)] = user
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _mark(self, words: str) -> bytes:
        return hmac.digest(self._key, words.encode(), "sha256")


def _person(name: str) -> Principal:
    return Principal(name=name, kind="person", scopes=PERSON)


def user_of(request: Request) -> str:
    """Who asks, for the record of decisions."""
    return str(request.scope.get("isobridge.user") or "web")


def _refused(scope: Scope, status: int, reason: str, *, retry_after: int | None = None) -> Response:
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Isobridge", charset="UTF-8", Bearer realm="Isobridge"'
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if scope["path"].startswith("/fhir/"):
        return in_their_form(Request(scope), outcome(status, reason, headers=headers))
    return PlainTextResponse(f"{reason}\n", status, headers)
