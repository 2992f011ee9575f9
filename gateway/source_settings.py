"""The section ``sources:`` of the settings: where the past may be fetched from (``isobridge backfill``), each under a name of its own.

Called by ``config``, which finds the values and says where each came from. A secret never stands in the settings file: it comes from a file
of its own or from the environment (``ISOBRIDGE_SOURCES__NAME__PASSWORD``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints
from urllib.parse import urlsplit

from gateway.target_settings import NAME, SECRETS

#: The name travels as the calling title of what comes from there (PS3.5 6.2, AE).
_NAME_MOST = 16
#: AE title, host, port, as ``isobridge send --to`` takes it.
_ADDRESS = re.compile(r"[\x21-\x3f\x41-\x5b\x5d-\x7e]{1,16}@(?:\[[0-9a-fA-F:.]+\]|[^@:\[\]/\s]+):\d{1,5}")

_HTTP = frozenset({"url", "username", "password", "password_file", "token", "token_file", "ca_file"})
_OPTIONS = {"orthanc": _HTTP, "dicomweb": _HTTP, "dicom": frozenset({"address", "retrieve", "calling_ae", "move_to"})}
_ALWAYS = frozenset({"kind", "enabled", "objects_per_minute", "night_only", "timeout_secs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """One source. Which options a kind knows stands in ``docs/backfill.md``."""

    name: str
    kind: Literal["orthanc", "dicomweb", "dicom"]
    enabled: bool = True
    url: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    address: str | None = None  #: AET@host:port
    retrieve: Literal["get", "move"] = "get"
    calling_ae: str | None = None  #: None: ``receive.ae_title``
    move_to: str | None = None  #: the AE title under which the source knows our DICOM port; None: ``receive.ae_title``
    timeout_secs: int = 120
    objects_per_minute: int = 0  #: 0: as fast as it goes
    night_only: bool = False


OPTIONS = tuple(option.name for option in dataclasses.fields(SourceSettings) if option.name != "name")

#: ``name.option`` -> (value, where it was written)
Leaves = Mapping[str, tuple[Any, str]]


def build(
    leaves: Leaves,
    *,
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[SourceSettings, ...], dict[str, str]]:
    """The sources that are named anywhere, in that order, and where each option came from.

    A source that is wrong is left out and told in ``complaints``. ``convert`` raises ``ValueError`` with the end of a sentence.
    """
    by_name: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, origin) in leaves.items():
        name, dot, option = key.partition(".")
        if not dot:
            complaints.append(f"{origin}: sources.{name} must hold 'key: value' lines, the first of them 'kind:'")
        elif option not in OPTIONS:
            complaints.append(f"{origin}: unknown option '{option}'{hint(option, list(OPTIONS))}")
        else:
            by_name.setdefault(name, {})[option] = (value, origin)
    sources: list[SourceSettings] = []
    origins: dict[str, str] = {}
    for name, options in by_name.items():
        before = len(complaints)
        first = next(iter(options.values()))[1]
        source = _converted(name, options, convert, complaints)
        for option, text in _complaints(name, source, options):
            complaints.append(f"{options.get(option, ('', first))[1]}: sources.{name}.{option} {text}")
        if source is not None and len(complaints) == before:
            sources.append(source)
            origins.update({f"sources.{name}.{option}": options.get(option, ("", "default"))[1] for option in options})
    return tuple(sources), origins


def _converted(name: str, options: Leaves, convert: Callable[[Any, Any], Any], complaints: list[str]) -> SourceSettings | None:
    hints = get_type_hints(SourceSettings)
    values: dict[str, Any] = {}
    for option, (value, origin) in options.items():
        try:
            values[option] = convert(value, hints[option])
        except ValueError as error:
            complaints.append(f"{origin}: sources.{name}.{option} {error}")
    return SourceSettings(name=name, **values) if "kind" in values else None


def _complaints(name: str, source: SourceSettings | None, given: Leaves) -> Iterator[tuple[str, str]]:
    """What is wrong, as (option, end of the sentence '<option> ...')."""
    if not NAME.fullmatch(name) or len(name) > _NAME_MOST:
        yield "kind", f": a source's name is made of up to {_NAME_MOST} small letters, digits and single underscores"
    for option in sorted(SECRETS & given.keys()):
        if not given[option][1].startswith("environment"):
            yield option, f"does not belong where others can read it: name a {option}_file, or set it in the environment"
    if source is None:
        if "kind" not in given:
            yield "kind", "is missing: orthanc, dicomweb or dicom"
        return
    for option in sorted(given.keys() - _OPTIONS[source.kind] - _ALWAYS):
        yield option, f"means nothing for a source of kind {source.kind}"
    if source.timeout_secs == 0:
        yield "timeout_secs", "must be 1 or more"
    yield from _place(source)


def _place(source: SourceSettings) -> Iterator[tuple[str, str]]:
    """Where it is, and what it takes to get in."""
    if source.kind == "dicom" and not _ADDRESS.fullmatch(source.address or ""):
        yield "address", "must look like AET@host:port"
    if source.kind != "dicom":
        yield from _url(source.url)
    for option in ("password_file", "token_file", "ca_file"):
        path: Path | None = getattr(source, option)
        if path is not None and not path.is_file():
            yield option, f"names {path}, which is no file"


def _url(value: str | None) -> Iterator[tuple[str, str]]:
    try:
        parts = urlsplit(value or "")
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        yield "url", "must look like https://host:port/path"
    elif parts.username or parts.password or parts.query or parts.fragment:
        yield "url", "must hold neither credentials nor a query"
