"""What the settings say of programs, opened: their keys, the book of tokens, the issuers, and the routes by which they get in."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.routing import BaseRoute

from gateway.access.assertion import Assertions
from gateway.access.book import TokenBook
from gateway.access.issuers import Issuers
from gateway.config import Settings
from gateway.web.bearers import Bearers, check_queries, client_keys
from gateway.web.smart import Smart


@dataclass(frozen=True, slots=True)
class Doors:
    """``smart`` is ``None`` when no client of the settings has a key."""

    bearers: Bearers
    smart: Smart | None

    @classmethod
    def open(cls, settings: Settings) -> Doors:
        """Raises :class:`~gateway.errors.Misconfigured` for keys that cannot be read and scopes that cannot be kept."""
        check_queries(settings.clients)
        keys = client_keys(settings)
        book = TokenBook(settings.access_url) if keys else None
        bearers = Bearers(settings.web.tokens, settings.clients, book, Issuers(settings.issuers))
        if book is None:
            return cls(bearers, None)
        signers = {name: client for name, client in bearers.clients.items() if name in keys}
        smart = Smart(signers, Assertions(keys, book), book, external_url=settings.web.external_url)
        return cls(bearers, smart)

    def routes(self) -> list[BaseRoute]:
        return self.smart.routes() if self.smart else []
