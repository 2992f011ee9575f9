"""The section ``folders:`` of the settings: directories that are watched for files, each under a name of its own.

Called by ``config``, which finds the values and says where each came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.named_settings import Section, not_zero


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """One watched folder."""

    name: str
    directory: Path
    enabled: bool = True
    after: Literal["move", "leave"] = "move"  #: move: to done/ or failed/ inside it; leave: nothing is ever written there
    nested: bool = True
    poll_secs: int = 10


FOLDERS = Section(
    name="folders",
    one="folder",
    kind=FolderSettings,
    required="directory",
    name_most=16,  # it travels as the calling title of what a folder brings (PS3.5 6.2, AE)
    always_shown=("directory", "enabled", "after", "nested", "poll_secs"),
    check=lambda folder, _given: not_zero(folder, ("poll_secs",)),
)


def conflicts(folders: tuple[FolderSettings, ...], data: Path) -> Iterator[tuple[str, str]]:
    """What no folder can tell alone, as (option, sentence): each file must belong to one folder, and never to the gateway itself."""
    known: list[tuple[str, Path]] = []
    for folder in folders:
        option, place = f"folders.{folder.name}.directory", folder.directory.resolve()
        if _overlap(place, data.resolve()):
            yield option, f"{option}: {folder.directory} and the gateway's own data.directory must not lie in one another"
        for other, elsewhere in known:
            if _overlap(place, elsewhere):
                yield option, f"{option}: {folder.directory} and the directory of folders.{other} must not lie in one another"
        known.append((folder.name, place))


def absent(folders: tuple[FolderSettings, ...]) -> Iterator[tuple[str, str]]:
    """What may be right tomorrow (a share that is not mounted): told by ``config check``, waited for by the gateway."""
    for folder in folders:
        option = f"folders.{folder.name}.directory"
        if not folder.enabled:
            continue
        if not folder.directory.is_dir():
            yield option, f"{option}: there is no folder {folder.directory}"
        elif folder.after == "move" and not _is_writable(folder.directory):
            yield option, f"{option}: files cannot be moved within {folder.directory}, it is read-only for us; say after: leave"


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _is_writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)
