"""The bytes of the spool: an object is written beside, named by its digest, and made durable before anybody is answered.

Layout under the spool directory::

    incoming/<random>.part              being received; worthless after a crash
    2026-03-01/<digest>.dcm             durable instances, by the UTC day on which they were sealed
    quarantine/2026-03-01/<digest>.dcm  kept for a human, with <digest>.json telling the reason

Each file is a complete Part 10 file (PS3.10 section 7) whose header carries the AE titles, so that a file without a row can
be adopted. No name is ever made from a received value. What fails for want of space or for a broken disk is
:class:`~gateway.errors.Retryable`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import json
import mmap
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.walker import DEFAULT_LIMITS, Limits, Walk, walk
from gateway.errors import Retryable
from gateway.model import Instance
from gateway.spool.durable import GroupSync, make_directory, unwritable

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
INCOMING, QUARANTINE = "incoming", "quarantine"

#: Up to here an object waits in memory: it then costs one write. Beyond, it streams to its file piece by piece.
_IN_MEMORY_BYTES = 1 << 20
_DEFAULT_RESERVE_BYTES = 64 << 20
#: How long "there is room" is believed. Much less than it takes to fill a reserve.
_SPACE_KNOWN_SECS = 0.1


#: What a file system says that knows no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineNote:
    """Why a file is in quarantine: the sidecar beside it. Holds no patient data."""

    reason: str
    sender: str
    received_at: str  #: ISO 8601, UTC


class SpoolFiles:
    """The files of one spool directory. Safe to use from several threads."""

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = _DEFAULT_RESERVE_BYTES,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self.directory = directory
        self.now = now
        self._incoming = str(directory / INCOMING) + os.sep
        self._reserve_bytes = reserve_bytes
        self._space_known_until = 0.0
        self._lock = threading.Lock()
        self._syncs: dict[str, GroupSync] = {}
        self._ready: list[tuple[int, str]] = []
        for part in (directory / INCOMING, directory / QUARANTINE):
            make_directory(part)

    def incoming(self, meta: FileMetaInputs) -> Incoming:
        """Room for one object. Raises :class:`Retryable` while less than the reserve is free."""
        self.check_space()
        return Incoming(self, meta)

    def check_space(self) -> None:
        """Refuse early, before a disk is so full that even the ledger cannot write. Raises :class:`Retryable`."""
        now = time.monotonic()
        if now < self._space_known_until:
            return
        try:
            disk = os.statvfs(self.directory)
        except OSError as error:
            raise unwritable(error) from error
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes:
            raise Retryable("The spool's disk is nearly full.")
        self._space_known_until = now + _SPACE_KNOWN_SECS

    def path(self, instance: Instance, *, quarantined: bool = False) -> Path:
        """Where the instance's file stands."""
        return self.locate(instance.day, instance.digest, quarantined=quarantined)

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

    def remove(self, day: str, digest: str) -> None:
        """Delete a spare copy, or an original that retention lets go. A file that is gone already is no error."""
        self.locate(day, digest).unlink(missing_ok=True)

    def publish(self, descriptor: int, temporary: str, final: str) -> None:
        """Make a written file durable under its name. Raises :class:`OSError`. Plain strings: this runs for every object.

        The name comes before the fsync, so that one journal commit takes both to disk. It is linked, never renamed over what
        stands there: those bytes may have been acknowledged, and ours are not on disk yet. A power cut may leave a name whose
        content is not whole; nobody was told that it is safe, and the sweep proves every file without a row.
        """
        group = self._group(os.path.dirname(final))  # noqa: PTH120
        try:
            os.link(temporary, final)
        except FileExistsError:
            self._confirm(descriptor, temporary, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.fsync(descriptor)
            os.rename(temporary, final)  # noqa: PTH104
        else:
            os.unlink(temporary)  # noqa: PTH108
            os.fsync(descriptor)
        group.sync()

    def _confirm(self, descriptor: int, temporary: str, final: str) -> None:
        """The same bytes stand under that name: make sure that they are on disk. A file of another size is damaged: replace it."""
        standing = os.open(final, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(standing).st_size == os.fstat(descriptor).st_size:
                os.fsync(standing)
                os.unlink(temporary)  # noqa: PTH108
                return
        finally:
            os.close(standing)
        os.fsync(descriptor)
        os.rename(temporary, final)  # noqa: PTH104

    def move(self, path: Path, final: Path) -> None:
        """Give a durable file another name, durably. Raises :class:`OSError`."""
        group = self._group(str(final.parent))
        path.rename(final)
        group.sync()

    def _group(self, directory: str) -> GroupSync:
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

    def close(self) -> None:
        """Let go of a temporary file that was made ready and not needed."""
        while self._ready:
            descriptor, name = self._ready.pop()
            os.close(descriptor)
            Path(name).unlink(missing_ok=True)


class Incoming:
    """One object on its way in: ``write`` its data set, ``walk`` it, then ``stage`` and ``commit``, or ``discard`` it.

    Used by one thread at a time. Every method that touches the disk raises :class:`Retryable` when that fails; the
    object is then discarded already. Small objects touch the disk only in ``commit``.
    """

    __slots__ = (
        "_descriptor", "_digest", "_files", "_final", "_hash", "_header", "_memory", "_note", "_temporary", "meta", "size_bytes",
    )  # fmt: skip

    def __init__(self, files: SpoolFiles, meta: FileMetaInputs) -> None:
        self.meta = meta
        self.size_bytes = 0  #: of the data set so far
        self._files = files
        self._header = b""
        self._memory = bytearray()
        self._hash = hashlib.sha256(meta.transfer_syntax_uid.encode("ascii", "replace"))
        self._digest = ""
        self._descriptor = -1
        self._temporary: str | None = None
        self._final: Path | None = None
        self._note: QuarantineNote | None = None

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append a piece of the data set."""
        self._memory += piece
        self.size_bytes += len(piece)
        if len(self._memory) > _IN_MEMORY_BYTES:
            self._guarded(self._flush)

    def walk(self, limits: Limits = DEFAULT_LIMITS) -> Walk:
        """Check the data set as written so far; raises :class:`~gateway.errors.Rejected` when it is not sound."""
        if self._temporary is None:
            return walk(self._memory, self.meta.transfer_syntax_uid, limits=limits)
        self._guarded(self._flush)
        mapped = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        return walk(mapped, self.meta.transfer_syntax_uid, limits=limits, start=len(self._header))

    def stage(self, walked: Walk | None, reason: str | None = None) -> Instance:
        """Decide, without touching the disk, what the object is: an instance, or with a ``reason`` one for quarantine."""
        if not self._digest:
            self._hash.update(self._memory)
            self._digest = self._hash.hexdigest()
        now = self._files.now().astimezone(dt.UTC)
        instance = instance_of(walked, self._digest, now.date().isoformat(), self.size_bytes, self.meta.transfer_syntax_uid)
        if reason is not None:
            self._note = QuarantineNote(reason=reason, sender=self.meta.calling_ae, received_at=now.isoformat())
        self._final = self._files.path(instance, quarantined=reason is not None)
        return instance

    def commit(self) -> None:
        """Make the staged object durable: name, fsync, fsync of the directory. Only then may the sender be answered."""
        self._guarded(self._commit)

    def seal(self, walked: Walk) -> Instance:
        """``stage`` and ``commit`` an instance."""
        instance = self.stage(walked)
        self.commit()
        return instance

    def quarantine(self, reason: str, walked: Walk | None = None) -> Instance:
        """``stage`` and ``commit`` an object that must not be used: into quarantine, with the reason beside it."""
        instance = self.stage(walked, reason)
        self.commit()
        return instance

    def discard(self) -> None:
        """Forget the object. May be called at any time, and again."""
        self._close()
        self._memory = bytearray()
        if self._temporary is not None:
            Path(self._temporary).unlink(missing_ok=True)
            self._temporary = None

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self.discard()
            raise unwritable(error) from error

    def _flush(self) -> None:
        if self._temporary is None:
            self._header = encode_file_meta(self.meta)
            self._descriptor, self._temporary = self._files.open_temporary()
            self._write_all(self._header, self._memory)
        else:
            self._write_all(self._memory)
        if not self._digest:
            self._hash.update(self._memory)
        self._memory = bytearray()

    def _write_all(self, *parts: bytes | bytearray) -> None:
        left = sum(map(len, parts)) - os.writev(self._descriptor, parts)
        if left:  # a short write is rare: a signal, or a disk that is about to be full
            rest = memoryview(b"".join(parts))[-left:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _commit(self) -> None:
        final = self._final
        if final is None:
            raise ValueError("an object must be staged before it is committed")
        if self._note is not None:
            self._files.write_note(final, self._note)
        self._flush()
        if self._temporary is not None:
            self._files.publish(self._descriptor, self._temporary, str(final))
            self._temporary = None
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def instance_of(walked: Walk | None, digest: str, day: str, size_bytes: int, transfer_syntax_uid: str) -> Instance:
    """The noun for a file, with the UIDs as they stand in the data set; empty where it could not be read."""
    text = walked.text if walked is not None else lambda _tag: ""
    return Instance(
        digest=digest,
        day=day,
        size_bytes=size_bytes,
        transfer_syntax_uid=transfer_syntax_uid,
        sop_class_uid=text(SOP_CLASS_UID),
        sop_instance_uid=text(SOP_INSTANCE_UID),
        study_instance_uid=text(STUDY_INSTANCE_UID),
        series_instance_uid=text(SERIES_INSTANCE_UID),
    )
