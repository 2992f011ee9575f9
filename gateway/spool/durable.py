"""What must be true on the disk before anybody is told so: fsync of files and of the directories that name them.

A rename is durable only when its directory has been synced. Several receivers that finish together share one directory
fsync: :class:`GroupSync` gives each caller one that started after its own rename.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from gateway.errors import Retryable

_DISK_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])


def unwritable(error: OSError) -> Retryable:
    """What to tell the clock (and, as 0xA700, the sender) when the spool cannot take an object."""
    if error.errno in _DISK_FULL:
        return Retryable("The spool's disk is full.")
    return Retryable(f"The spool's disk reported an error ({errno.errorcode.get(error.errno or 0, 'unknown')}).")


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable. Raises :class:`OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create ``directory`` for our eyes only, durably, together with its missing parents. Raises :class:`OSError`."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)


class GroupSync:
    """Shared fsyncs of one directory. Safe to call from several threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turn = threading.Condition()
        self._started = 0
        self._finished = 0
        self._running = False
        self._failed: dict[int, OSError] = {}

    def sync(self) -> None:
        """Return when an fsync that started after this call has succeeded.

        Raises :class:`OSError` when it failed. A failed fsync is never tried again: the kernel may have dropped the pages.
        """
        with self._turn:
            needed = self._started + 1
            while self._finished < needed:
                if self._running:
                    self._turn.wait()
                else:
                    self._lead()
            error = self._failed.get(self._finished) or self._failed.get(needed)
        if error is not None:
            raise OSError(error.errno, "fsync of the spool directory failed") from error

    def _lead(self) -> None:
        self._running, self._started = True, self._started + 1
        mine = self._started
        error: OSError | None = None
        self._turn.release()
        try:
            sync_directory(self._directory)
        except OSError as problem:
            error = problem
        finally:
            self._turn.acquire()
            self._running, self._finished = False, mine
            if error is not None:
                self._failed = {mine: error}  # whoever needed an older one has succeeded or seen its own failure
            self._turn.notify_all()
