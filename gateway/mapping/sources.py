"""Where a field reads from, compiled. ``reads.py`` makes these from YAML, ``normalise/record.py`` follows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.dicom.paths import FRAME_PATHS, Path, parse_path
from gateway.dicom.sr import CONTENT, SrPath

if TYPE_CHECKING:
    from gateway.mapping.conditions import Condition

#: The level that ``for_each`` repeats, once per item of a sequence.
REPEATED = "administration"
#: What the item of a field with its own ``for_each`` is called.
ITEM = "item"
#: What ``{arrival: ...}`` may ask for.
ARRIVAL = ("calling_ae", "called_ae", "received_at", "door")
#: Where a report says which template it follows (PS3.3 C.18.8).
TEMPLATE = parse_path("ContentTemplateSequence")


@dataclass(frozen=True, slots=True)
class RootPath:
    """A path from the top of the object."""

    path: Path | SrPath


@dataclass(frozen=True, slots=True)
class ItemPath:
    """A path from the current item of a ``for_each``."""

    path: Path | SrPath
    item: str = REPEATED  #: ``administration`` or ``item``


@dataclass(frozen=True, slots=True)
class FieldRef:
    """The value of another field; ``$item.x`` is the field ``x`` of the same item."""

    name: str


@dataclass(frozen=True, slots=True)
class FramePath:
    """A path in the functional groups: the shared ones, else those of the frames."""

    path: Path


@dataclass(frozen=True, slots=True)
class MetaPath:
    """An element of the file header."""

    path: Path


@dataclass(frozen=True, slots=True)
class ArrivalFact:
    """How the object came: one of :data:`ARRIVAL`."""

    name: str


Plain = RootPath | ItemPath | FieldRef | FramePath | MetaPath | ArrivalFact


@dataclass(frozen=True, slots=True)
class Guarded:
    """A source that counts only when its condition holds; otherwise the next alternative is asked."""

    source: Plain
    when: Condition


Source = Plain | Guarded


def plain(source: Source) -> Plain:
    """The source without its condition."""
    return source.source if isinstance(source, Guarded) else source


def top_paths(source: Plain) -> Iterator[Path]:
    """The top-level elements whose bytes decide what a source gives. The item of a ``for_each`` is decided by the sequence it is in."""
    if isinstance(source, RootPath) and isinstance(source.path, Path):
        yield source.path
    elif isinstance(source, RootPath):
        yield from (CONTENT, TEMPLATE)
    elif isinstance(source, FramePath):
        yield from FRAME_PATHS
