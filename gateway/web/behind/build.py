"""From the settings to the archives that our DICOMweb asks."""

from __future__ import annotations

import dataclasses

from gateway.config import Settings
from gateway.publish.build import access
from gateway.target_settings import TargetSettings
from gateway.web.behind.archive import Archive
from gateway.web.behind.front import Behind
from gateway.web.behind.http import ArchiveHttp
from gateway.web.behind.plugin import PluginArchive
from gateway.web.behind.rest import RestArchive


def behind(settings: Settings) -> Behind:
    """Raises :class:`~gateway.errors.Misconfigured` when a file with a secret cannot be read."""
    return Behind(
        [_archive(target) for target in settings.targets if target.proxied != "off"],
        settings.data.directory / "cache" / "from-archive",
        most_bytes=settings.receive.max_object_megabytes << 20,
        reserve_bytes=settings.spool.reserve_megabytes << 20,
    )


def _archive(target: TargetSettings) -> Archive:
    reached, shows_all = access(target), target.proxied == "all"
    if target.dicomweb_path is None:
        return RestArchive(target.name, ArchiveHttp(target.name, reached), shows_all=shows_all)
    reached = dataclasses.replace(reached, url=f"{reached.url.rstrip('/')}/{target.dicomweb_path}")
    return PluginArchive(target.name, ArchiveHttp(target.name, reached), shows_all=shows_all)
