"""Originals leave the spool when nobody needs our copy any more. Records, digests and decisions never leave.

What may go is asked of the ledger (:meth:`~gateway.spool.keeping.Keeping.ripe`); then every archive that got the original is asked back by
its digest, right before the file goes. The ledger learns of the departure first, so a kill in between is finished by the next pass.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.errors import GatewayError
from gateway.publish.target import ImageTarget
from gateway.spool.files import SpoolFiles
from gateway.spool.keeping import Found, Keeping, Original, Terms
from gateway.telemetry import token

log = structlog.get_logger()

_BATCH = 200
_DAY_SECS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What one pass came to."""

    objects: int = 0
    size_bytes: int = 0
    lost: int = 0  #: an archive does not hold what it held: our copy stays
    problem: str = ""  #: why the pass ended early


class Retention:
    """Lets originals go that are ``days`` old and safe elsewhere."""

    def __init__(
        self,
        files: SpoolFiles,
        keeping: Keeping,
        archives: Sequence[ImageTarget],
        facts: Sequence[str],
        *,
        days: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._keeping = keeping
        self._archives = {archive.name: archive for archive in archives}
        self._holders = [archive.name for archive in archives if not archive.normalised]
        self._facts = facts
        self._days = days
        self._now = now

    @property
    def can_release(self) -> bool:
        """There is an archive that gets originals; else all stay."""
        return bool(self._holders)

    def terms(self) -> Terms:
        before = self._now() - self._days * _DAY_SECS
        return Terms(
            before=before,
            day=dt.datetime.fromtimestamp(before, dt.UTC).date().isoformat(),
            archives=self._archives.keys(),
            holders=self._holders,
            facts=self._facts,
        )

    def run(self, stop: threading.Event, *, dry: bool = False) -> Released:
        """One pass over all that may leave. With ``dry`` the archives are not asked and nothing goes."""
        terms = self.terms()
        objects = size_bytes = lost = after = 0
        while not stop.is_set() and (batch := self._keeping.ripe(terms, after=after, limit=_BATCH)):
            for original in batch:
                after = original.id
                try:
                    held = dry or self._is_held(original)
                except GatewayError as error:
                    return Released(objects=objects, size_bytes=size_bytes, lost=lost, problem=error.reason)
                lost += not held
                if held and (dry or self._release(original, terms)):
                    objects += 1
                    size_bytes += original.size_bytes
        if objects and not dry:
            log.info("originals_left", stage="keep", count=objects, bytes=size_bytes)
        return Released(objects=objects, size_bytes=size_bytes, lost=lost)

    def _is_held(self, original: Original) -> bool:
        """Every archive that once had it has it now. What is lost is noted. Raises a GatewayError when one does not answer."""
        file = self._files.locate(original.day, original.digest)
        names = self._keeping.holders(original.id, self._holders)
        lost = [name for name in names if not self._archives[name].holds(original.sop_instance_uid, original.digest, file)]
        for name in lost:
            self._keeping.find(original.id, Found.LOST, target=name, now=self._now())
            log.error("archive_lost_original", stage="keep", target=name, item=token(original.digest))
        return bool(names) and not lost

    def _release(self, original: Original, terms: Terms) -> bool:
        holder = self._keeping.holders(original.id, self._holders)[0]
        if not self._keeping.depart(original, terms, target=holder, now=self._now()):
            return False
        self._files.remove(original.day, original.digest)
        self._keeping.left(original, now=self._now())
        return True
