"""The sections ``clients:`` and ``issuers:`` of the settings: programs that get in with a key, a token or another issuer's token, each
under a name of its own.

Called by ``config``, which finds the values and says where each came from. Nothing here is a secret: keys are public, a token stands as
its hash.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from gateway.named_settings import NAME
from gateway.scopes import Scope, read_scopes

#: What an issuer may sign with: public keys only, so that no secret of ours makes a token.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MOST_TOKEN_MINUTES = 60
_TOKEN = re.compile(r"sha256:[0-9a-f]{64}")
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """One program. It shows who it is by one of ``keys``/``keys_file`` (SMART Backend Services), ``token``, or ``issuer``/``subject``."""

    name: str
    enabled: bool = True
    scopes: str = ""
    group: str | None = None
    keys: str | None = None  #: a JWK Set as JSON
    keys_file: Path | None = None
    token: str | None = None
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
    clock_skew_secs: int = 30
    needs_scopes: bool = True
    ca_file: Path | None = None


T = TypeVar("T", ClientSettings, IssuerSettings)
#: ``name.option`` -> (value, where it was written)
Leaves = Mapping[str, tuple[Any, str]]
Complaints = Iterator[tuple[str, str]]


def build_clients(
    leaves: Leaves,
    issuers: Collection[str],
    *,
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[ClientSettings, ...], dict[str, str]]:
    """The clients, and where each option came from. One that is wrong is left out and told in ``complaints``."""
    return _build("clients", ClientSettings, leaves, lambda one: _client(one, issuers), convert, hint, complaints)


def build_issuers(
    leaves: Leaves,
    *,
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[IssuerSettings, ...], dict[str, str]]:
    return _build("issuers", IssuerSettings, leaves, _issuer, convert, hint, complaints)


def _build(
    section: str,
    kind: type[T],
    leaves: Leaves,
    judge: Callable[[T], Complaints],
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[T, ...], dict[str, str]]:
    known = [option.name for option in dataclasses.fields(kind) if option.name != "name"]
    by_name: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, origin) in leaves.items():
        name, dot, option = key.partition(".")
        if not dot:
            complaints.append(f"{origin}: {section}.{name} must hold 'key: value' lines")
        elif option not in known:
            complaints.append(f"{origin}: unknown option '{option}'{hint(option, known)}")
        else:
            by_name.setdefault(name, {})[option] = (value, origin)
    built: list[T] = []
    origins: dict[str, str] = {}
    for name, options in by_name.items():
        before, first = len(complaints), next(iter(options.values()))[1]
        one = _converted(section, kind, name, options, convert, complaints)
        if not NAME.fullmatch(name):
            complaints.append(f"{first}: {section}.{name}: a name is made of small letters, digits and single underscores")
        for option, text in judge(one):
            complaints.append(f"{options.get(option, ('', first))[1]}: {section}.{name}.{option} {text}")
        if len(complaints) == before:
            built.append(one)
            origins.update({f"{section}.{name}.{option}": origin for option, (_, origin) in options.items()})
    return tuple(built), origins


def _converted(
    section: str, kind: type[T], name: str, options: Leaves, convert: Callable[[Any, Any], Any], complaints: list[str]
) -> T:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for option, (value, origin) in options.items():
        try:
            values[option] = convert(_as_text(option, value), hints[option])
        except ValueError as error:
            complaints.append(f"{origin}: {section}.{name}.{option} {error}")
    return kind(name=name, **values)


def _as_text(option: str, value: Any) -> Any:
    """A key set may stand in YAML, scopes may stand as a list."""
    if option == "keys" and isinstance(value, dict):
        return json.dumps(value, default=str)
    if option == "scopes" and isinstance(value, list):
        return " ".join(str(item) for item in value)
    return value


def _client(one: ClientSettings, issuers: Collection[str]) -> Complaints:
    ways = [option for option in ("keys", "keys_file", "token", "issuer") if getattr(one, option) is not None]
    if len(ways) != 1:
        yield (ways or ["keys_file"])[-1], "or one of keys, keys_file, token, issuer: exactly one of them tells who the client is"
    if one.keys_file is not None and not one.keys_file.is_file():
        yield "keys_file", f"names {one.keys_file}, which is no file"
    if one.token is not None and not _TOKEN.fullmatch(one.token):
        yield "token", "needs a line that 'isobridge web-token' printed"
    if one.issuer is not None and one.issuer not in issuers:
        yield "issuer", "names none of the section issuers"
    if (one.issuer is None) != (one.subject is None):
        yield "subject", "and issuer belong together: the value by which that issuer's tokens name this client"
    yield from _rights(one)
    if one.group is not None and not _FHIR_ID.fullmatch(one.group):
        yield "group", "must be the id of a Group"
    if not 1 <= one.token_minutes <= MOST_TOKEN_MINUTES:
        yield "token_minutes", f"must be 1 to {MOST_TOKEN_MINUTES}"
    if one.requests_per_minute == 0:
        yield "requests_per_minute", "must be 1 or more"


def _rights(one: ClientSettings) -> Complaints:
    try:
        if not one.rights:
            yield "scopes", "is missing: what the client may do, like system/Observation.rs or system/*.rs"
        elif one.group is not None and any(letter in scope.letters for scope in one.rights for letter in "cud"):
            yield "scopes", "must give no right to write: who is limited to a group changes nothing"
    except ValueError as error:
        yield "scopes", f"cannot be read: {error}"


def _issuer(one: IssuerSettings) -> Complaints:
    if not one.url:
        yield "url", "is missing: the 'iss' of its tokens, letter by letter"
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


def _keys_url(value: str) -> Complaints:
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        sound = False
    if not sound:
        yield "keys_url", "must look like https://host/path, without credentials"
    elif parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        yield "keys_url", "must be https: whoever changes these keys on their way gets in"
