"""At start-up: bring the spool's files and the ledger's rows together again.

A kill between the directory's fsync and the row's commit leaves a durable file that nobody knows; the sender may have been
told that it is safe. So each file of an open day-partition whose digest has no row is proved again (walked, hashed) and
adopted as an arrival. What does not prove true goes to quarantine; nothing durable is ever deleted here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom.reading import Header, header_of, read_file_meta
from gateway.dicom.text import printable
from gateway.dicom.walker import Buffer
from gateway.errors import Quarantined
from gateway.model import Arrival, Door, Instance, Received
from gateway.spool.durable import sync_directory
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import instance_of
from gateway.spool.placing import QuarantineNote

_TRANSFER_SYNTAX_UID = 0x00020010
_SUCCESS, _CANNOT_UNDERSTAND = 0x0000, 0xC000
_STALE_AFTER_SECS = 3600.0
_LATELY_SECS = 2 * 86_400.0
_NOT_SOUND = "The file is not whole: the machine stopped while it was being received, or it has changed since."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file of the spool, by its name alone."""

    day: str
    digest: str
    quarantined: bool


def sweep(files: SpoolFiles, *, closed_days: Iterable[str] = ()) -> Iterator[Found]:
    """Every file whose row should exist: all of quarantine, and all of the days that are not closed yet.

    A closed day whose partition has changed lately is looked at again: clocks go wrong, and a day may be closed before its time.
    """
    closed = frozenset(closed_days)
    for quarantined in (False, True):
        for day in files.partitions(quarantined=quarantined):
            if quarantined or day not in closed or _changed_lately(files, day):
                for digest in files.digests(day, quarantined=quarantined):
                    yield Found(day=day, digest=digest, quarantined=quarantined)


def _changed_lately(files: SpoolFiles, day: str) -> bool:
    return files.partition(day).stat().st_mtime > files.now().timestamp() - _LATELY_SECS


def adopt(files: SpoolFiles, found: Found) -> Received:
    """Prove one file and make it an arrival. A file whose content belies its name or is damaged moves to quarantine.

    Raises :class:`OSError` when the disk does not answer: then nothing has been decided.
    """
    path = files.locate(found.day, found.digest, quarantined=found.quarantined)
    with path.open("rb") as file:
        received_at = dt.datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, dt.UTC)
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
    header, instance, reason = _prove(content, found)
    if found.quarantined:
        note = files.read_note(found.day, found.digest)
        reason = note.reason if note else reason or "The reason for the quarantine is lost."
    elif reason is not None:
        _move_to_quarantine(files, path, found, QuarantineNote(reason=reason, sender="", received_at=received_at.isoformat()))
    arrival = Arrival(
        door=Door.ADOPTED,
        calling_ae=printable(header.sending_ae) if header else "",
        called_ae=printable(header.receiving_ae) if header else "",
        peer="",
        received_at=received_at,
    )
    status = _SUCCESS if reason is None else _CANNOT_UNDERSTAND
    return Received(arrival=arrival, instance=instance, status=status, reason=reason)


def clear_incoming(files: SpoolFiles, *, older_than_secs: float = _STALE_AFTER_SECS) -> int:
    """Remove what crashed receivers left half-received; returns how many files. Those of a running receiver are young."""
    oldest = files.now().timestamp() - older_than_secs
    removed = 0
    for path in files.incoming_directory.glob("*.part"):
        try:
            if path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # its receiver has just given it its name
    return removed


def _prove(content: Buffer, found: Found) -> tuple[Header | None, Instance, str | None]:
    """The header, the noun and, when something is wrong, the reason. The file's name stays the noun's digest."""
    try:
        meta, start = read_file_meta(content)
        digest = hashlib.sha256(meta.get(_TRANSFER_SYNTAX_UID, b"").rstrip(b" \0"))
        digest.update(memoryview(content)[start:])
        header: Header | None = header_of(content)
    except Quarantined as error:
        return None, instance_of(None, found.digest, found.day, len(content), ""), error.reason
    walked = header.walk if header else None
    syntax = header.transfer_syntax_uid if header else ""
    instance = instance_of(walked, found.digest, found.day, len(content) - start, syntax)
    sound = digest.hexdigest() == found.digest
    return header, instance, None if sound else _NOT_SOUND


def _move_to_quarantine(files: SpoolFiles, path: Path, found: Found, note: QuarantineNote) -> None:
    final = files.locate(found.day, found.digest, quarantined=True)
    files.write_note(final, note)
    files.move(path, final)
    sync_directory(path.parent)
