"""The bytes of the spool: an object is written beside, named by its digest, and made durable before anybody is answered.

Layout under the spool directory::

    incoming/<random>.part              being received; worthless after a crash
    incoming/<writer>/<random>.part     the same, by a process other than the receiver
    journal/<number>.seg                small objects on their way to a file of their own; see :mod:`gateway.spool.journal`
    2026-03-01/<digest>.dcm             durable instances, by the UTC day on which they were sealed
    quarantine/2026-03-01/<digest>.dcm  kept for a human, with <digest>.json telling the reason

Each file is a complete Part 10 file (PS3.10 section 7) whose header carries the AE titles, so that a file without a row can
be adopted. No name is ever made from a received value. What fails for want of space or for a broken disk is
:class:`~gateway.errors.Retryable`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.dicom.file_meta import FileMetaInputs
from gateway.errors import Retryable
from gateway.model import Instance
from gateway.spool.durable import GroupSync, make_directory, unwritable
from gateway.spool.incoming import Incoming
from gateway.spool.placing import QuarantineNote

INCOMING, QUARANTINE = "incoming", "quarantine"

_DEFAULT_RESERVE_BYTES = 64 << 20
#: How long "there is room" is believed. Much less than it takes to fill a reserve.
_SPACE_KNOWN_SECS = 0.1


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SpoolFiles:
    """The files of one spool directory. Safe to use from several threads."""

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = _DEFAULT_RESERVE_BYTES,
        writer: str = "",
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self.directory = directory
        self.now = now
        self._root = str(directory) + os.sep
        #: Each process that writes has its own: the one that starts anew clears it without asking the others.
        self.incoming_directory = directory / INCOMING / writer if writer else directory / INCOMING
        self._incoming = f"{self.incoming_directory}{os.sep}"
        self._reserve_bytes = reserve_bytes
        self._space_known_until = 0.0
        self._lock = threading.Lock()
        self._syncs: dict[str, GroupSync] = {}
        self._ready: list[tuple[int, str]] = []
        self._lock_descriptor = -1
        for part in (self.incoming_directory, directory / QUARANTINE):
            make_directory(part)

    def incoming(self, meta: FileMetaInputs) -> Incoming:
        """Room for one object. Raises :class:`Retryable` while less than the reserve is free."""
        self.check_space()
        return Incoming(self, meta)

    def check_space(self, *, beside_bytes: int = 0) -> None:
        """Refuse early, before a disk is so full that even the ledger cannot write. Raises :class:`Retryable`.

        ``beside_bytes`` must be free beside the reserve.
        """
        now = time.monotonic()
        if now < self._space_known_until and not beside_bytes:
            return
        try:
            disk = os.statvfs(self.directory)
        except OSError as error:
            raise unwritable(error) from error
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes + beside_bytes:
            raise Retryable("The spool's disk is nearly full.")
        self._space_known_until = now + _SPACE_KNOWN_SECS

    def path(self, instance: Instance, *, quarantined: bool = False) -> Path:
        """Where the instance's file stands."""
        return self.locate(instance.day, instance.digest, quarantined=quarantined)

    def name(self, instance: Instance, *, quarantined: bool) -> str:
        """The same below the spool directory; without the cost of a path object, which counts for each object received."""
        name = f"{instance.day}{os.sep}{instance.digest}.dcm"
        return f"{QUARANTINE}{os.sep}{name}" if quarantined else name

    def at(self, name: str) -> str:
        """The full path of a name below the spool directory."""
        return self._root + name

    def locate(self, day: str, digest: str, *, quarantined: bool = False) -> Path:
        return self.partition(day, quarantined=quarantined) / f"{digest}.dcm"

    def partition(self, day: str, *, quarantined: bool = False) -> Path:
        return self.directory / QUARANTINE / day if quarantined else self.directory / day

    def partitions(self, *, quarantined: bool = False) -> list[str]:
        """The days that have a partition, oldest first."""
        root = self.directory / QUARANTINE if quarantined else self.directory
        return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[:1].isdigit())

    def digests(self, day: str, *, quarantined: bool = False) -> Iterator[str]:
        """The names of the files of one day-partition, without their ending, in no order."""
        directory = self.partition(day, quarantined=quarantined)
        if directory.is_dir():
            with os.scandir(directory) as entries:
                yield from (entry.name[:-4] for entry in entries if entry.name.endswith(".dcm"))

    def stands_elsewhere(self, instance: Instance) -> bool:
        """Whether a copy as large as this one stands in another day-partition."""
        size = self.path(instance).stat().st_size
        others = (self.locate(day, instance.digest) for day in self.partitions() if day != instance.day)
        return any(path.is_file() and path.stat().st_size == size for path in others)

    def remove(self, day: str, digest: str) -> None:
        """Delete a spare copy, or an original that retention lets go. A file that is gone already is no error."""
        self.locate(day, digest).unlink(missing_ok=True)

    def move(self, path: Path, final: Path) -> None:
        """Give a durable file another name, durably. Raises :class:`OSError`."""
        group = self.group_sync(str(final.parent))
        path.rename(final)
        group.sync()

    def group_sync(self, directory: str) -> GroupSync:
        group = self._syncs.get(directory)
        if group is None:
            with self._lock:
                make_directory(Path(directory))
                group = self._syncs.setdefault(directory, GroupSync(Path(directory)))
        return group

    def write_note(self, file: Path, note: QuarantineNote) -> None:
        """Write the sidecar of a quarantined file, durably but for its name. Raises :class:`OSError`."""
        members = {"reason": note.reason, "sender": note.sender, "received_at": note.received_at}
        temporary = self.temporary()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(members).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        make_directory(file.parent)
        Path(temporary).rename(file.with_suffix(".json"))

    def read_note(self, day: str, digest: str) -> QuarantineNote | None:
        """The sidecar of a quarantined file, if it has a readable one."""
        try:
            return QuarantineNote(**json.loads(self.locate(day, digest, quarantined=True).with_suffix(".json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def temporary(self) -> str:
        return f"{self._incoming}{secrets.token_hex(12)}.part"

    def open_temporary(self) -> tuple[int, str]:
        """A new empty file to write to, and its name: the one made ready in a quiet moment, if there is one."""
        try:
            return self._ready.pop()
        except IndexError:
            name = self.temporary()
            return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), name

    def make_ready(self) -> None:
        """Make the next temporary file now, while the sender prepares its next object. A disk that cannot will say so then."""
        if not self._ready:
            with contextlib.suppress(OSError):
                self._ready.append(self.open_temporary())

    def lock(self, *, patience_secs: float) -> None:
        """Be the only receiver of this spool until the process ends: nobody else may replay or fill the journal meanwhile.

        Raises :class:`Retryable` when another one, which may be finishing, holds on for longer than ``patience_secs``.
        """
        descriptor = os.open(self.directory / "receiver.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience_secs
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise Retryable("Another receiver still works on this spool.") from None
                time.sleep(0.1)
            else:
                self._lock_descriptor = descriptor  # the kernel lets go of it with the process, however that ends
                return

    def close(self) -> None:
        """Let go of a temporary file that was made ready and not needed."""
        while self._ready:
            descriptor, name = self._ready.pop()
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)
