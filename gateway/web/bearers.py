"""Whose a bearer token is: a program's of ``web.tokens``, a client's, one that we gave to a client, or one of another issuer."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence

import structlog

from gateway.access.book import TokenBook
from gateway.access.issuers import Claimed, Issuers
from gateway.access.keys import Expired, KeySet, Untrusted, read_key_file, read_keys
from gateway.client_settings import ClientSettings
from gateway.config import Settings
from gateway.errors import Misconfigured, Rejected
from gateway.scopes import Scope, granted, read_scope
from gateway.web.access import PROGRAM, Principal, narrowing_of
from gateway.web.passwords import hash_token

log = structlog.get_logger()


class Bearers:
    """Asks the book and the issuers; both may block."""

    def __init__(
        self, tokens: Mapping[str, str], clients: Sequence[ClientSettings], book: TokenBook | None, issuers: Issuers
    ) -> None:
        self._tokens = dict(tokens)
        self.clients = {one.name: one for one in clients if one.enabled}
        self._book = book
        self._issuers = issuers
        #: However long a guess runs, it is compared with all of them.
        self._static = {one.name: one.token_hash for one in self.clients.values() if one.token_hash}
        self._outside = {(one.issuer, one.subject): one for one in self.clients.values() if one.issuer}

    @property
    def is_empty(self) -> bool:
        return not self._tokens and not self.clients

    def principal(self, token: str) -> Principal | None:
        """``None`` for a token that is nobody's. Raises :class:`~gateway.errors.Rejected` (401) for one that was good once, which is no
        guess, and :class:`~gateway.errors.Retryable`."""
        line = hash_token(token)
        programs = [name for name, known in self._tokens.items() if hmac.compare_digest(line, known)]
        if programs:
            return Principal(name=programs[0], kind="token", scopes=PROGRAM)
        named = [name for name, known in self._static.items() if hmac.compare_digest(line, known)]
        if named:
            client = self.clients[named[0]]
            return Principal(name=client.name, kind="client", scopes=client.rights, group=client.group)
        if token.count(".") == 2 and self._outside:
            return self._of_issuer(token)
        return self._of_book(token)

    def _of_book(self, token: str) -> Principal | None:
        given = self._book.find(token) if self._book else None
        client = self.clients.get(given.client) if given else None
        if given is None or client is None or (client.keys is None and client.keys_file is None):
            return None
        if given.is_over:
            raise _over()
        # What the settings say now, never more than was granted then.
        return Principal(
            name=client.name, kind="client", scopes=granted(_scopes(given.scopes), client.rights), group=client.group
        )

    def _of_issuer(self, token: str) -> Principal | None:
        try:
            claimed = self._issuers.claimed(token)
        except Expired as error:
            raise _over() from error
        except Untrusted as error:
            log.warning("token_refused", stage="web", reason=error.reason)
            return None
        client = self._outside.get((claimed.issuer, claimed.subject))
        if client is None:
            log.warning("token_refused", stage="web", reason="its subject is no client of the settings", issuer=claimed.issuer)
            return None
        if client.group is not None and claimed.group not in (None, client.group):
            log.warning("token_refused", stage="web", reason="it names another Group than its client has", issuer=claimed.issuer)
            return None
        return Principal(name=client.name, kind="issuer", scopes=_within(claimed, client), group=client.group or claimed.group)


def _over() -> Rejected:
    return Rejected("this token has expired; ask for a new one", status=401)


def _within(claimed: Claimed, client: ClientSettings) -> tuple[Scope, ...]:
    """Where the issuer tells scopes, what is in both. Where it need not and does not, what is registered."""
    if not claimed.scopes and not claimed.needs_scopes:
        return client.rights
    return granted(_scopes(claimed.scopes), client.rights)


def _scopes(text: str) -> tuple[Scope, ...]:
    """Those that are understood. One whose query is not gives nothing."""
    found = []
    for word in text.split():
        try:
            scope = read_scope(word)
            narrowing_of(scope)
        except (ValueError, Rejected):
            continue
        found.append(scope)
    return tuple(found)


def check_queries(clients: Iterable[ClientSettings]) -> None:
    """Raises :class:`Misconfigured` for a scope whose query is no search of its type."""
    for one in clients:
        for scope in one.rights:
            try:
                narrowing_of(scope)
            except Rejected as error:
                where = f"clients.{one.name}.scopes: the query of system/{scope.type}.{scope.letters}"
                raise Misconfigured(f"{where} cannot be kept: {error.reason}") from error


def check_clients(settings: Settings) -> None:
    """What can be wrong with clients before anybody asks. Raises :class:`Misconfigured`."""
    check_queries(settings.clients)
    client_keys(settings)


def client_keys(settings: Settings) -> dict[str, KeySet]:
    """The public keys of the clients that sign. Raises :class:`Misconfigured`."""
    found: dict[str, KeySet] = {}
    for one in settings.clients:
        if one.enabled and one.keys_file is not None:
            found[one.name] = read_key_file(one.keys_file, f"clients.{one.name}.keys_file")
        elif one.enabled and one.keys is not None:
            try:
                found[one.name] = read_keys(one.keys)
            except ValueError as error:
                raise Misconfigured(f"clients.{one.name}.keys {error}") from error
    return found
