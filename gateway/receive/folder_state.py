"""What a watched folder remembers between two looks and over restarts, in the data directory: never in the folder itself.

``<name>.json`` tells people and metrics how it goes; ``<name>.seen`` holds a hash of path, size and time of each file that was taken
and left where it was. Losing either harms nothing: files are looked at again, and the same bytes change nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "folders"
_HASH_BYTES = 16


@dataclass(slots=True, kw_only=True)
class FolderState:
    """How it goes. Counts of files grow over restarts; ``waiting`` is of the last look."""

    name: str
    looked_at: float = 0.0  #: seconds since 1970
    waiting: int = 0  #: files that were still changing, or could not be taken yet
    done: int = 0
    failed: int = 0
    problem: str = ""  #: why nothing can be taken just now


def read_states(data: Path) -> list[FolderState]:
    """All folders that were ever looked at, by name."""
    found = []
    for path in sorted((data / DIRECTORY).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(FolderState(**json.loads(path.read_text())))
    return found


class FolderMemory:
    """The two files of one folder. Errors of the disk are raised as :class:`OSError`."""

    def __init__(self, data: Path, name: str) -> None:
        directory = data / DIRECTORY
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state_file = directory / f"{name}.json"
        self._seen_file = directory / f"{name}.seen"
        self._aside_file = directory / f"{name}.failed.txt"
        self._seen = self._load()
        self.state = next((state for state in read_states(data) if state.name == name), FolderState(name=name))

    def knows(self, mark: bytes) -> bool:
        return mark in self._seen

    def remember(self, mark: bytes) -> None:
        self._seen.add(mark)
        with self._seen_file.open("ab") as file:
            file.write(mark)

    def forget_all_but(self, marks: Set[bytes]) -> None:
        """What is no longer in the folder need not be known."""
        kept = self._seen & marks
        if len(kept) < len(self._seen):
            self._seen = set(kept)
            _replace(self._seen_file, b"".join(sorted(kept)))

    def set_aside(self, relative: str, reason: str) -> None:
        """Tell of a file that stays where it is. Its name is for the operator of this machine, not for a log."""
        with self._aside_file.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{relative}\t{reason}\n")

    def write_state(self) -> None:
        _replace(self._state_file, json.dumps(dataclasses.asdict(self.state)).encode())

    def _load(self) -> set[bytes]:
        try:
            content = self._seen_file.read_bytes()
        except FileNotFoundError:
            return set()
        whole = len(content) // _HASH_BYTES * _HASH_BYTES  # a kill may leave half a hash
        if whole < len(content):
            os.truncate(self._seen_file, whole)
        return {content[start : start + _HASH_BYTES] for start in range(0, whole, _HASH_BYTES)}


def mark_of(relative: str, size_bytes: int, modified_ns: int) -> bytes:
    """A file as it was looked at; another size or time is another file."""
    return hashlib.blake2b(os.fsencode(f"{relative}\0{size_bytes}\0{modified_ns}"), digest_size=_HASH_BYTES).digest()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f"{path.suffix}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
