"""Which field was meant: by its name, or by the DICOM element that it reads (``patient.sex``: PatientSex is ``patient.gender``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.mapping.complaints import did_you_mean, nearest
from gateway.mapping.files import Piece

_KEYWORD = re.compile(r"(?:^|[.$])([A-Z]\w*)(?:\[[\d*]+\])?$")


def field_hint(name: str, known: Iterable[str], written: Mapping[str, Piece]) -> str:
    """`` (did you mean 'patient.gender'?)``. ``known`` are all names, ``written`` the fields of the mapping with what they read.

    Names of one level are compared without it: what ``patient.sex`` has in common with ``patient.key`` is only the level.
    """
    level, _, rest = name.partition(".")
    known = list(known)
    same = {other.partition(".")[2]: other for other in known if other.startswith(f"{level}.")}
    if not same:
        return did_you_mean(name, known)
    near = nearest(rest, same)
    found = same[near] if near else next((other for other in _reading(level, rest, written) if other in known), None)
    return f" (did you mean '{found}'?)" if found else ""


def _reading(level: str, rest: str, written: Mapping[str, Piece]) -> Iterable[str]:
    """The fields of a level that read an element of this name, with the level's name before it or not."""
    words = re.sub(r"[._]", "", rest).casefold()
    for other, piece in written.items():
        if other.startswith(f"{level}.") and {words, f"{level}{words}"} & {word.casefold() for word in _keywords(piece.node)}:
            yield other


def _keywords(node: Any) -> Iterable[str]:
    """The last keyword of each path behind ``from``."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in ("when", "as", "codes", "unit", "need"):
                yield from _keywords(value)
    elif isinstance(node, list):
        for value in node:
            yield from _keywords(value)
    elif isinstance(node, str) and (found := _KEYWORD.search(node)):
        yield found[1]
