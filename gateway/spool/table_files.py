"""The bytes of tables: named by their digest, durable before anybody is told, never changed.

``tables/<digest>`` in the spool directory. A file without a row is worthless: nothing was acknowledged, and the same bytes come again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path

from gateway.spool.durable import make_directory, sync_directory, unwritable

DIRECTORY = "tables"
_STALE_SECS = 3600


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TableFiles:
    """Safe to use from several threads and processes: names are made from digests, files are linked, never replaced."""

    def __init__(self, spool_directory: Path) -> None:
        self._directory = spool_directory / DIRECTORY

    def path(self, digest: str) -> Path:
        return self._directory / digest

    def keep(self, content: bytes) -> str:
        """Make the bytes durable; returns their digest. Raises :class:`~gateway.errors.Retryable`."""
        digest = digest_of(content)
        path = self.path(digest)
        try:
            if path.is_file() and path.read_bytes() == content:
                return digest
            make_directory(self._directory)
            self._clear_stale()
            temporary = self._directory / f".{secrets.token_hex(12)}.part"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    temporary.unlink()
            sync_directory(self._directory)
        except OSError as error:
            raise unwritable(error) from error
        return digest

    def _clear_stale(self) -> None:
        """What a killed process left half written: nobody was told of it."""
        for path in self._directory.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_SECS:
                    path.unlink()

    def read(self, digest: str) -> bytes:
        """Raises :class:`OSError` when it is gone."""
        return self.path(digest).read_bytes()
