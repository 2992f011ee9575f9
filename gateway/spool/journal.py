"""A write-ahead journal: small objects become durable in groups, with one data sync; their files follow in the background.

A file of its own costs a name, an inode and a commit of the file system before anybody may be answered. The journal's segments are
written full of zeros beforehand and overwritten, so that ``fdatasync`` has nothing to take to disk but the bytes themselves. What
stands here may be acknowledged. After a crash :meth:`Journal.replay` gives it its files, and only then is the sweep run.

A segment is a chain of records: a checksummed head, then the complete Part 10 file, named by its own digest, padded to whole
pages. A record is appended only after those before it are on disk, so nothing acknowledged stands behind a torn one. Each
filling has a generation of its own: what an older filling left behind is not read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.spool.durable import make_directory, sync_directory, unwritable
from gateway.spool.journal_segments import (
    PAGE_BYTES,
    ZERO_PAGE,
    Draft,
    Segment,
    encode_head,
    make_segment,
    padded,
    particulars,
    read_head,
    wipe,
    write_all,
)
from gateway.spool.placing import Placing, QuarantineNote, commit_together
from gateway.telemetry import token

if TYPE_CHECKING:
    from gateway.spool.files import SpoolFiles
    from gateway.spool.incoming import Incoming

_log = structlog.get_logger()

JOURNAL, QUARANTINE = "journal", "quarantine"
SEGMENT_BYTES = 16 << 20
_REPLAY_GROUP = 64
_DAMAGED = "The disk changed this object while it stood in the journal: it was acknowledged and is no longer whole."


class JournalRecord(Placing):
    """An object that is durable in the journal and waits for its file."""

    __slots__ = ("_header_bytes", "_length_bytes", "_start", "segment")

    def __init__(self, files: SpoolFiles, segment: Segment, start: int, header_bytes: int, data_bytes: int) -> None:
        super().__init__(files)
        self.segment = segment
        self._start = start
        self._header_bytes = header_bytes
        self._length_bytes = header_bytes + data_bytes

    def proves(self, transfer_syntax_uid: str, digest: str) -> bool:
        """Whether the bytes are those that the digest was made of."""
        found = hashlib.sha256(transfer_syntax_uid.encode("ascii", "replace"))
        found.update(os.pread(self.segment.descriptor, self._length_bytes - self._header_bytes, self._start + self._header_bytes))
        return found.hexdigest() == digest

    def _fill(self) -> str:
        self.discard()  # a former try may have left something
        self._descriptor, self._temporary = self._files.open_temporary()
        position, end = self._start, self._start + self._length_bytes
        while position < end:
            copied = os.sendfile(self._descriptor, self.segment.descriptor, position, end - position)
            if not copied:
                raise OSError(5, "a segment of the journal is shorter than it was")
            position += copied
        return self._temporary


class Journal:
    """The journal of one spool directory. One thread appends, another settles; one process at a time."""

    def __init__(self, files: SpoolFiles, *, capacity_bytes: int, segment_bytes: int | None = None) -> None:
        self._files = files
        self._directory = files.directory / JOURNAL
        self._segment_bytes = segment_bytes or min(SEGMENT_BYTES, padded(capacity_bytes // 2))
        self._wanted = capacity_bytes // self._segment_bytes if capacity_bytes else 0
        self._lock = threading.Lock()
        self._free: list[Segment] = []
        self._current: Segment | None = None
        self._pending_bytes = 0
        self._broken = False

    @property
    def is_ready(self) -> bool:
        """Objects can be taken now."""
        return not self._broken and (self._current is not None or bool(self._free))

    @property
    def is_crowded(self) -> bool:
        """More than half of it waits for files."""
        return self._pending_bytes * 2 > self._wanted * self._segment_bytes

    def replay(self) -> int:
        """Give every record that a former process left its file; returns how many.

        Raises :class:`~gateway.errors.Retryable` when the disk cannot.
        """
        count = 0
        for path in sorted(self._directory.glob("*.seg")):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            segment = Segment(descriptor, os.fstat(descriptor).st_size)
            try:
                count += self._settle_left(segment)
                wipe(segment)
            except OSError as error:
                raise unwritable(error) from error
            finally:
                os.close(descriptor)
        return count

    def _settle_left(self, segment: Segment) -> int:
        left = list(self._records(segment))
        for start in range(0, len(left), _REPLAY_GROUP):
            group = left[start : start + _REPLAY_GROUP]
            failure = next((failure for failure in commit_together(self._files, group) if failure is not None), None)
            if failure is not None:
                raise failure
        return len(left)

    def _records(self, segment: Segment) -> Iterator[JournalRecord]:
        """The records of the latest filling. A torn one at the end was never acknowledged. One that is damaged with good ones behind
        it was: it goes to quarantine with its reason, and the chain is taken up again behind it.
        """
        damaged: list[JournalRecord] = []
        for record, is_whole in self._chain(segment):
            if not is_whole:
                damaged.append(record)
                continue
            for item in damaged:
                _log.error("journal_record_damaged", action="journal_record_damaged", item=token(Path(item.name).stem))
                received_at = self._files.now().isoformat()
                item.stand_at(_quarantined(item.name), QuarantineNote(reason=_DAMAGED, sender="", received_at=received_at))
                yield item
            damaged = []
            yield record

    def _chain(self, segment: Segment) -> Iterator[tuple[JournalRecord, bool]]:
        """Every record of the filling that the first head belongs to, and whether its data set is the one that was received."""
        position, generation = 0, b""
        while position < segment.size_bytes:
            head = read_head(segment, position)
            if head is None or head.generation != (generation or head.generation):
                if not generation:
                    return  # the first head was wiped: nothing is pending
                position += PAGE_BYTES  # the end of the chain, or a head that is damaged
                continue
            generation = head.generation
            record = JournalRecord(self._files, segment, position + head.size_bytes, head.header_bytes, head.data_bytes)
            record.stand_at(head.name, head.note)
            yield record, record.proves(head.transfer_syntax_uid, Path(head.name).stem)
            position = padded(position + head.size_bytes + head.header_bytes + head.data_bytes)

    def prepare(self) -> None:
        """Make the segments, full of zeros. Without them nothing is taken and every object gets its file at once.

        Raises :class:`OSError`, or :class:`~gateway.errors.Retryable` when the disk has no room for them.
        """
        if not self._wanted:
            return
        self._files.check_space(beside_bytes=2 * self._wanted * self._segment_bytes)
        make_directory(self._directory)
        for number in range(self._wanted):
            segment = make_segment(self._directory / f"{number:03d}.seg", self._segment_bytes)
            sync_directory(self._directory)  # its name too must survive before anything in it is acknowledged
            with self._lock:
                self._free.append(segment)

    def append(self, group: Sequence[Incoming]) -> list[JournalRecord] | None:
        """Make staged objects durable; None when the journal cannot take them just now, and nothing has happened."""
        drafts = [self._draft(item) for item in group]
        reserved = self._reserve(len(group), sum(draft.size_bytes for draft in drafts))
        if reserved is None:
            return None
        segment, position = reserved
        records: list[JournalRecord] = []
        buffers: list[bytes | bytearray] = []
        start = position
        for item, draft in zip(group, drafts, strict=True):
            head = encode_head(segment.generation, draft.told, draft.header, len(draft.data))
            record = JournalRecord(self._files, segment, start + len(head), len(draft.header), len(draft.data))
            record.stand_at(item.name, item.note)
            records.append(record)
            buffers += [head, draft.header, draft.data, ZERO_PAGE[: draft.padding_bytes]]
            start += draft.size_bytes
        try:
            write_all(segment.descriptor, buffers, position)
            os.fdatasync(segment.descriptor)
        except OSError as error:
            # A failed sync is never tried again: the kernel may have dropped the pages. The objects go to files of their own.
            self._broken = True
            _log.error("journal_unwritable", action="journal_unwritable", reason=unwritable(error).reason)
            return None
        return records

    def _draft(self, item: Incoming) -> Draft:
        told = particulars(item.name, item.meta.transfer_syntax_uid, item.note)
        return Draft(told, *item.journal_pieces())

    def _reserve(self, count: int, size_bytes: int) -> tuple[Segment, int] | None:
        with self._lock:
            if self._broken:
                return None
            segment = self._current
            if segment is None or segment.end + size_bytes > segment.size_bytes:
                if not self._free or size_bytes > self._segment_bytes:
                    return None
                segment = self._current = self._free.pop()
            if not segment.end:
                segment.generation = secrets.token_bytes(16)
            position, segment.end = segment.end, segment.end + size_bytes
            segment.pending += count
            self._pending_bytes += size_bytes
            return segment, position

    def settled(self, records: Sequence[JournalRecord]) -> None:
        """These have their files now. A segment without pending records is used anew. Raises :class:`OSError`."""
        for segment in {id(record.segment): record.segment for record in records}.values():
            with self._lock:
                segment.pending -= sum(record.segment is segment for record in records)
                if segment.pending:
                    continue
                wipe(segment)
                self._pending_bytes -= segment.end
                segment.end = 0
                if segment is not self._current:
                    self._free.append(segment)

    def close(self) -> None:
        """Let go of the segments; what is pending stays in them."""
        with self._lock:
            for segment in [*self._free, *([self._current] if self._current else [])]:
                os.close(segment.descriptor)
            self._free, self._current = [], None


def _quarantined(name: str) -> str:
    return name if name.startswith(QUARANTINE) else f"{QUARANTINE}{os.sep}{name}"
