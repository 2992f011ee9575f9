"""Versions of the mappings as files that never change: one directory for each, named by what it holds, durable before it is used.

A version is every ``*.yaml`` file of a folder of mappings, codes and tables included. Its name is the SHA-256 over names and bytes; a
directory whose content does not give its name is refused. A kill leaves a temporary directory or a whole version, never half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Misconfigured
from gateway.spool.durable import make_directory, sync_directory

DIRECTORY = "mapping-versions"
_TEMPORARY = ".new-"
_MOST_FILES, _MOST_BYTES = 2000, 64 << 20
_DIGITS = 16
_STALE_SECS = 3600


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder of mappings at one moment: path below it -> bytes."""

    files: Mapping[str, bytes]

    @property
    def version(self) -> str:
        found = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            found.update(f"{name}\0{len(content)}\0".encode())
            found.update(content)
        return found.hexdigest()[:_DIGITS]

    def changes(self, other: Snapshot) -> list[str]:
        """What somebody did to these files since ``other``: ``sites/a.yaml (changed)``."""
        names = sorted(self.files.keys() | other.files.keys())
        return [f"{name} ({word})" for name in names if (word := _change(other.files.get(name), self.files.get(name)))]

    def write(self, directory: Path) -> None:
        """As a new folder, synced to disk."""
        directory.mkdir(mode=0o700)
        for name, content in self.files.items():
            path = directory / name
            make_directory(path.parent)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(path.parent)
        sync_directory(directory)


def _change(before: bytes | None, now: bytes | None) -> str:
    if before == now:
        return ""
    return "new" if before is None else "gone" if now is None else "changed"


def snapshot(directory: Path) -> Snapshot:
    """Read a folder of mappings whole. Raises :class:`Misconfigured` when there is none, or when it is no folder of mappings."""
    if not directory.is_dir():
        raise Misconfigured(f"there is no folder {directory}")
    files: dict[str, bytes] = {}
    size_bytes = 0
    for path in sorted(directory.rglob("*.yaml")):
        name = path.relative_to(directory).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
            continue
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise Misconfigured(f"{path}: cannot be read ({error.strerror})") from error
        size_bytes += len(files[name])
        if len(files) > _MOST_FILES or size_bytes > _MOST_BYTES:
            raise Misconfigured(f"{directory}: too many files for a folder of mappings")
    return Snapshot(files)


class MappingVersions:
    """The versions that one installation keeps."""

    def __init__(self, data_directory: Path) -> None:
        self._directory = data_directory / DIRECTORY

    def path(self, version: str) -> Path:
        return self._directory / version

    def keep(self, taken: Snapshot) -> Path:
        """Make a version durable; one that is there already is proved, and replaced when it is damaged. Raises :class:`OSError`.

        Who keeps at the same moment waits: of two with the same content the second finds it there.
        """
        target = self.path(taken.version)
        make_directory(self._directory)
        with self._alone():
            if self.is_whole(taken.version):
                return target
            self._clear_stale()
            temporary = self._directory / f"{_TEMPORARY}{secrets.token_hex(8)}"
            taken.write(temporary)
            if target.exists():
                target.rename(self._directory / f"{_TEMPORARY}damaged-{secrets.token_hex(8)}")
            temporary.rename(target)
            sync_directory(self._directory)
        return target

    def is_whole(self, version: str) -> bool:
        """The version stands there as it was kept."""
        try:
            self.read(version)
        except Misconfigured:
            return False
        return True

    def read(self, version: str) -> Snapshot:
        """A version as it was kept. Raises :class:`Misconfigured` when it is gone or was changed."""
        path = self.path(version)
        if not path.is_dir():
            raise Misconfigured(
                f"{path}: the mappings of version {version} are gone; restore the data directory, or deploy again"
            )
        found = snapshot(path)
        if found.version != version:
            raise Misconfigured(f"{path}: somebody changed the mappings of version {version}; restore them, or deploy again")
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The lock ends with the process that holds it, however that ends."""
        with (self._directory / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _clear_stale(self) -> None:
        """What a killed deployment left."""
        for path in self._directory.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_SECS:
                    shutil.rmtree(path, ignore_errors=True)
