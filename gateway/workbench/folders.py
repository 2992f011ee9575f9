"""Which files a person means who names files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those below the folders named, each once, in a fixed order; hidden ones and DICOMDIR are passed over."""
    yield from dict.fromkeys(_all(paths))


def _all(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.is_file())
            yield from (item for item in found if item.name != "DICOMDIR" and not item.name.startswith("."))
        else:
            yield path
