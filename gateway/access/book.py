"""The book of tokens, ``access.db``: tokens given out (their hashes), and assertions seen, so that none is taken twice.

Tokens are random words and mean nothing by themselves. They outlive a restart, and end at once when their client leaves the settings.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from gateway.database import Database

_MIGRATIONS = Path(__file__).parent / "migrations"
_METADATA = sa.MetaData()
_TOKEN = sa.Table(
    "token",
    _METADATA,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("client", sa.Text),
    sa.Column("scopes", sa.Text),
    sa.Column("expires", sa.Double),
)
_ASSERTION = sa.Table(
    "assertion",
    _METADATA,
    sa.Column("client", sa.Text, primary_key=True),
    sa.Column("jti", sa.Text, primary_key=True),
    sa.Column("expires", sa.Double),
)

#: A token that is over is told from a guess for so long.
REMEMBER_SECS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Given:
    """A token of ours. ``scopes`` as they were granted; ``is_over``: it was good once."""

    client: str
    scopes: str
    is_over: bool = False


class TokenBook:
    """Opening creates or migrates the tables. All methods raise :class:`~gateway.errors.Retryable`."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(url)
        self._clock = clock
        self._database.migrate(_MIGRATIONS)

    def is_new(self, client: str, jti: str, expires: float) -> bool:
        """Note an assertion until it expires. False when it was seen before: somebody plays it again."""
        row = {"client": client, "jti": _hash(jti), "expires": expires}
        with self._database.write() as connection:
            connection.execute(sa.delete(_ASSERTION).where(_ASSERTION.c.expires < self._clock()))
            known = sa.select(_ASSERTION.c.jti).where(_ASSERTION.c.client == client, _ASSERTION.c.jti == row["jti"])
            if connection.execute(known).first() is not None:
                return False
            connection.execute(sa.insert(_ASSERTION).values(**row))
        return True

    def give(self, client: str, scopes: str, lifetime_secs: int) -> str:
        """A new token."""
        token = secrets.token_urlsafe(32)
        row = {"hash": _hash(token), "client": client, "scopes": scopes, "expires": self._clock() + lifetime_secs}
        with self._database.write() as connection:
            connection.execute(sa.delete(_TOKEN).where(_TOKEN.c.expires < self._clock() - REMEMBER_SECS))
            connection.execute(sa.insert(_TOKEN).values(**row))
        return token

    def find(self, token: str) -> Given | None:
        """``None`` for what was never given, or so long ago that it is forgotten."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(_TOKEN).where(_TOKEN.c.hash == _hash(token))).first()
        return Given(row.client, row.scopes, row.expires <= self._clock()) if row else None

    def close(self) -> None:
        self._database.close()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
