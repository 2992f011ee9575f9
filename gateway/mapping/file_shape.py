"""The outer shape of a mapping file: its sections, and what each must be. Of a file with mistakes as much as can be read is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.mapping.complaints import Complaint, complain, did_you_mean, nearest
from gateway.yamlfile import Document, Place

#: Sections and the type each must have. ``resources`` and ``tests`` are looked into later.
SECTIONS: dict[str, type | tuple[type, ...]] = {
    "extends": (str, list),
    "match": (dict, str),
    "priority": int,
    "shadow": bool,
    "let": dict,
    "for_each": dict,
    "fields": dict,
    "results": dict,
    "ignore": dict,
    "resources": dict,
    "dicom": dict,
    "example": dict,
    "tests": list,
}
_TYPE_NAMES: dict[type, str] = {
    dict: "a mapping of keys",
    list: "a list",
    str: "a word",
    int: "a whole number",
    bool: "true or false",
}
#: Sections that are inherited key by key.
INHERITED = ("match", "let", "for_each", "fields", "results", "ignore", "resources", "dicom")
#: Of more bases nobody can say what holds.
MOST_BASES = 8
_BASES = f"'extends' is the name of a mapping, or a list of 1 to {MOST_BASES} names"


@dataclass(frozen=True, slots=True)
class MappingFile(Document):
    """A mapping file whose sections all are what they must be; ``left_out`` are those that were not."""

    left_out: frozenset[str] = frozenset()


def unread(name: str) -> MappingFile:
    """Of a file that is no YAML only its name is known."""
    return MappingFile(name, {"match": "nothing"}, {}, frozenset(SECTIONS))


def shaped(document: Document, complaints: list[Complaint]) -> MappingFile:
    """A file without the sections that are wrong, each of them a complaint; a misspelt section counts as the one that was meant."""
    if not isinstance(document.data, dict):
        complaints.append(complain(document, (), "a mapping file holds sections such as 'match' and 'fields'"))
        return unread(document.name)
    data: dict[str, Any] = {}
    meant: dict[str, str] = {}
    left_out: set[str] = set()
    for written, node in document.data.items():
        section = _section_of(written, document, complaints)
        if section is None or section in data:
            continue
        problem = _problem(section, node)
        if problem:
            complaints.append(complain(document, (written,), problem))
            left_out.add(section)
        else:
            data[section], meant[written] = node, section
    if "match" not in document.data and "match" not in data:
        text = "say what this mapping is for: 'match' is missing ('match: everything' for all objects)"
        complaints.append(complain(document, (), text))
    data.setdefault("match", "nothing")
    renamed = any(written != section for written, section in meant.items())
    positions = dict(_positions(document, meant)) if renamed else document.positions
    return MappingFile(document.name, data, positions, frozenset(left_out))


def _section_of(written: str, document: Document, complaints: list[Complaint]) -> str | None:
    """The section that a word stands for; of an unknown one that which was meant, unless the file has that as well."""
    if written in SECTIONS:
        return written
    complaints.append(complain(document, (written,), f"unknown section '{written}'{did_you_mean(written, SECTIONS)}"))
    section = nearest(written, SECTIONS)
    return None if section in document.data else section


def _problem(section: str, node: Any) -> str | None:
    """Why this cannot stand in a section, or ``None``."""
    wanted = SECTIONS[section]
    if not isinstance(node, wanted) or (wanted is int and isinstance(node, bool)):
        first = wanted[0] if isinstance(wanted, tuple) else wanted
        return f"'{section}' must be {_TYPE_NAMES[first]}"
    if section == "extends" and isinstance(node, list):
        return None if 1 <= len(node) <= MOST_BASES and all(isinstance(name, str) for name in node) else _BASES
    if section == "match" and isinstance(node, str) and node not in ("everything", "nothing"):
        return "'match' is 'everything', 'nothing' (a base for others), or keywords with values"
    return None


def _positions(document: Document, meant: dict[str, str]) -> Iterable[tuple[Place, tuple[int, int]]]:
    """Where everything stands, under the right names of the sections."""
    for place, position in document.positions.items():
        first = str(place[0]) if place else ""
        yield ((meant.get(first, first), *place[1:]) if place else place), position
