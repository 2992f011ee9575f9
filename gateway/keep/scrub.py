"""Every file of the spool is read again and its digest compared: rot is found while an archive can still mend it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.errors import GatewayError, Quarantined
from gateway.keep.originals import Originals
from gateway.spool.files import SpoolFiles
from gateway.spool.keeping import Found, Keeping, Original, Scrub
from gateway.spool.proof import digest_of_file
from gateway.telemetry import token

log = structlog.get_logger()

_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """What one run came to."""

    objects: int
    damaged: int
    missing: int
    mended: int
    finished: bool


class Scrubber:
    """Goes through the spool once, from where it stopped last. ``bytes_per_sec`` 0: as fast as the disk."""

    def __init__(
        self,
        files: SpoolFiles,
        keeping: Keeping,
        originals: Originals,
        *,
        bytes_per_sec: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._keeping = keeping
        self._originals = originals
        self._bytes_per_sec = bytes_per_sec
        self._now = now

    def run(self, stop: threading.Event) -> Scrubbed:
        """Until the end or ``stop``; what was looked at is remembered after each batch."""
        state = self._keeping.scrub()
        if state.finished_at is not None:
            state = Scrub(started_at=self._now())
        began, found, mended = state.objects, dict.fromkeys(Found, 0), 0
        while not stop.is_set() and (batch := self._keeping.stored(after=state.upto, limit=_BATCH)):
            for original in batch:
                kind = self._look(original)
                if kind is not None:
                    found[kind] += 1
                    mended += self._mend(original, kind)
                state = dataclasses.replace(state, upto=original.id, objects=state.objects + 1)
                if self._bytes_per_sec:
                    stop.wait(original.size_bytes / self._bytes_per_sec)
                if stop.is_set():
                    break
            self._keeping.put_scrub(state)
        if not stop.is_set():
            state = dataclasses.replace(state, finished_at=self._now())
            self._keeping.put_scrub(state)
        return Scrubbed(
            objects=state.objects - began,
            damaged=found[Found.DAMAGED],
            missing=found[Found.MISSING],
            mended=mended,
            finished=state.finished_at is not None,
        )

    def _look(self, original: Original) -> Found | None:
        path = self._files.locate(original.day, original.digest)
        try:
            if digest_of_file(path) == original.digest:
                self._keeping.mended(original.id, Found.DAMAGED, Found.MISSING, now=self._now())
                return None
            kind = Found.DAMAGED
        except FileNotFoundError:
            if self._files.locate(original.day, original.digest, quarantined=True).exists():
                return None  # found damaged at a start, and set aside
            kind = Found.MISSING
        except (Quarantined, OSError):  # no Part 10 header any more, or the disk does not give it
            kind = Found.DAMAGED
        return kind if self._keeping.is_stored(original) else None  # else it left, or moved, while we looked

    def _mend(self, original: Original, kind: Found) -> bool:
        """From an archive that was found to hold it. What cannot be mended stands as a finding, and its file stays as it is."""
        self._keeping.find(original.id, kind, now=self._now())
        try:
            mended = self._originals.fetch_back(original.id, original.sop_instance_uid, original.day, original.digest)
        except GatewayError:
            mended = False
        word = "original_mended" if mended else "original_damaged"
        log.error(word, stage="keep", item=token(original.digest), day=original.day, kind=str(kind))
        return mended
