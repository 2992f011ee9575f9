"""``key: null``: what an overlay takes away, and who of its bases still reads it. The overlay is told, not the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from gateway.mapping.complaints import Complaint

if TYPE_CHECKING:
    from gateway.mapping.files import Origin

#: Sections in which one key is named by another.
SECTIONS = ("let", "fields", "resources")
#: Of those who read what is taken away so many are named.
_NAMED = 3


class TakenAway:
    """What the line of a mapping takes away, by section and key; ``lineage`` are its files, the base first."""

    def __init__(self, taken: Mapping[tuple[str, str], Origin], lineage: Sequence[str]) -> None:
        self._taken = taken
        self._lineage = lineage
        self._readers: dict[tuple[str, str], list[str]] = {}

    def blames(self, section: str, name: str, reader: Origin, *below: str | int) -> bool:
        """True when a name is missing because a later file than the reader's took it away: that file is told, not the reader's."""
        for key, origin in self._taken.items():
            if key[0] == section and f"{name}.".startswith(f"{key[1]}.") and self._order(reader) < self._order(origin):
                at = reader.below(*below)
                where = at.document.where(at.place).rpartition(":")[0]
                readers = self._readers.setdefault(key, [])
                readers += [where] if where not in readers else []
                return True
        return False

    def complaints(self) -> Iterable[Complaint]:
        """One for each key that this mapping itself takes away, and that is read all the same."""
        for key, readers in self._readers.items():
            origin = self._taken[key]
            if self._order(origin) == len(self._lineage) - 1:
                shown = " and ".join(readers[:_NAMED]) + (" and others" if len(readers) > _NAMED else "")
                verb = "reads" if len(readers) == 1 else "read"
                yield origin.complain(
                    f"'{key[1]}' is taken away here, and {shown} {verb} it: keep it, or write anew what reads it"
                )

    def _order(self, origin: Origin) -> int:
        name = PurePath(origin.document.name).stem
        return self._lineage.index(name) if name in self._lineage else -1
