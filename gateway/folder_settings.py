"""The section ``folders:`` of the settings: directories that are watched for files, each under a name of its own.

Called by ``config``, which finds the values and says where each came from.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from gateway.target_settings import NAME

#: The name travels as the calling title of what a folder brings (PS3.5 6.2, AE).
_NAME_MOST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """One watched folder."""

    name: str
    directory: Path
    enabled: bool = True
    after: Literal["move", "leave"] = "move"  #: move: to done/ or failed/ inside it; leave: nothing is ever written there
    nested: bool = True
    poll_secs: int = 10


OPTIONS = tuple(option.name for option in dataclasses.fields(FolderSettings) if option.name != "name")

#: ``name.option`` -> (value, where it was written)
Leaves = Mapping[str, tuple[Any, str]]


def build(
    leaves: Leaves,
    *,
    convert: Callable[[Any, Any], Any],
    hint: Callable[[str, list[str]], str],
    complaints: list[str],
) -> tuple[tuple[FolderSettings, ...], dict[str, str]]:
    """The folders that are named anywhere, in that order, and where each option came from.

    A folder that is wrong is left out and told in ``complaints``. ``convert`` raises ``ValueError`` with the end of a sentence.
    """
    by_name: dict[str, dict[str, tuple[Any, str]]] = {}
    for key, (value, origin) in leaves.items():
        name, dot, option = key.partition(".")
        if not dot:
            complaints.append(f"{origin}: folders.{name} must hold 'key: value' lines, the first of them 'directory:'")
        elif option not in OPTIONS:
            complaints.append(f"{origin}: unknown option '{option}'{hint(option, list(OPTIONS))}")
        else:
            by_name.setdefault(name, {})[option] = (value, origin)
    folders: list[FolderSettings] = []
    origins: dict[str, str] = {}
    for name, options in by_name.items():
        before = len(complaints)
        first = next(iter(options.values()))[1]
        if not NAME.fullmatch(name) or len(name) > _NAME_MOST:
            complaints.append(
                f"{first}: folders.{name}: a folder's name is made of up to {_NAME_MOST} small letters, digits and single underscores"
            )
        folder = _converted(name, options, convert, complaints)
        if folder is not None and folder.poll_secs == 0:
            complaints.append(f"{options['poll_secs'][1]}: folders.{name}.poll_secs must be 1 or more")
        if folder is not None and len(complaints) == before:
            folders.append(folder)
            origins.update({f"folders.{name}.{option}": options.get(option, ("", "default"))[1] for option in OPTIONS})
    return tuple(folders), origins


def _converted(name: str, options: Leaves, convert: Callable[[Any, Any], Any], complaints: list[str]) -> FolderSettings | None:
    hints = get_type_hints(FolderSettings)
    values: dict[str, Any] = {}
    for option, (value, origin) in options.items():
        try:
            values[option] = convert(value, hints[option])
        except ValueError as error:
            complaints.append(f"{origin}: folders.{name}.{option} {error}")
    if "directory" not in options:
        complaints.append(f"{next(iter(options.values()))[1]}: folders.{name}.directory is missing")
    return FolderSettings(name=name, **values) if "directory" in values else None


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
