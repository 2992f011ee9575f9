"""Ways into a watched folder that no link leads astray: whoever may put files there must not make us read or write anywhere else.

Each folder on the way is opened from the one above it, without following links; only the configured folder itself may be one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

REASON_SUFFIX = ".reason.txt"
#: What file systems take for one name, in bytes.
_NAME_MOST_BYTES = 255
#: Room for the number of a name that is taken.
_NUMBER_BYTES = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_file(directory: Path, relative: str) -> int:
    """The descriptor of a file below ``directory``, for reading. Raises :class:`OSError`, also for a link on the way."""
    path = PurePosixPath(relative)
    with _folder(directory, path.parts[:-1]) as folder:
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)


def set_aside(directory: Path, relative: str, where: str, text: str = "") -> None:
    """Move a file to the same place below ``where``, with a ``text`` beside it that tells why. A name that is taken gets a number.

    Folders that are missing are made, open to the same people as ``directory``: those who put files there must see what became of
    them. Nothing that stands there is written to. Raises :class:`OSError`.
    """
    path = PurePosixPath(relative)
    with (
        _folder(directory, path.parts[:-1]) as source,
        _folder(directory, (where, *path.parts[:-1]), makes=True) as target,
    ):
        name = _free_name(target, path.name)
        os.rename(path.name, name, src_dir_fd=source, dst_dir_fd=target)
        if text:
            mode = stat.S_IMODE(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode)
            _write_new(target, f"{name}{REASON_SUFFIX}", text, mode)


@contextlib.contextmanager
def _folder(directory: Path, parts: tuple[str, ...], *, makes: bool = False) -> Iterator[int]:
    """A descriptor of the folder below ``directory`` that ``parts`` lead to."""
    descriptor = os.open(directory, _FOLDER)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        for part in parts:
            made = makes and _make(descriptor, part)
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            if made:
                with contextlib.suppress(OSError):  # some shares know no modes
                    os.fchmod(descriptor, mode)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(folder: int, name: str) -> bool:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _free_name(folder: int, name: str) -> str:
    """``name``, cut so that a reason beside it fits, with a number where it or its reason would meet something."""
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
    most = _NAME_MOST_BYTES - len(REASON_SUFFIX) - _NUMBER_BYTES
    suffix = suffix if len(os.fsencode(suffix)) <= most // 2 else ""
    stem = stem if suffix or stem == name else name
    while len(os.fsencode(stem + suffix)) > most:
        stem = stem[:-1]
    tried, number = f"{stem}{suffix}", 1
    while _stands(folder, tried) or _stands(folder, f"{tried}{REASON_SUFFIX}"):
        number += 1
        tried = f"{stem}~{number}{suffix}"
    return tried


def _stands(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _write_new(folder: int, name: str, text: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), mode)
