"""What a DICOMweb client will accept (PS3.18 8.7): media types with the transfer syntaxes they may carry."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.errors import Rejected

DICOM, DICOM_JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"
PDF = "application/pdf"
MULTIPART = "multipart/related"
_MOST_RANGES = 50
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*("[^"]*"|[^;,\s]*)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One entry of an Accept header. ``part`` is the type of the parts of a multipart answer."""

    media_type: str
    part: str
    transfer_syntax: str  #: a UID, ``*`` for any, or empty when the client did not say
    quality: float

    def takes(self, part: str, transfer_syntax_uid: str) -> bool:
        """Whether an object of this type and encoding is welcome. Not saying the syntax means: as it is stored."""
        wanted = self.part if self.media_type == MULTIPART else self.media_type
        return _covers(wanted, part) and self.transfer_syntax in ("", "*", transfer_syntax_uid)


def ranges(header: str | None) -> list[Range]:
    """The entries of an Accept header, best first. Without one everything is welcome. Raises :class:`Rejected` (400)."""
    entries = _split(header or "*/*")
    if len(entries) > _MOST_RANGES:
        raise Rejected(f"Accept: more than {_MOST_RANGES} entries", status=400)
    read = [_range(entry) for entry in entries if entry.strip()]
    return sorted((item for item in read if item.quality > 0), key=lambda item: -item.quality)


def json_accepted(header: str | None) -> None:
    """Raises :class:`Rejected` (406) unless application/dicom+json is welcome."""
    if not any(_covers(item.media_type, DICOM_JSON) or item.media_type == "application/json" for item in ranges(header)):
        raise Rejected("Accept: only application/dicom+json is offered here", status=406)


def choose(header: str | None, part: str, syntaxes: Sequence[str], *, single: bool) -> tuple[bool, Callable[[str], bool]]:
    """How to answer objects of type ``part`` in these encodings: as multipart or bare, and which encodings are welcome.

    ``single``: one object is asked for, so it may be answered bare. Raises :class:`Rejected` (406) with what would be accepted.
    """
    for item in ranges(header):
        multipart = item.media_type in (MULTIPART, "*/*", "multipart/*")
        if not multipart and not (single and _covers(item.media_type, part)):
            continue
        if multipart and item.media_type == MULTIPART and not _covers(item.part or part, part):
            continue
        wanted = Range(media_type=part, part=part, transfer_syntax=item.transfer_syntax, quality=item.quality)
        if any(wanted.takes(part, syntax) for syntax in syntaxes):
            return multipart, partial(wanted.takes, part)
    held = ", ".join(sorted(set(syntaxes)))
    bare = f" or {part}" if single else ""
    raise Rejected(
        f'Accept: this is offered as {MULTIPART}; type="{part}"{bare}, with transfer-syntax=* or as stored ({held}); '
        "nothing is transcoded",
        status=406,
    )


def _range(entry: str) -> Range:
    media_type = entry.partition(";")[0].strip().lower()
    parameters = {name.lower(): value.strip('"') for name, value in _PARAMETER.findall(entry)}
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        quality = 1.0
    return Range(
        media_type=media_type,
        part=parameters.get("type", "").lower(),
        transfer_syntax=parameters.get("transfer-syntax", ""),
        quality=quality,
    )


def _split(header: str) -> list[str]:
    """At commas outside quotes."""
    return re.findall(r'(?:[^,"]|"[^"]*")+', header)


def _covers(wanted: str, offered: str) -> bool:
    return wanted in ("*/*", offered) or (wanted.endswith("/*") and offered.startswith(wanted[:-1]))
