"""From the settings to targets: which there are, and how to reach them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from gateway.errors import Misconfigured
from gateway.publish.embedded import EmbeddedTarget
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.publish.orthanc import OrthancTarget
from gateway.publish.target import ImageTarget, Target
from gateway.spool.deliveries import Deliveries
from gateway.store.store import FhirStore
from gateway.target_settings import TargetSettings

log = structlog.get_logger()

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def fact_targets(targets: tuple[TargetSettings, ...], store: FhirStore, deliveries: Deliveries) -> list[Target]:
    """The FHIR servers that are enabled, the embedded store among them. Raises :class:`Misconfigured`."""
    built: list[Target] = []
    for settings in targets:
        if settings.enabled and settings.kind == "embedded":
            built.append(EmbeddedTarget(store))
        elif settings.enabled and settings.kind == "fhir_server":
            known = partial(deliveries.published, settings.name)
            limit = settings.max_bundle_kilobytes * 1024
            built.append(
                FhirServerTarget(settings.name, FhirHttp(access(settings)), known, ids=settings.ids, max_bundle_bytes=limit)
            )
    return built


def image_targets(targets: tuple[TargetSettings, ...]) -> list[ImageTarget]:
    """The DICOM archives that are enabled. Raises :class:`Misconfigured`."""
    return [
        OrthancTarget(
            settings.name,
            access(settings),
            on_withdrawal=settings.on_withdrawal,
            parallel=settings.uploads,
            normalised=settings.send == "normalised",
        )
        for settings in targets
        if settings.enabled and settings.kind == "orthanc"
    ]


def access(settings: TargetSettings) -> Access:
    """How to reach a target; its secrets are read here, once. Raises :class:`Misconfigured` when a file cannot be read."""
    assert settings.url is not None  # noqa: S101 - the settings are checked when they are read
    parts = urlsplit(settings.url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        reason = "patient data travels in the clear; use https:// unless the network is closed"
        log.warning("target_in_clear", stage="publish", target=settings.name, reason=reason)
    return Access(
        url=settings.url,
        username=settings.username,
        password=settings.password or _secret(settings, settings.password_file),
        token=settings.token or _secret(settings, settings.token_file),
        ca_file=settings.ca_file,
        connect_timeout_secs=settings.connect_timeout_secs,
        timeout_secs=settings.timeout_secs,
    )


def _secret(settings: TargetSettings, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"targets.{settings.name}: {path} cannot be read") from error
    if not text:
        raise Misconfigured(f"targets.{settings.name}: {path} is empty")
    return text
