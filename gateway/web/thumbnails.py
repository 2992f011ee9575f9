"""Thumbnails of series: made when somebody looks, one at a time, by a process of their own.

They are kept on disk under a hash of the series' content, so that a series that grows gets a new picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from starlette.concurrency import run_in_threadpool

from gateway.spool.archive import Archive, Served
from gateway.spool.files import SpoolFiles

TIMEOUT_SECS = 30
MOST_CACHED = 4000
_WORKERS = 1
#: Part of the name in the cache: raise it when pictures are drawn another way.
_DRAWN_AS = b"3"
#: What nuclear medicine wants to see first; modalities that are not here have no picture.
PREFERENCE = ("PT", "NM", "CT", "MR", "SC", "OT", "XA", "RF", "CR", "DX", "MG", "US", "RTIMAGE")

log = structlog.get_logger()


class Thumbnails:
    def __init__(self, archive: Archive, files: SpoolFiles, cache: Path) -> None:
        self._archive = archive
        self._files = files
        self._cache = cache
        self._turn = asyncio.Semaphore(_WORKERS)
        self._made = 0

    async def of(self, study: str, series: str, modality: str) -> Path | None:
        """The picture of a series, from the cache or made now; None when it cannot be shown."""
        if modality not in PREFERENCE:
            return None
        instances = await run_in_threadpool(self._archive.served, study, series)
        if not instances:
            return None
        place = self._cache / f"{_name(instances, modality)}.png"
        async with self._turn:
            if not place.exists():
                await self._make(instances, modality, place)
        return place if place.stat().st_size else None

    async def _make(self, instances: Sequence[Served], modality: str, place: Path) -> None:
        """Make it, or leave an empty file that says that it cannot be made."""
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = [path for item in instances if (path := self._files.locate(item.day, item.digest)).exists()]
        temporary = place.with_name(f".{secrets.token_hex(8)}")
        job = {"paths": [str(path) for path in paths], "modality": modality, "out": str(temporary)}
        code = await _run(json.dumps(job).encode()) if paths else None
        if code != 0:
            log.info("thumbnail_missing", stage="web", code=code)
            temporary.write_bytes(b"")
        temporary.replace(place)
        self._made += 1
        if self._made % 100 == 1:
            await run_in_threadpool(self._forget_oldest)

    def _forget_oldest(self) -> None:
        known = sorted(self._cache.glob("*.png"), key=lambda path: path.stat().st_mtime)
        for path in known[: max(0, len(known) - MOST_CACHED)]:
            path.unlink(missing_ok=True)


async def _run(job: bytes) -> int | None:
    """The exit code of the process that draws, or None when it took too long."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.web.thumbnail",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_SECS):
            await process.communicate(job)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode


def _name(instances: Sequence[Served], modality: str) -> str:
    digest = hashlib.sha256(_DRAWN_AS + modality.encode())
    for item in sorted(instances, key=lambda item: item.digest):
        digest.update(bytes.fromhex(item.digest))
    return digest.hexdigest()[:40]
