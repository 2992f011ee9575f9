"""What DICOMweb needs of an archive, whichever way it is asked: where objects stand, their bytes, a search."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Protocol

from gateway.model import JsonObject

#: A DICOM keyword and what it says; no address ever.
Values = dict[str, str | list[str] | int | None]

#: PS3.5 9.1, but for leading zeros, which exist. Nothing else becomes part of an address.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

NUMBERS = ("SeriesNumber", "InstanceNumber", "NumberOfFrames", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
           "NumberOfSeriesRelatedInstances")  # fmt: skip


class Level(StrEnum):
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an archive keeps one object. ``handle`` is the archive's own word for it."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    handle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One thing that a search found; ``item`` is what the archive said of it. ``fits``: it is really what was asked for."""

    study_uid: str
    item: JsonObject
    fits: bool = True


class Archive(Protocol):
    """One archive. Methods block, and raise :class:`~gateway.errors.Rejected`: 502, 503 or 504 when it gives no good answer."""

    @property
    def name(self) -> str:
        """How the settings call it."""
        ...

    @property
    def shows_all(self) -> bool:
        """It also answers for studies that we never received."""
        ...

    def places(self, study: str, series: str = "", instance: str = "") -> list[Place]:
        """All that it holds of this; several under one SOP Instance UID when patients differ."""
        ...

    def fetch(self, place: Place, into: IO[bytes], *, most_bytes: int) -> None:
        """Write the object as a Part 10 file, as it is stored there. Raises :class:`~gateway.errors.Rejected` (410) when it is gone."""
        ...

    def find(self, level: Level, matching: Mapping[str, str], *, limit: int, offset: int) -> list[Match]:
        """One page of what matches, in an order of its own that stays while nothing is stored or deleted."""
        ...

    def tell(self, level: Level, matches: Sequence[Match]) -> list[Values]:
        """What QIDO-RS answers of these."""
        ...


def is_uid(text: str) -> bool:
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def number(text: object) -> int | None:
    """An integer string (VR IS); ``None`` for what is none."""
    words = str(text).strip()
    return int(words) if re.fullmatch(r"[+-]?[0-9]{1,12}", words) else None
