"""A client's proof of who it is: ``private_key_jwt`` (SMART 2.2 client-confidential-asymmetric.html, RFC 7523)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from gateway.access.book import TokenBook
from gateway.access.keys import KeySet, Untrusted, checked, claims_unchecked, header_of

ALGORITHMS = ("RS384", "ES384")
#: SMART: "exp ... no more than five minutes in the future".
MOST_SECS = 300
#: Clocks of two machines.
SKEW_SECS = 10
_REQUIRED = ("iss", "sub", "aud", "exp", "jti")
_MOST_JTI_CHARS = 512


class Assertions:
    """Checks assertions of registered clients, each once."""

    def __init__(self, keys: Mapping[str, KeySet], book: TokenBook, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._book = book
        self._clock = clock

    def client(self, assertion: str, audiences: Collection[str]) -> str:
        """The name of the client that signed it, for one of the ``audiences``. Raises :class:`Untrusted`, and Retryable."""
        header = header_of(assertion)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise Untrusted(f"it is signed in another way than {' or '.join(ALGORITHMS)}")
        claims = claims_unchecked(assertion)
        name = claims.get("iss")
        keys = self._keys.get(name) if isinstance(name, str) else None
        key = keys.find(header.get("kid"), algorithm) if keys else None
        if key is None or not isinstance(name, str):
            raise Untrusted("no such client is registered with such a key")
        claims = checked(assertion, key, algorithm, issuer=name, audiences=audiences, required=_REQUIRED, leeway_secs=SKEW_SECS)
        if claims["sub"] != name:
            raise Untrusted("its iss and sub are not the same client")
        expires, jti = claims["exp"], claims["jti"]
        if not isinstance(expires, int | float) or expires > self._clock() + MOST_SECS + SKEW_SECS:
            raise Untrusted(f"it is good for longer than {MOST_SECS} seconds")
        if not isinstance(jti, str) or not 0 < len(jti) <= _MOST_JTI_CHARS:
            raise Untrusted("its jti is no text of sensible length")
        if not self._book.is_new(name, jti, float(expires) + SKEW_SECS):
            raise Untrusted("it was used before")
        return name
