"""A file of records, one a line, written through memory that is shared with the system: as safe from the end of the process as a write,
without a call that lets another thread in between. Room is taken when a file is begun, so a full disk is known before.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path

ROOM_BYTES = 1 << 20


class Journal:
    """One file, begun empty. Raises ``OSError`` when it cannot be."""

    def __init__(self, path: Path, room_bytes: int = ROOM_BYTES) -> None:
        self.path = path
        self._room_bytes = room_bytes
        self._end = 0
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(handle, 0, room_bytes)
            self._room = mmap.mmap(handle, room_bytes)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(handle)

    def append(self, line: bytes) -> bool:
        """``False`` when there is no room left."""
        end = self._end + len(line)
        if end > self._room_bytes:
            return False
        self._room[self._end : end] = line
        self._end = end
        return True

    def close(self) -> None:
        """Give back the room that was not used."""
        self._room.close()
        with contextlib.suppress(OSError):  # who reads takes zeros for nothing
            os.truncate(self.path, self._end)


def lines(path: Path) -> list[bytes]:
    """Of a journal, also of one whose process ended before it closed it."""
    return [line for line in path.read_bytes().replace(b"\0", b"").split(b"\n") if line]
