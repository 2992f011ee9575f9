"""The archives for rooms that must not wait: threads of their own, few at a time, and files that end with the answer.

An archive that hangs holds its own threads only; whatever stands in the spool is answered beside it.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import structlog

from gateway.dicom.reading import TRANSFER_SYNTAX_UID, read_file_meta
from gateway.errors import Quarantined, Rejected
from gateway.spool.proof import digest_of_file
from gateway.telemetry import token
from gateway.web.behind.archive import Archive, Level, Match, Place, Values, is_uid
from gateway.web.behind.http import PARALLEL

log = structlog.get_logger()

#: How many requests may wait for an archive, and how many of its objects may lie on our disk at once.
_MOST_WAITING = 64
_MOST_LENT = 32
_HEAD_BYTES = 1 << 16
T = TypeVar("T")


class Lent:
    """A file to be read now: of the spool, or one that was fetched and goes with :meth:`close` (or with the last name for it)."""

    def __init__(self, path: Path, fetched: IO[bytes] | None = None, back: Callable[[], None] | None = None) -> None:
        self.path = path
        self._end = weakref.finalize(self, _end, fetched, back) if fetched is not None else None

    def close(self) -> None:
        if self._end is not None:
            self._end()


def _end(fetched: IO[bytes], back: Callable[[], None] | None) -> None:
    fetched.close()
    if back is not None:
        back()


class Places(NamedTuple):
    """Where objects stand; ``failure``: of an archive that could not tell, and may have what is not found."""

    found: list[tuple[Archive, Place]]
    failure: Rejected | None


class Behind:
    """``directory``: where fetched objects lie while they are given; what a kill left there goes at the start."""

    def __init__(self, archives: Sequence[Archive], directory: Path, *, most_bytes: int, reserve_bytes: int) -> None:
        self._archives = tuple(archives)
        self._directory = directory
        self._most_bytes = most_bytes
        self._reserve_bytes = reserve_bytes
        self._room = threading.BoundedSemaphore(_MOST_LENT)
        self._limiter: anyio.CapacityLimiter | None = None
        if self._archives:
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.glob("*.part"):
                left.unlink(missing_ok=True)

    def __bool__(self) -> bool:
        return bool(self._archives)

    @property
    def shows_all(self) -> tuple[Archive, ...]:
        """Those that also answer for studies that we never received."""
        return tuple(archive for archive in self._archives if archive.shows_all)

    async def places(self, wanted: Mapping[str, str], *, of_all: bool = False) -> Places:
        """Where a study (or a series, an instance of it) stands, archive by archive; ``of_all``: only in those that show all."""
        found: list[tuple[Archive, Place]] = []
        failure: Rejected | None = None
        for archive in self.shows_all if of_all else self._archives:
            try:
                places = await self._run(archive.places, wanted["study"], wanted.get("series", ""), wanted.get("instance", ""))
            except Rejected as error:
                failure = error
                continue
            found += [(archive, place) for place in places]
            if of_all and found:
                break  # a study is one archive's: its parts are never mixed
        return Places(found, failure)

    async def fetch(self, choices: Sequence[tuple[Archive, Place]], digest: str = "") -> Lent:
        """The object with this digest, from the first that has it; without one, the first object. Raises :class:`Rejected`."""
        failure = Rejected("the archive does not hold this object as it was received", status=410)
        for archive, place in choices:
            try:
                return await self._run(self._fetch, archive, place, digest)
            except Rejected as error:
                failure = error
        raise failure

    async def find(self, archive: Archive, level: Level, matching: Mapping[str, str], limit: int, offset: int) -> list[Match]:
        return await self._run(lambda: archive.find(level, matching, limit=limit, offset=offset))

    async def tell(self, archive: Archive, level: Level, matches: Sequence[Match]) -> list[Values]:
        return await self._run(archive.tell, level, matches)

    async def _run(self, ask: Callable[..., T], *arguments: object) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(PARALLEL)
        if self._limiter.statistics().tasks_waiting >= _MOST_WAITING:
            raise Rejected("too many wait for the archive; try again later", status=503)
        return await anyio.to_thread.run_sync(ask, *arguments, limiter=self._limiter)

    def _fetch(self, archive: Archive, place: Place, digest: str) -> Lent:
        if shutil.disk_usage(self._directory).free < self._reserve_bytes or not self._room.acquire(blocking=False):
            raise Rejected("too many objects of the archive are under way; try again later", status=503)
        file = tempfile.NamedTemporaryFile(dir=self._directory, suffix=".part")  # noqa: SIM115 - Lent closes it
        lent = Lent(Path(file.name), file, self._room.release)
        try:
            archive.fetch(place, file, most_bytes=self._most_bytes)
            file.flush()
            _prove(lent.path, digest, archive.name)
        except Rejected:
            lent.close()
            raise
        return lent


def _prove(path: Path, digest: str, archive: str) -> None:
    try:
        found = digest_of_file(path)
    except Quarantined as error:
        raise Rejected("the archive gave something that is no DICOM file", status=502) from error
    if digest and found != digest:
        log.error("archive_gave_other_bytes", stage="web", target=archive, item=token(digest))
        raise Rejected("the archive holds another object than was received under this UID", status=502)


def syntax_of(path: Path) -> str:
    """The transfer syntax that a file's own header names. Raises :class:`Rejected` (502) when there is none."""
    try:
        with path.open("rb") as file:
            meta, _ = read_file_meta(file.read(_HEAD_BYTES))
    except Quarantined as error:
        raise Rejected("the archive gave something that is no DICOM file", status=502) from error
    found = meta.get(TRANSFER_SYNTAX_UID, b"").rstrip(b" \0").decode("ascii", "replace")
    if not is_uid(found):
        raise Rejected("the archive gave a file that does not say how it is encoded", status=502)
    return found
