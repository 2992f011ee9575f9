"""The section ``targets:`` of the settings: who gets what we publish, each under a name of its own.

Called by ``config``, which finds the values and says where each came from. A secret never stands in the settings file: it comes
from a file of its own or from the environment (``ISOBRIDGE_TARGETS__NAME__PASSWORD``), and no representation of these settings shows it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints
from urllib.parse import urlsplit

Kind = Literal["embedded", "orthanc", "fhir_server"]

#: A name goes into rows, log lines, environment variables and ``--set``.
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

SECRETS = frozenset({"password", "token"})

_REMOTE = frozenset(
    {"url", "username", "password", "password_file", "token", "token_file", "ca_file", "connect_timeout_secs", "timeout_secs"}
    | {"retry_for_hours"}
)
_OPTIONS: dict[str, frozenset[str]] = {
    "embedded": frozenset({"retry_for_hours"}),
    "orthanc": _REMOTE | {"dicomweb_url", "send", "on_withdrawal", "uploads"},
    "fhir_server": _REMOTE | {"ids", "max_bundle_kilobytes"},
}
_ALWAYS = frozenset({"name", "kind", "enabled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """One target. Which options a kind knows stands in ``docs/targets.md``."""

    name: str
    kind: Kind
    enabled: bool = True
    url: str | None = None
    dicomweb_url: str | None = None  #: where researchers reach this archive's DICOMweb; published as Endpoint.address
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    connect_timeout_secs: int = 5
    timeout_secs: int = 60
    retry_for_hours: int | None = None  #: None: as ``publish.retry_for_hours`` says
    send: Literal["original", "normalised"] = "original"
    on_withdrawal: Literal["mark", "delete"] = "mark"
    uploads: int = 4
    ids: Literal["auto", "ours", "server"] = "auto"
    max_bundle_kilobytes: int = 2048


#: What a gateway publishes to unless its settings say otherwise.
DEFAULT_TARGETS = (TargetSettings(name="embedded", kind="embedded"),)

OPTIONS = tuple(option.name for option in dataclasses.fields(TargetSettings) if option.name != "name")


#: ``name.option`` -> (value, where it was written)
Leaves = Mapping[str, tuple[Any, str]]


def build(
    leaves: Leaves,
    *,
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[TargetSettings, ...], dict[str, str]]:
    """The targets that are named anywhere, in that order, and where each option came from. The embedded store is one of them
    unless it is named and disabled: nobody loses ``/fhir`` by naming an archive.

    A target that is wrong is left out and told in ``complaints``. ``convert`` raises ``ValueError`` with the end of a sentence.
    """
    by_name: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, origin) in leaves.items():
        name, dot, option = key.partition(".")
        if not dot:
            complaints.append(f"{origin}: targets.{name} must hold 'key: value' lines, the first of them 'kind:'")
        elif option not in OPTIONS:
            complaints.append(f"{origin}: unknown option '{option}'{hint(option, list(OPTIONS))}")
        else:
            by_name.setdefault(name, {})[option] = (value, origin)
    targets: list[TargetSettings] = []
    origins: dict[str, str] = {}
    if "embedded" not in by_name:
        targets.extend(DEFAULT_TARGETS)
        origins.update({f"targets.embedded.{option}": "default" for option in ("kind", "enabled")})
    for name, options in by_name.items():
        before = len(complaints)
        complaints.extend(_misplaced(name, options))
        target = _converted(name, options, convert, complaints)
        if target is not None:
            first = next(iter(options.values()))[1]
            for option, text in _complaints(target, frozenset(options)):
                complaints.append(f"{options.get(option, ('', first))[1]}: targets.{name}.{option} {text}")
        if target is not None and len(complaints) == before:
            targets.append(target)
            shown = [option for option in OPTIONS if option in options or option in ("kind", "enabled")]
            origins.update({f"targets.{name}.{option}": options.get(option, ("", "default"))[1] for option in shown})
    return tuple(targets), origins


def _misplaced(name: str, options: Leaves) -> Iterator[str]:
    """What can be told before anything is understood: the name, the kind, and secrets where others can read them."""
    first = next(iter(options.values()))[1]
    if not NAME.fullmatch(name):
        yield f"{first}: targets.{name}: a target's name is made of small letters, digits and single underscores"
    if "kind" not in options:
        yield f"{first}: targets.{name}.kind is missing: embedded, orthanc or fhir_server"
    for option in sorted(SECRETS & options.keys()):
        origin = options[option][1]
        if not origin.startswith("environment"):
            variable = f"ISOBRIDGE_TARGETS__{name.upper()}__{option.upper()}"
            yield f"{origin}: targets.{name}.{option} does not belong where others can read it: name a {option}_file, or set {variable}"


def _converted(name: str, options: Leaves, convert: Callable[[Any, Any], Any], complaints: list[str]) -> TargetSettings | None:
    hints = get_type_hints(TargetSettings)
    values: dict[str, Any] = {}
    for option, (value, origin) in options.items():
        try:
            values[option] = convert(value, hints[option])
        except ValueError as error:
            complaints.append(f"{origin}: targets.{name}.{option} {error}")
    return TargetSettings(name=name, **values) if "kind" in values else None


def _complaints(target: TargetSettings, given: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with one target, as (option, end of the sentence '<option> ...'). ``given`` names the options that were written."""
    for option in sorted(given - _OPTIONS[target.kind] - _ALWAYS):
        yield option, f"means nothing for a target of kind {target.kind}"
    if target.kind == "embedded":
        if target.name != "embedded":
            yield "kind", "embedded belongs to the target named 'embedded': there is one embedded store"
        return
    if target.name == "embedded":
        yield "kind", f"cannot be {target.kind} for the name 'embedded', which is the gateway's own store; choose another name"
    if target.url is None:
        yield "url", "is missing"
    for option, value in (("url", target.url), ("dicomweb_url", target.dicomweb_url)):
        yield from _url(option, value)
    yield from _credentials(target)
    for option in ("connect_timeout_secs", "timeout_secs", "uploads", "max_bundle_kilobytes", "retry_for_hours"):
        if getattr(target, option) == 0:
            yield option, "must be 1 or more"


def _url(option: str, value: str | None) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    try:
        parts = urlsplit(value)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        yield option, "must look like https://host:port/path"
    elif parts.username or parts.password:
        yield option, "must not hold credentials; use username and password_file"
    elif parts.query or parts.fragment:
        yield option, "must not hold a query"


def _credentials(target: TargetSettings) -> Iterator[tuple[str, str]]:
    password = target.password or target.password_file
    token = target.token or target.token_file
    if (target.username is None) != (password is None):
        yield "username", "and a password belong together"
    if token and password:
        yield "token_file", "and a password exclude each other"
    for secret in sorted(SECRETS):
        if getattr(target, secret) and getattr(target, f"{secret}_file"):
            yield f"{secret}_file", f"and a {secret} from the environment exclude each other"
    for option in ("password_file", "token_file", "ca_file"):
        path: Path | None = getattr(target, option)
        if path is not None and not path.is_file():
            yield option, f"names {path}, which is no file"
