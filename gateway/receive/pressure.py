"""When the disk fills: warn, then take no new associations, then (the spool's reserve) no objects: callers hear of it early.

What a sender does with a refused object is not to be trusted; one that cannot connect keeps its copy and tries again.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

_log = structlog.get_logger()

CONGESTED = "the disk is filling up, try again later"


class Pressure:
    """Looks at the free space beside the spool. ``warn_bytes`` and ``reject_bytes``: marks of free space, 0 for none."""

    def __init__(self, directory: Path, *, warn_bytes: int, reject_bytes: int) -> None:
        self._directory = directory
        self._warn_bytes = warn_bytes
        self._reject_bytes = reject_bytes
        self._level = 0

    def look(self) -> str | None:
        """Why new associations cannot be taken just now. A mark that is passed, either way, is logged once."""
        if not self._warn_bytes and not self._reject_bytes:
            return None
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return None  # the next object meets the fault, and says so
        free_bytes = disk.f_bavail * disk.f_frsize
        level = 2 if free_bytes < self._reject_bytes else 1 if free_bytes < self._warn_bytes else 0
        if level != self._level:
            self._tell(level, free_bytes)
            self._level = level
        return CONGESTED if level == 2 else None

    def _tell(self, level: int, free_bytes: int) -> None:
        action = ("spool_has_room", "spool_fills", "spool_rejects")[level]
        tell = _log.warning if level > self._level else _log.info
        tell(action, action=action, free_megabytes=free_bytes >> 20)
