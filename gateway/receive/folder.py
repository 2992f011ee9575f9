"""Watched folders: files that are put somewhere come in through the same door as those that scanners send.

By polling only, so that network shares do as well. A file is taken when its size and time were the same at two looks; it counts as done
when its rows are committed. A kill in between leaves it where it was: it is found again, and the same bytes change nothing.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from gateway.dicom.text import printable
from gateway.errors import Rejected
from gateway.folder_settings import FolderSettings
from gateway.model import Arrival, Door, Received
from gateway.receive.committer import Outcome
from gateway.receive.containment import Refusal
from gateway.receive.direct import DirectDoor, is_full
from gateway.receive.door import Expected, Prepared
from gateway.receive.file_stream import HEAD_BYTES, FileStream, Sender
from gateway.receive.folder_kinds import Kind, kind_of, reason_against
from gateway.receive.folder_places import open_file, set_aside
from gateway.receive.folder_state import FolderMemory, mark_of
from gateway.receive.zip_files import ZipArchive

DONE, FAILED = "done", "failed"
_DEPTH_MOST = 16
_PIECE_BYTES = 256 * 1024
#: Files that other programs are still writing, or that file managers leave.
_UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload", "~")
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
#: Why a ZIP failed: so many members are told of.
_TOLD_MOST = 100
#: Files taken in one look; the next one goes on.
_READY_MOST = 10_000

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file as one look saw it."""

    relative: str  #: its path below the folder
    size_bytes: int
    modified_ns: int

    @property
    def mark(self) -> bytes:
        return mark_of(self.relative, self.size_bytes, self.modified_ns)


@dataclass(slots=True)
class _Taking:
    """A file on its way in: an archive has many objects, some of which may still wait to become durable."""

    found: Found
    open_objects: int = 0
    reasons: list[str] = field(default_factory=list)
    must_wait: str = ""  #: why it is left for the next look
    is_read: bool = False


class WatchedFolder:
    """``look`` again and again. Used by one thread."""

    def __init__(self, settings: FolderSettings, direct: DirectDoor, sender: Sender, memory: FolderMemory) -> None:
        self._settings = settings
        self._direct = direct
        self._sender = sender
        self._memory = memory
        self._last: set[bytes] = set()  #: marks of what the last look saw
        self._concluded = 0
        self._stuck: set[bytes] = set()  #: taken, but could not be moved
        self._is_blocked = False  #: the disk or the ledger takes nothing now
        self._is_whole = True  #: all of the folder could be looked at
        self._group: list[tuple[_Taking, str, Prepared]] = []

    def look(self, stopped: Callable[[], bool]) -> None:
        """Take what is complete. What the disk or the ledger cannot take now waits; nothing is raised for it."""
        state = self._memory.state
        state.problem, self._is_blocked, self._is_whole = "", False, True
        marks: set[bytes] = set()
        ready: list[Found] = []
        unknown = self._concluded = 0
        try:
            for found in self._files():
                mark = found.mark
                marks.add(mark)
                if mark in self._stuck or self._memory.knows(mark):
                    continue
                unknown += 1
                # An empty file is one that somebody has only begun.
                if mark in self._last and found.size_bytes and len(ready) < _READY_MOST:
                    ready.append(found)
            self._take(ready, stopped)
        except OSError as error:
            self._drop_group()
            self._tell_unreadable("the folder", error)
        self._last = marks
        state.waiting = unknown - self._concluded
        state.looked_at = time.time()
        if marks and self._is_whole:
            self._memory.forget_all_but(marks)
        self._memory.write_state()

    def _tell_unreadable(self, what: str, error: OSError) -> None:
        self._is_whole = False
        self._memory.state.problem = f"{what} cannot be read ({error.strerror})"
        _log.warning("folder_unreadable", stage="folders", item=self._settings.name, reason=self._memory.state.problem)

    def _files(self) -> Iterator[Found]:
        return self._below(self._settings.directory, "", 0)

    def _below(self, directory: Path, prefix: str, depth: int) -> Iterator[Found]:
        """Regular files in the order of their names. Links are not followed: they may lead anywhere."""
        try:
            with os.scandir(directory) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            if not depth:
                raise
            self._tell_unreadable("a folder inside it", error)
            return
        for entry in entries:
            name = entry.name
            if name.startswith(".") or (not prefix and name in (DONE, FAILED) and self._settings.after == "move"):
                continue
            if entry.is_dir(follow_symlinks=False):
                if self._settings.nested and depth < _DEPTH_MOST:
                    yield from self._below(directory / name, f"{prefix}{name}/", depth + 1)
            elif entry.is_file(follow_symlinks=False) and not name.lower().endswith(_UNFINISHED) and name.lower() not in _LITTER:
                try:
                    told = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # somebody took it away meanwhile
                yield Found(relative=f"{prefix}{name}", size_bytes=told.st_size, modified_ns=told.st_mtime_ns)

    def _take(self, ready: list[Found], stopped: Callable[[], bool]) -> None:
        for found in ready:
            if stopped() or self._is_blocked:
                break
            taking = _Taking(found)
            try:
                self._read(taking)
            except OSError as error:
                taking.must_wait = f"a file cannot be read ({error.strerror})"
            taking.is_read = True
            if not taking.open_objects:
                self._conclude(taking)
        self._settle()

    def _read(self, taking: _Taking) -> None:
        found = taking.found
        with os.fdopen(open_file(self._settings.directory, found.relative), "rb") as file:
            if _has_changed(file, found):
                taking.must_wait = "it changes while it is read"
                return
            head = file.read(HEAD_BYTES)
            file.seek(0)
            kind = kind_of(head, found.relative.rpartition("/")[2])
            if kind is Kind.ZIP:
                self._read_archive(taking, file)
            elif kind is Kind.DICOM:
                self._read_object(taking, "", iter(lambda: file.read(_PIECE_BYTES), b""), lambda: _has_changed(file, found))
            elif kind is Kind.OTHER:
                taking.reasons.append(reason_against(kind))

    def _read_archive(self, taking: _Taking, file: IO[bytes]) -> None:
        try:
            for name, pieces in ZipArchive(file, taking.found.size_bytes).members():
                first = next(pieces, b"")
                kind = kind_of(first[:HEAD_BYTES], name.rpartition("/")[2])
                if kind is Kind.DICOM:
                    self._read_object(taking, printable(name), _chained(first, pieces), lambda: False)
                elif kind is not Kind.INDEX:
                    taking.reasons.append(f"{printable(name)}: {reason_against(kind)}")
                if taking.must_wait:
                    return
        except Rejected as error:
            taking.reasons.append(error.reason)

    def _read_object(self, taking: _Taking, name: str, pieces: Iterator[bytes], has_changed: Callable[[], bool]) -> None:
        """One object into the group that becomes durable next. ``name``: within an archive."""
        stream = FileStream(self._direct.door, self._sender)
        try:
            for piece in pieces:
                stream.write(piece)
            if has_changed():
                taking.must_wait = "it changes while it is read"
                return
            outcome = stream.finish(self._arrival(), Expected())
        finally:
            stream.discard()
        if isinstance(outcome, Refusal):
            self._enter(taking, name, outcome)
            return
        taking.open_objects += 1
        self._group.append((taking, name, outcome))
        if is_full([prepared for _, _, prepared in self._group]):
            self._settle()

    def _settle(self) -> None:
        """Make the group durable and known; only then may its files be moved."""
        group, self._group = self._group, []
        for (taking, name, _), outcome in zip(group, self._direct.settle([item[2] for item in group]), strict=True):
            taking.open_objects -= 1
            self._enter(taking, name, outcome)
            if taking.is_read and not taking.open_objects:
                self._conclude(taking)

    def _drop_group(self) -> None:
        for _, _, prepared in self._group:
            prepared.incoming.discard()
        self._group = []

    def _enter(self, taking: _Taking, name: str, outcome: Outcome) -> None:
        reason = outcome.reason
        if self._direct.may_try_again(outcome):
            taking.must_wait = reason or ""
            self._is_blocked = True
        elif reason is not None:
            kept = " It is kept in quarantine." if isinstance(outcome, Received) else ""
            taking.reasons.append(f"{name}: {reason}{kept}" if name else f"{reason}{kept}")

    def _conclude(self, taking: _Taking) -> None:
        """All of the file is durable and known, or it must not come in: put it where people see it."""
        found, state = taking.found, self._memory.state
        if taking.must_wait:
            state.problem = taking.must_wait
            _log.warning("folder_file_waits", stage="folders", item=self._settings.name, reason=taking.must_wait)
            return
        self._concluded += 1
        if taking.reasons:
            state.failed += 1
            _log.warning("folder_file_refused", stage="folders", item=self._settings.name, count=len(taking.reasons))
        else:
            state.done += 1
        if self._settings.after == "leave":
            self._memory.remember(found.mark)
            if taking.reasons:
                self._memory.set_aside(found.relative, taking.reasons[0])
            return
        try:
            where, text = (FAILED, _told(taking.reasons)) if taking.reasons else (DONE, "")
            set_aside(self._settings.directory, found.relative, where, text)
        except OSError as error:
            self._stuck.add(found.mark)
            state.problem = f"files cannot be moved ({error.strerror})"
            _log.error("folder_file_stays", stage="folders", item=self._settings.name, reason=state.problem)

    def _arrival(self) -> Arrival:
        return Arrival(
            door=Door.FOLDER,
            calling_ae=self._sender.calling_ae,
            called_ae=self._sender.called_ae,
            peer="",
            received_at=dt.datetime.now(dt.UTC),
        )


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _has_changed(file: IO[bytes], found: Found) -> bool:
    told = os.fstat(file.fileno())
    return not stat.S_ISREG(told.st_mode) or (told.st_size, told.st_mtime_ns) != (found.size_bytes, found.modified_ns)


def _told(reasons: list[str]) -> str:
    more = len(reasons) - _TOLD_MOST
    return "\n".join([*reasons[:_TOLD_MOST], *([f"and {more} more"] if more > 0 else [])]) + "\n"
