"""Tokens of other issuers (OpenID Connect, OAuth 2 JWT access tokens, RFC 9068): a JWT whose issuer, audience and algorithm are pinned.

Public keys come from the issuer's JWK Set, kept for a while. A key that is not known makes us look again, but not more often than every
half minute, so that invented key names cost the issuer nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import requests
import structlog

from gateway.access.keys import KeySet, Untrusted, checked, claims_unchecked, header_of, read_key_file, read_keys
from gateway.client_settings import IssuerSettings
from gateway.errors import GatewayError, Retryable

KEEP_SECS = 600
KEEP_WHEN_DOWN_SECS = 24 * 3600
LOOK_AGAIN_SECS = 30
_MOST_BYTES = 256 * 1024
_TIMEOUT_SECS = 5
_REQUIRED = ("iss", "aud", "exp")
_GROUP = re.compile(r"(?:Group/)?([A-Za-z0-9\-.]{1,64})", re.ASCII)

log = structlog.get_logger()

Fetch = Callable[[IssuerSettings], str]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a token of an issuer proves: who (by the claim that the settings name), and the scopes it carries."""

    issuer: str
    subject: str
    scopes: str
    needs_scopes: bool
    group: str | None = None  #: the id of the Group that it names; None where the settings do not look for one


class Issuers:
    """Checks tokens of the issuers in the settings."""

    def __init__(
        self, settings: Iterable[IssuerSettings], *, fetch: Fetch | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._by_url = {one.url: _Issuer(one, fetch or fetch_keys, clock) for one in settings}

    def claimed(self, token: str) -> Claimed:
        """Raises :class:`Untrusted`, and :class:`Retryable` when the issuer's keys cannot be fetched."""
        header = header_of(token)
        issuer = self._by_url.get(str(claims_unchecked(token).get("iss")))
        if issuer is None:
            raise Untrusted("its issuer is not one of the settings")
        return issuer.claimed(token, header)


class _Issuer:
    def __init__(self, settings: IssuerSettings, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")

    def claimed(self, token: str, header: Mapping[str, object]) -> Claimed:
        settings, algorithm = self._settings, header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in settings.algorithms:
            raise Untrusted("its issuer does not sign in this way")
        key = self._current(header.get("kid")).find(header.get("kid"), algorithm)
        if key is None:
            raise Untrusted("its issuer has no such key")
        claims = checked(
            token,
            key,
            algorithm,
            issuer=settings.url,
            audiences=[settings.audience],
            required=_REQUIRED,
            leeway_secs=settings.clock_skew_secs,
        )
        subject, scopes = claims.get(settings.client_claim), claims.get("scope", claims.get("scp", ""))
        if not isinstance(subject, str) or not subject:
            raise Untrusted(f"it has no claim {settings.client_claim}")
        words = [str(item) for item in scopes] if isinstance(scopes, list) else str(scopes).split()
        known = " ".join(word for word in words if word.startswith("system/"))
        return Claimed(settings.name, subject, known, settings.needs_scopes, _group(claims, settings.group_claim))

    def _current(self, kid: object) -> KeySet:
        """The keys, fetched anew when they are old or do not hold this one."""
        with self._lock:
            now = self._clock()
            keys, age = self._keys, now - self._fetched
            wanted = keys is None or age > KEEP_SECS or not keys.has(kid)
            if wanted and now - self._tried > LOOK_AGAIN_SECS:
                self._tried = now
                keys = self._look() or keys
                age = now - self._fetched
            if keys is None or age > KEEP_WHEN_DOWN_SECS:
                raise Retryable("the keys of the token's issuer cannot be fetched now")
            return keys

    def _look(self) -> KeySet | None:
        settings = self._settings
        try:
            if settings.keys_file is not None:
                found = read_key_file(settings.keys_file, f"issuers.{settings.name}.keys_file")
            else:
                found = read_keys(self._fetch(settings))
        except (GatewayError, ValueError) as error:
            log.warning("issuer_keys_not_fetched", stage="web", issuer=settings.name, reason=str(error))
            return None
        self._keys, self._fetched = found, self._clock()
        return found


def _group(claims: Mapping[str, object], claim: str | None) -> str | None:
    """``lung`` or ``Group/lung``, alone or as a list of one. A token that names none, or several, shows nothing."""
    if claim is None:
        return None
    value = claims.get(claim)
    named = value[0] if isinstance(value, list) and len(value) == 1 else value
    found = _GROUP.fullmatch(named) if isinstance(named, str) else None
    if found is None:
        raise Untrusted(f"its claim {claim} does not name one Group")
    return found[1]


def fetch_keys(settings: IssuerSettings) -> str:
    """The JWK Set. Raises :class:`Retryable`. Redirects are not followed: the keys come from the address that the settings name."""
    verify: bool | str = str(settings.ca_file) if settings.ca_file else True
    try:
        with requests.get(
            str(settings.keys_url), timeout=_TIMEOUT_SECS, allow_redirects=False, verify=verify, stream=True
        ) as answer:
            if answer.status_code != 200:
                raise Retryable(f"the issuer answered {answer.status_code}")
            body = answer.raw.read(_MOST_BYTES + 1, decode_content=True)
    except (requests.RequestException, OSError) as error:
        raise Retryable(f"the issuer cannot be reached ({type(error).__name__})") from error
    if len(body) > _MOST_BYTES:
        raise Retryable("the issuer's key set is too large")
    text: str = body.decode(errors="replace")
    return text
