"""From the settings to a source. Its secrets are read here, once."""

from __future__ import annotations

from pathlib import Path

from gateway.backfill.changes import OrthancChanges
from gateway.backfill.dicomweb import DicomwebSource
from gateway.backfill.dimse import DicomSource
from gateway.backfill.http import SourceHttp
from gateway.backfill.orthanc import OrthancSource
from gateway.backfill.source import Source
from gateway.errors import Misconfigured
from gateway.publish.fhir_http import Access
from gateway.source_settings import SourceSettings


def build_source(settings: SourceSettings, *, ae_title: str) -> Source:
    """``ae_title``: our own. Raises :class:`Misconfigured`."""
    if settings.kind == "dicom":
        title, _, place = (settings.address or "").partition("@")
        host, _, port = place.rpartition(":")
        return DicomSource(
            title,
            host.strip("[]"),
            int(port),
            calling_ae=settings.calling_ae or ae_title,
            move_to=(settings.move_to or ae_title) if settings.retrieve == "move" else None,
            timeout_secs=settings.timeout_secs,
        )
    http = _http(settings)
    return OrthancSource(http) if settings.kind == "orthanc" else DicomwebSource(http)


def build_changes(settings: SourceSettings) -> OrthancChanges:
    """What of a source can be followed. Raises :class:`Misconfigured`."""
    if settings.kind != "orthanc":
        raise Misconfigured(
            f"sources.{settings.name}: only a source of kind orthanc can be followed; let others forward to our DICOM port"
        )
    return OrthancChanges(_http(settings))


def _http(settings: SourceSettings) -> SourceHttp:
    return SourceHttp(
        Access(
            url=settings.url or "",
            username=settings.username,
            password=settings.password or _secret(settings, settings.password_file),
            token=settings.token or _secret(settings, settings.token_file),
            ca_file=settings.ca_file,
            timeout_secs=settings.timeout_secs,
        )
    )


def _secret(settings: SourceSettings, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"sources.{settings.name}: {path} cannot be read") from error
    if not text:
        raise Misconfigured(f"sources.{settings.name}: {path} is empty")
    return text
