"""How files get their names in the spool, and how a group of them becomes durable together."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Retryable
from gateway.spool.durable import unwritable

if TYPE_CHECKING:
    from gateway.spool.files import SpoolFiles

#: What a file system says that knows no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineNote:
    """Why a file is in quarantine: the sidecar beside it. Holds no patient data."""

    reason: str
    sender: str
    received_at: str  #: ISO 8601, UTC


class Placing(ABC):
    """A file on its way to its name. ``place`` and ``sync`` are the two rounds of :func:`commit_together`."""

    __slots__ = ("_descriptor", "_files", "_final", "_temporary", "name", "note")

    def __init__(self, files: SpoolFiles) -> None:
        self._files = files
        self._descriptor = -1
        self._temporary: str | None = None
        self._final = ""
        self.name = ""  #: of the file, below the spool directory; empty before it is decided
        self.note: QuarantineNote | None = None  #: why it goes to quarantine, if it does

    def stand_at(self, name: str, note: QuarantineNote | None) -> None:
        """Decide where the file goes."""
        self.name, self.note = name, note
        self._final = self._files.at(name)

    @abstractmethod
    def _fill(self) -> str:
        """Write what is still to be written into the temporary file; returns its name. Raises :class:`OSError`."""

    @property
    def directory(self) -> str:
        """Where the file goes."""
        return os.path.dirname(self._final)  # noqa: PTH120

    def place(self) -> None:
        """First round: written, and standing under its name. Raises :class:`OSError`."""
        if not self._final:
            raise ValueError("an object must be staged before it is committed")
        self._files.group_sync(self.directory)
        if self.note is not None:
            self._files.write_note(Path(self._final), self.note)
        temporary = self._fill()
        try:
            os.link(temporary, self._final)
        except OSError as error:
            if error.errno not in _NO_LINKS and error.errno != errno.EEXIST:
                raise
        else:
            os.unlink(temporary)  # noqa: PTH108
            self._temporary = None

    def sync(self) -> None:
        """Second round: on disk. Raises :class:`OSError`.

        Where a file stands under our name already, ours takes its place once it is on disk. The same bytes, but nobody can say
        whether those that stand there are durable: a failed fsync is never tried again on the same file.
        """
        os.fsync(self._descriptor)
        if self._temporary is not None:
            os.rename(self._temporary, self._final)  # noqa: PTH104
        self._temporary = None
        self._close()

    def discard(self) -> None:
        """Forget the file. May be called at any time, and again."""
        self._close()
        if self._temporary is not None:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = None

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def commit_together(files: SpoolFiles, group: Sequence[Placing]) -> list[Retryable | None]:
    """Make staged files durable together; for each what went wrong, or None.

    Three rounds over the group: every file gets its name, every file is synced, every directory is synced once. The name
    comes before the fsync, so that one journal commit of the file system takes both to disk, for all of the group. It is linked,
    and takes the place of what stands there only when it is on disk itself: those bytes may have been acknowledged. A power cut may
    leave a name whose content is not whole; nobody was told that it is safe, and the sweep proves every file without a row.
    """
    failures: list[Retryable | None] = [None] * len(group)
    directories: dict[str, list[int]] = {}
    for step in (Placing.place, Placing.sync):
        for number, item in enumerate(group):
            if failures[number] is None:
                failures[number] = _failure(lambda item=item, step=step: step(item))  # type: ignore[misc]
    for number, item in enumerate(group):
        if failures[number] is None:
            directories.setdefault(item.directory, []).append(number)
    for directory, numbers in directories.items():
        failure = _failure(files.group_sync(directory).sync)
        for number in numbers:
            failures[number] = failure
    return failures


def _failure(action: Callable[[], None]) -> Retryable | None:
    try:
        action()
    except OSError as error:
        return unwritable(error)
    return None
