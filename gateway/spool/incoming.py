"""One object on its way into the spool, and how a group of them becomes durable together."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.walker import DEFAULT_LIMITS, Limits, Walk, walk
from gateway.errors import Retryable
from gateway.model import Instance
from gateway.spool.durable import unwritable

if TYPE_CHECKING:
    from gateway.spool.files import SpoolFiles

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E

#: Up to here an object waits in memory: it then costs one write. Beyond, it streams to its file piece by piece.
_IN_MEMORY_BYTES = 1 << 20

#: What a file system says that knows no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineNote:
    """Why a file is in quarantine: the sidecar beside it. Holds no patient data."""

    reason: str
    sender: str
    received_at: str  #: ISO 8601, UTC


class Incoming:
    """One object on its way in: ``write`` its data set, ``walk`` it, then ``stage`` and ``commit``, or ``discard`` it.

    Used by one thread at a time. Every method that touches the disk raises :class:`Retryable` when that fails; the
    object is then discarded already. Small objects touch the disk only in ``commit``.
    """

    __slots__ = (
        "_descriptor", "_digest", "_files", "_final", "_hash", "_header", "_memory", "_note", "_standing", "_temporary",
        "meta", "size_bytes",
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
        self._final = ""
        self._standing = False
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
        self._final = str(self._files.path(instance, quarantined=reason is not None))
        return instance

    def commit(self) -> None:
        """Make the staged object durable: name, fsync, fsync of the directory. Only then may the sender be answered."""
        (failure,) = commit_together(self._files, [self])
        if failure is not None:
            self.discard()
            raise failure

    @property
    def directory(self) -> str:
        """Where the staged object goes."""
        return os.path.dirname(self._final)  # noqa: PTH120

    def place(self) -> None:
        """First round of :func:`commit_together`: written, and standing under its name. Raises :class:`OSError`."""
        if not self._final:
            raise ValueError("an object must be staged before it is committed")
        self._files.group_sync(self.directory)
        if self._note is not None:
            self._files.write_note(Path(self._final), self._note)
        temporary = self._flush()
        try:
            os.link(temporary, self._final)
        except FileExistsError:
            self._standing = True
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            os.unlink(temporary)  # noqa: PTH108
            self._temporary = None

    def sync(self) -> None:
        """Second round: on disk. Raises :class:`OSError`."""
        if self._temporary is None:
            os.fsync(self._descriptor)
        elif self._standing and self._confirm():
            os.unlink(self._temporary)  # noqa: PTH108
        else:
            os.fsync(self._descriptor)
            os.rename(self._temporary, self._final)  # noqa: PTH104
        self._temporary = None
        self._close()

    def _confirm(self) -> bool:
        """The same bytes stand under our name: make sure that they are on disk. A file of another size must be replaced."""
        standing = os.open(self._final, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(standing).st_size != os.fstat(self._descriptor).st_size:
                return False
            os.fsync(standing)
        finally:
            os.close(standing)
        return True

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

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.discard()
            raise unwritable(error) from error

    def _flush(self) -> str:
        """Write what is still in memory; returns the name of the temporary file."""
        temporary = self._temporary
        if temporary is None:
            self._header = encode_file_meta(self.meta)
            self._descriptor, temporary = self._files.open_temporary()
            self._temporary = temporary
            self._write_all(self._header, self._memory)
        else:
            self._write_all(self._memory)
        if not self._digest:
            self._hash.update(self._memory)
        self._memory = bytearray()
        return temporary

    def _write_all(self, *parts: bytes | bytearray) -> None:
        left = sum(map(len, parts)) - os.writev(self._descriptor, parts)
        if left:  # a short write is rare: a signal, or a disk that is about to be full
            rest = memoryview(b"".join(parts))[-left:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def commit_together(files: SpoolFiles, group: Sequence[Incoming]) -> list[Retryable | None]:
    """Make staged objects durable together; for each what went wrong, or None.

    Three rounds over the group: every file gets its name, every file is synced, every directory is synced once. The name
    comes before the fsync, so that one journal commit takes both to disk, for all of the group. It is linked, never renamed
    over what stands there: those bytes may have been acknowledged, and ours are not on disk yet. A power cut may leave a
    name whose content is not whole; nobody was told that it is safe, and the sweep proves every file without a row.
    """
    failures: list[Retryable | None] = [None] * len(group)
    directories: dict[str, list[int]] = {}
    for step in (Incoming.place, Incoming.sync):
        for number, incoming in enumerate(group):
            if failures[number] is None:
                failures[number] = _failure(lambda incoming=incoming, step=step: step(incoming))  # type: ignore[misc]
    for number, incoming in enumerate(group):
        if failures[number] is None:
            directories.setdefault(incoming.directory, []).append(number)
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
