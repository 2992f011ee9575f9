"""The original of an instance wherever it is: in the spool, or fetched back from an archive that was found to hold it.

What comes back is proven by its digest and stands in the spool again under its old name, so nobody who reads it needs to know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from gateway.errors import GatewayError, Retryable
from gateway.publish.target import ImageTarget
from gateway.spool.durable import unwritable
from gateway.spool.files import SpoolFiles
from gateway.spool.keeping import Keeping
from gateway.telemetry import token

log = structlog.get_logger()


class Originals:
    """Safe to use from several threads."""

    def __init__(
        self,
        files: SpoolFiles,
        keeping: Keeping,
        archives: Sequence[ImageTarget],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._keeping = keeping
        self._archives = {archive.name: archive for archive in archives if not archive.normalised}
        self._now = now

    def path(self, day: str, digest: str) -> Path:
        """The file of an original; what has left the spool is fetched back first.

        A file that nobody can give is not there: opening it raises :class:`FileNotFoundError`. Raises :class:`Retryable` when an archive
        that may have it does not answer now.
        """
        path = self._files.locate(day, digest)
        if path.exists() or not self._keeping.has_left(digest):
            return path
        found = self._keeping.instance_of(day, digest)
        if found is not None:
            self.fetch_back(*found, day, digest)
        return path

    def has_left(self, digest: str) -> bool:
        """Whether retention once let this content go."""
        return self._keeping.has_left(digest)

    def fetch_back(self, instance_id: int, sop_instance_uid: str, day: str, digest: str) -> bool:
        """Have its file in the spool again, proven; False when no archive has it. Raises :class:`Retryable`."""
        problem: GatewayError | None = None
        for name in self._keeping.holders(instance_id, self._archives):
            try:
                content = self._archives[name].fetch(sop_instance_uid, digest)
            except Retryable as error:
                problem = error
                continue
            if content is not None:
                self._put_back(day, digest, content)
                self._keeping.recalled(instance_id, now=self._now())
                log.info("original_fetched_back", stage="keep", target=name, item=token(digest))
                return True
        if problem is not None:
            raise Retryable("The original has left the spool, and an archive that may have it does not answer.") from problem
        return False

    def _put_back(self, day: str, digest: str, content: bytes) -> None:
        """Durably under its old name, in the place of whatever stands there. Raises :class:`Retryable`."""
        self._files.check_space(beside_bytes=len(content))
        temporary = Path(self._files.temporary())
        try:
            with temporary.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._files.move(temporary, self._files.locate(day, digest))
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise unwritable(error) from error
