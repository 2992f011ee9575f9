"""The sections ``clients:`` and ``issuers:`` of the settings: programs that get in with a key, a token or another issuer's token, each
under a name of its own.

Called by ``config``, which finds the values and says where each came from. Nothing here is a secret: keys are public, a token stands as
its hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.named_settings import Leaves, Problems, Section, http_address
from gateway.scopes import Scope, read_scopes

#: What an issuer may sign with: public keys only, so that no secret of ours makes a token.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MOST_TOKEN_MINUTES = 60
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One program. It shows who it is by its key (``keys``, ``keys_file``), by a token (``token_hash``), or by a token of an ``issuer``."""

    name: str
    enabled: bool = True
    scopes: str = ""
    group: str | None = None
    keys: str | None = None  #: a JWK Set as JSON
    keys_file: Path | None = None
    token_hash: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_minutes: int = 5
    requests_per_minute: int | None = None  #: None: ``web.requests_per_minute``

    @property
    def rights(self) -> tuple[Scope, ...]:
        return read_scopes(self.scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """Another one who gives tokens (OpenID Connect, OAuth 2): JWTs whose ``iss`` is ``url`` and whose ``aud`` holds ``audience``."""

    name: str
    url: str = ""
    audience: str = ""
    keys_url: str | None = None
    keys_file: Path | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    client_claim: str = "sub"
    #: The claim that names the Group whose patients are all that the token shows; None: ``group`` of the client.
    group_claim: str | None = None
    clock_skew_secs: int = 30
    needs_scopes: bool = True
    ca_file: Path | None = None


def as_texts(leaves: Leaves) -> Leaves:
    """A key set may stand in YAML, scopes may stand as a list."""

    def text(option: str, value: Any) -> Any:
        if option == "keys" and isinstance(value, dict):
            return json.dumps(value, default=str)
        if option == "scopes" and isinstance(value, list):
            return " ".join(str(item) for item in value)
        return value

    return {key: (text(key.rpartition(".")[2], value), origin) for key, (value, origin) in leaves.items()}


def conflicts(clients: Iterable[ClientSettings], issuers: Leaves) -> Problems:
    """Clients of an issuer that the settings do not name, as (origin, sentence)."""
    named = {key.partition(".")[0] for key in issuers}
    for one in clients:
        if one.issuer is not None and one.issuer not in named:
            yield f"clients.{one.name}.issuer", f"clients.{one.name}.issuer names none of the section issuers"


def _client(one: ClientSettings, _given: Leaves) -> Problems:
    ways = [option for option in ("keys", "keys_file", "token_hash", "issuer") if getattr(one, option) is not None]
    if len(ways) != 1:
        yield (
            (ways or ["keys_file"])[-1],
            "or one of keys, keys_file, token_hash, issuer: exactly one of them tells who the client is",
        )
    if one.keys_file is not None and not one.keys_file.is_file():
        yield "keys_file", f"names {one.keys_file}, which is no file"
    if one.token_hash is not None and not _TOKEN.fullmatch(one.token_hash):
        yield "token_hash", "needs a line that 'isobridge web-token' printed"
    if (one.issuer is None) != (one.subject is None):
        yield "subject", "and issuer belong together: the value by which that issuer's tokens name this client"
    yield from _rights(one)
    if one.group is not None and not _FHIR_ID.fullmatch(one.group):
        yield "group", "must be the id of a Group"
    if not 1 <= one.token_minutes <= MOST_TOKEN_MINUTES:
        yield "token_minutes", f"must be 1 to {MOST_TOKEN_MINUTES}"
    if one.requests_per_minute == 0:
        yield "requests_per_minute", "must be 1 or more"


def _rights(one: ClientSettings) -> Problems:
    try:
        if not one.rights:
            yield "scopes", "is missing: what the client may do, like system/Observation.rs or system/*.rs"
        elif one.group is not None and any(letter in scope.letters for scope in one.rights for letter in "cud"):
            yield "scopes", "must give no right to write: who is limited to a group changes nothing"
        elif any(scope.query for scope in one.rights) and any(
            letter in scope.letters for scope in one.rights for letter in "cud"
        ):
            yield "scopes", "must give no right to write beside a scope with a query: who sees a part changes nothing"
    except ValueError as error:
        yield "scopes", f"cannot be read: {error}"


def _issuer(one: IssuerSettings, _given: Leaves) -> Problems:
    if not one.audience:
        yield "audience", "is missing: the 'aud' of tokens that are made for this gateway"
    if (one.keys_url is None) == (one.keys_file is None):
        yield "keys_url", "or keys_file: exactly one of them tells where its public keys are"
    if one.keys_url is not None:
        yield from _keys_url(one.keys_url)
    for option in ("keys_file", "ca_file"):
        path: Path | None = getattr(one, option)
        if path is not None and not path.is_file():
            yield option, f"names {path}, which is no file"
    if not one.algorithms or not set(one.algorithms) <= set(ALGORITHMS):
        yield "algorithms", f"must be some of {', '.join(ALGORITHMS)}"
    if one.clock_skew_secs > 300:
        yield "clock_skew_secs", "must be 300 or less"


def _keys_url(value: str) -> Problems:
    parts = http_address(value)
    if parts is None or parts.username:
        yield "keys_url", "must look like https://host/path, without credentials"
    elif parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        yield "keys_url", "must be https: whoever changes these keys on their way gets in"


CLIENTS = Section(
    name="clients",
    one="client",
    kind=ClientSettings,
    required="scopes",
    choices="what it may do, like system/Observation.rs or system/*.rs",
    check=_client,
)
ISSUERS = Section(
    name="issuers",
    one="issuer",
    kind=IssuerSettings,
    required="url",
    choices="the 'iss' of its tokens, letter by letter",
    check=_issuer,
)
