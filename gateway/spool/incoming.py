"""One object on its way into the spool."""

from __future__ import annotations

import datetime as dt
import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.text import printable
from gateway.dicom.walker import DEFAULT_LIMITS, Limits, Walk, walk
from gateway.errors import Retryable
from gateway.model import Instance
from gateway.spool.durable import unwritable
from gateway.spool.placing import Placing, QuarantineNote, commit_together

if TYPE_CHECKING:
    from gateway.spool.files import SpoolFiles

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E

#: Up to here an object waits in memory: it then costs one write. Beyond, it streams to its file piece by piece.
_IN_MEMORY_BYTES = 1 << 20


class Incoming(Placing):
    """One object on its way in: ``write`` its data set, ``walk`` it, then ``stage`` and ``commit``, or ``discard`` it.

    Used by one thread at a time. Every method that touches the disk raises :class:`Retryable` when that fails; the
    object is then discarded already. Small objects touch the disk only in ``commit``.
    """

    __slots__ = ("_digest", "_hash", "_header", "_memory", "meta", "size_bytes")

    def __init__(self, files: SpoolFiles, meta: FileMetaInputs) -> None:
        super().__init__(files)
        self.meta = meta
        self.size_bytes = 0  #: of the data set so far
        self._header = b""
        self._memory = bytearray()
        self._hash = hashlib.sha256(meta.transfer_syntax_uid.encode("ascii", "replace"))
        self._digest = ""

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append a piece of the data set."""
        self._memory += piece
        self.size_bytes += len(piece)
        if len(self._memory) > _IN_MEMORY_BYTES:
            self._check_space()
            self._guarded(self._fill)

    def walk(self, limits: Limits = DEFAULT_LIMITS) -> Walk:
        """Check the data set as written so far; raises :class:`~gateway.errors.Rejected` when it is not sound."""
        if self._temporary is None:
            return walk(self._memory, self.meta.transfer_syntax_uid, limits=limits, overflow=self._overflow)
        self._guarded(self._fill)
        mapped = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        start = len(self._header)
        return walk(mapped, self.meta.transfer_syntax_uid, limits=limits, start=start, overflow=self._overflow)

    def stage(self, walked: Walk | None, reason: str | None = None) -> Instance:
        """Decide, without touching the disk, what the object is: an instance, or with a ``reason`` one for quarantine."""
        if not self._digest:
            self._hash.update(self._memory)
            self._digest = self._hash.hexdigest()
        now = self._files.now().astimezone(dt.UTC)
        instance = instance_of(walked, self._digest, now.date().isoformat(), self.size_bytes, self.meta.transfer_syntax_uid)
        note = None
        if reason is not None:
            note = QuarantineNote(reason=reason, sender=self.meta.calling_ae, received_at=now.isoformat())
        self.stand_at(self._files.name(instance, quarantined=reason is not None), note)
        return instance

    def commit(self) -> None:
        """Make the staged object durable: name, fsync, fsync of the directory. Only then may the sender be answered."""
        (failure,) = commit_together(self._files, [self])
        if failure is not None:
            self.discard()
            raise failure

    def journal_pieces(self) -> tuple[bytes, bytearray]:
        """Part 10 header and data set of a staged object that is still in memory."""
        self._header = self._header or encode_file_meta(self.meta)
        return self._header, self._memory

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
        super().discard()
        self._memory = bytearray()

    def _overflow(self) -> Inflated:
        return Inflated(self._files)

    def _check_space(self) -> None:
        """The reserve is kept while a large object comes, not only before it. Raises :class:`Retryable`."""
        try:
            self._files.check_space(beside_bytes=len(self._memory))
        except Retryable:
            self.discard()
            raise

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.discard()
            raise unwritable(error) from error

    def _fill(self) -> str:
        temporary = self._temporary
        if temporary is None:
            self._header = self._header or encode_file_meta(self.meta)
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


class Inflated:
    """What a compressed object inflates to while it is walked, in a file without a name: gone with its last reader, and after a crash.

    Raises :class:`Retryable` when the disk has no room for it.
    """

    def __init__(self, files: SpoolFiles) -> None:
        self._files = files
        try:
            self._file = tempfile.TemporaryFile(dir=files.incoming_directory)  # noqa: SIM115  # lives as long as its mapping
        except OSError as error:
            raise unwritable(error) from error

    def write(self, piece: bytes) -> None:
        self._files.check_space(beside_bytes=len(piece))
        try:
            self._file.write(piece)
            self._file.flush()
        except OSError as error:
            raise unwritable(error) from error

    def buffer(self) -> mmap.mmap:
        with self._file:
            return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)


def instance_of(walked: Walk | None, digest: str, day: str, size_bytes: int, transfer_syntax_uid: str) -> Instance:
    """The noun for a file, with the UIDs as they stand in the data set; empty where it could not be read."""

    def text(tag: int) -> str:
        return printable(walked.text(tag)) if walked is not None else ""

    return Instance(
        digest=digest,
        day=day,
        size_bytes=size_bytes,
        transfer_syntax_uid=printable(transfer_syntax_uid),
        sop_class_uid=text(SOP_CLASS_UID),
        sop_instance_uid=text(SOP_INSTANCE_UID),
        study_instance_uid=text(STUDY_INSTANCE_UID),
        series_instance_uid=text(SERIES_INSTANCE_UID),
    )
