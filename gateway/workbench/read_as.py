"""What some rule reads, and ``coverage`` would pass over in silence although a person looks for it: private elements, by the field that
takes them, and elements that no FHIR element says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.errors import Quarantined
from gateway.mapping.rules import LEVELS
from gateway.understanding import Understanding
from gateway.workbench.explain import explain
from gateway.workbench.explanation import Explained
from gateway.workbench.origins import Origins

_INDEX = re.compile(r"\[\d+\]")
_UNPUBLISHED = ", in no FHIR element"
#: DICOM path, without indexes of items -> the field that reads it, and whether nothing publishes that.
ReadAs = tuple[str, str]


def finder(understanding: Understanding, directory: Path) -> Callable[[Path], Sequence[ReadAs]]:
    """What tells of one file the elements that are private, or published nowhere, and read."""
    origins = Origins(directory)

    def read_as(path: Path) -> Sequence[ReadAs]:
        try:
            fields = explain(path, understanding, origins).fields
        except (Quarantined, OSError):  # told already: it was passed over
            return ()
        published = {place for field in fields if field.elements for place in _places(field)}
        named = {place: _INDEX.sub("", field.name) for field in reversed(fields) for place in _places(field)}
        told = {place: f"{name}{'' if place in published else _UNPUBLISHED}" for place, name in reversed(named.items())}
        return [(place, name) for place, name in told.items() if place not in published or ")[" in place]

    return read_as


def _places(field: Explained) -> list[str]:
    """The elements of the object that a field's value was taken from; values of other fields are none."""
    if field.value is None:
        return []
    return [
        _INDEX.sub("", origin.path) for origin in field.origins if origin.used and origin.path.partition(".")[0] not in LEVELS
    ]
