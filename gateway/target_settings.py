"""The section ``targets:`` of the settings: who gets what we publish, each under a name of its own.

Called by ``config``, which finds the values and says where each came from. A secret never stands in the settings file: it comes
from a file of its own or from the environment (``ISOBRIDGE_TARGETS__NAME__PASSWORD``), and no representation of these settings shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway import named_settings
from gateway.named_settings import SECRETS, Leaves, Problems, Reading, Section, absent_files, http_address, not_zero, unknown_to

Kind = Literal["embedded", "orthanc", "fhir_server"]

_REMOTE = frozenset(
    {"url", "username", "password", "password_file", "token", "token_file", "ca_file", "connect_timeout_secs", "timeout_secs"}
    | {"retry_for_hours"}
)
_OPTIONS: dict[str, frozenset[str]] = {
    "embedded": frozenset({"retry_for_hours"}),
    "orthanc": _REMOTE | {"dicomweb_url", "dicomweb_proxy", "dicomweb_path", "send", "on_withdrawal", "uploads"},
    "fhir_server": _REMOTE | {"ids", "max_bundle_kilobytes"},
}
_ALWAYS = frozenset({"name", "kind", "enabled"})
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """One target. Which options a kind knows stands in ``docs/targets.md``."""

    name: str
    kind: Kind
    enabled: bool = True
    url: str | None = None
    dicomweb_url: str | None = None  #: where researchers reach this archive's DICOMweb; published as Endpoint.address
    #: What our DICOMweb answers from it. ``auto``: ``departed`` for an archive of originals, else ``off``.
    dicomweb_proxy: Literal["auto", "departed", "all", "off"] = "auto"
    dicomweb_path: str | None = None  #: of its DICOMweb below ``url``; None: it is asked by Orthanc's REST API
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

    @property
    def proxied(self) -> Literal["departed", "all", "off"]:
        """What of this archive is answered at our DICOMweb: what left the spool, all that it holds, or nothing."""
        if self.kind != "orthanc" or not self.enabled:
            return "off"
        if self.dicomweb_proxy == "auto":
            return "departed" if self.send == "original" else "off"
        return self.dicomweb_proxy


#: What a gateway publishes to unless its settings say otherwise.
DEFAULT_TARGETS = (TargetSettings(name="embedded", kind="embedded"),)


def build(leaves: Leaves, reading: Reading) -> tuple[tuple[TargetSettings, ...], dict[str, str]]:
    """As :func:`named_settings.build`. The embedded store is one of the targets unless it is named and disabled: nobody loses ``/fhir``
    by naming an archive.
    """
    targets, origins = named_settings.build(TARGETS, leaves, reading)
    if any(key.startswith("embedded.") for key in leaves):
        return targets, origins
    return DEFAULT_TARGETS + targets, named_settings.shown(TARGETS, "embedded", {}) | origins


def _problems(target: TargetSettings, given: Leaves) -> Problems:
    yield from unknown_to(TARGETS, target.kind, given, _OPTIONS[target.kind] | _ALWAYS)
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
    yield from _proxied(target)
    yield from _credentials(target)
    yield from not_zero(target, ("connect_timeout_secs", "timeout_secs", "uploads", "max_bundle_kilobytes", "retry_for_hours"))


def _proxied(target: TargetSettings) -> Problems:
    if target.dicomweb_proxy in ("departed", "all") and target.send != "original":
        yield "dicomweb_proxy", "needs send: original: our DICOMweb gives what was received, and normalised objects are others"
    if target.dicomweb_path is not None and not _PATH.fullmatch(target.dicomweb_path):
        yield "dicomweb_path", "must be like dicom-web: a path below url, without a slash at either end"


def _url(option: str, value: str | None) -> Problems:
    if value is None:
        return
    parts = http_address(value)
    if parts is None:
        yield option, "must look like https://host:port/path"
    elif parts.username or parts.password:
        yield option, "must not hold credentials; use username and password_file"
    elif parts.query or parts.fragment:
        yield option, "must not hold a query"


def _credentials(target: TargetSettings) -> Problems:
    password = target.password or target.password_file
    token = target.token or target.token_file
    if (target.username is None) != (password is None):
        yield "username", "and a password belong together"
    if token and password:
        yield "token_file", "and a password exclude each other"
    for secret in sorted(SECRETS):
        if getattr(target, secret) and getattr(target, f"{secret}_file"):
            yield f"{secret}_file", f"and a {secret} from the environment exclude each other"
    yield from absent_files(target)


TARGETS = Section(
    name="targets",
    one="target",
    kind=TargetSettings,
    required="kind",
    choices="embedded, orthanc or fhir_server",
    always_shown=("kind", "enabled"),
    check=_problems,
)
