"""The section ``sources:`` of the settings: where the past may be fetched from (``isobridge backfill``), each under a name of its own.

Called by ``config``, which finds the values and says where each came from. A secret never stands in the settings file: it comes from a file
of its own or from the environment (``ISOBRIDGE_SOURCES__NAME__PASSWORD``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.named_settings import Leaves, Problems, Section, absent_files, http_address, not_zero, unknown_to

#: AE title, host, port, as ``isobridge send --to`` takes it.
_ADDRESS = re.compile(r"[\x21-\x3f\x41-\x5b\x5d-\x7e]{1,16}@(?:\[[0-9a-fA-F:.]+\]|[^@:\[\]/\s]+):\d{1,5}")

_HTTP = frozenset({"url", "username", "password", "password_file", "token", "token_file", "ca_file"})
_OPTIONS = {
    "orthanc": _HTTP | {"poll_secs"},
    "dicomweb": _HTTP,
    "dicom": frozenset({"address", "retrieve", "calling_ae", "move_to"}),
}
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
    poll_secs: int = 10  #: between two looks at an Orthanc that is followed


def _problems(source: SourceSettings, given: Leaves) -> Problems:
    yield from unknown_to(SOURCES, source.kind, given, _OPTIONS[source.kind] | _ALWAYS)
    yield from not_zero(source, ("timeout_secs", "poll_secs"))
    if source.kind != "dicom":
        yield from _url(source.url or "")
    elif not _ADDRESS.fullmatch(source.address or ""):
        yield "address", "must look like AET@host:port"
    yield from absent_files(source)


def _url(value: str) -> Problems:
    parts = http_address(value)
    if parts is None:
        yield "url", "must look like https://host:port/path"
    elif parts.username or parts.password or parts.query or parts.fragment:
        yield "url", "must hold neither credentials nor a query"


SOURCES = Section(
    name="sources",
    one="source",
    kind=SourceSettings,
    required="kind",
    choices="orthanc, dicomweb or dicom",
    name_most=16,  # it travels as the calling title of what comes from there (PS3.5 6.2, AE)
    check=_problems,
)
