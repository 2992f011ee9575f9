"""Mapping files before compilation: read, shapes checked, ``extends`` resolved. Every key remembers the file it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import yamlfile
from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.mapping.matching import ALIASES
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
#: Of more bases and deeper lines nobody can say what holds.
MOST_BASES, DEEPEST_LINE = 8, 16
#: Folders that hold mappings; ``codes`` and ``tables`` hold data.
FOLDERS = (".", "vendors", "sites")


@dataclass(frozen=True)
class Origin:
    """Where a piece of YAML stands."""

    document: Document
    place: Place

    def complain(self, text: str, *below: str | int) -> Complaint:
        return complain(self.document, (*self.place, *below), text)


@dataclass(frozen=True)
class Piece:
    """A piece of YAML with its origin."""

    node: Any
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Effective:
    """One mapping with everything it inherits."""

    name: str
    document: Document
    lineage: tuple[str, ...]
    match: dict[str, tuple[Piece, ...]]  #: of one key several conditions, those of the bases first: all must fit
    let: dict[str, Piece]
    for_each: dict[str, Piece]
    fields: dict[str, Piece]
    resources: dict[str, Piece]
    example: dict[str, Any]
    results: dict[str, Piece] = field(default_factory=dict)
    ignore: dict[str, Piece] = field(default_factory=dict)  #: content items of reports that are left on purpose
    dicom: dict[str, Piece] = field(default_factory=dict)  #: ``charset``, ``identity``, ``elements.<path>``
    priority: int = 0
    shadow: bool = False
    depth: int = 1  #: itself and the bases of its longest line
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def abstract(self) -> bool:
        """``match: nothing``: a base for others, itself never chosen."""
        return bool(self.own.get("match") == "nothing")


def read_files(directory: Path, complaints: list[Complaint]) -> dict[str, Document]:
    """Every mapping file of a directory and its ``vendors`` and ``sites``, by name."""
    documents: dict[str, Document] = {}
    for folder in FOLDERS:
        for path in sorted((directory / folder).glob("*.yaml")):
            shown = str(path.relative_to(directory))
            try:
                document = yamlfile.read(path, name=shown)
            except Misconfigured as error:
                complaints += [_from_text(shown, line) for line in error.complaints]
                continue
            if path.stem in documents:
                complaints.append(complain(document, (), f"a mapping named '{path.stem}' exists twice"))
            elif _well_shaped(document, complaints):
                documents[path.stem] = document
    if not documents and not complaints:
        complaints.append(Complaint(directory.name, 1, 1, "there is no mapping file here"))
    return documents


def resolve(documents: dict[str, Document], complaints: list[Complaint]) -> list[Effective]:
    """Follow ``extends``; bases come before what extends them. A key is taken from the last file of the line that itself wrote it."""
    done: dict[str, Effective | None] = {}
    own = {name: {section: _own(document, section) for section in INHERITED} for name, document in documents.items()}

    def visit(name: str, below: tuple[str, ...]) -> Effective | None:
        if name in done:
            return done[name]
        document = documents[name]
        bases = []
        for place, base_name in _base_names(document):
            problem = _base_problem(base_name, name, below, documents)
            if problem:
                complaints.append(complain(document, place, problem))
                return done.setdefault(name, None)
            bases.append(visit(base_name, (*below, name)))
        if any(base is None for base in bases):
            return done.setdefault(name, None)
        found = [base for base in bases if base]
        lineage = line_of(name, [base.lineage for base in found])
        if lineage is None:
            text = "these bases contradict each other's order: a base stands before what extends it, and two that others list stay in order"
            complaints.append(complain(document, ("extends",), text))
            return done.setdefault(name, None)
        done[name] = _merge(name, lineage, documents, own, found, complaints)
        return done[name]

    for name in documents:
        visit(name, ())
    return [one for one in done.values() if one]


def line_of(name: str, lines: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Of the lines of its bases, in their order, the one line of a mapping: what wins stands later.

    As Python orders base classes (C3): nobody stands before its own base, and bases keep the order in which they are listed. So what
    two bases merely inherit from a third never wins over what either of them wrote. ``None`` when there is no such order.
    """
    left = [*map(list, lines), [line[-1] for line in lines]]
    merged: list[str] = []
    while left := [line for line in left if line]:
        first = next((line[0] for line in left if not any(line[0] in other[1:] for other in left)), None)
        if first is None:
            return None
        merged.append(first)
        left = [line[1:] if line[0] == first else line for line in left]
    return (*merged, name)


def _base_names(document: Document) -> list[tuple[Place, Any]]:
    """What a file extends: one name, or a list of them; each with its place."""
    node = document.data.get("extends")
    if isinstance(node, list):
        return [(("extends", index), name) for index, name in enumerate(node)]
    return [(("extends",), node)] if node is not None else []


def _base_problem(base: Any, name: str, below: tuple[str, ...], documents: dict[str, Document]) -> str | None:
    if not isinstance(base, str) or base not in documents:
        return f"there is no mapping '{base}'{did_you_mean(str(base), documents)}"
    if base in (*below, name):
        return f"'{name}' extends itself"
    return f"more than {DEEPEST_LINE} mappings extend each other" if len(below) >= DEEPEST_LINE else None


def _merge(
    name: str,
    lineage: tuple[str, ...],
    documents: dict[str, Document],
    own: dict[str, dict[str, dict[str, Piece]]],
    bases: list[Effective],
    complaints: list[Complaint],
) -> Effective:
    document = documents[name]
    _complain_of_own(document, own[name], bases, complaints)
    sections = {section: _section([own[one][section] for one in lineage]) for section in INHERITED if section != "match"}
    priorities = [documents[one].data["priority"] for one in lineage if "priority" in documents[one].data]
    return Effective(
        name=name,
        document=document,
        lineage=lineage,
        match=_conditions([own[one]["match"] for one in lineage]),
        **sections,
        priority=priorities[-1] if priorities else 0,
        shadow=document.data.get("shadow", any(base.shadow for base in bases)),
        depth=1 + max((base.depth for base in bases), default=0),
        example=_example([documents[one].data.get("example") or {} for one in lineage]),
        own=document.data,
    )


def _own(document: Document, section: str) -> dict[str, Piece]:
    """What a file itself writes in a section, by key; of ``match`` short words count as the keywords that they stand for."""
    if section == "dicom":
        return _dicom_pieces(document)
    nodes = document.data.get(section)
    places = nodes if isinstance(nodes, dict) else {}
    pieces = {key: Piece(node, Origin(document, (section, key))) for key, node in places.items()}
    return {ALIASES.get(key, key): piece for key, piece in pieces.items()} if section == "match" else pieces


def _complain_of_own(
    document: Document, own: dict[str, dict[str, Piece]], bases: list[Effective], complaints: list[Complaint]
) -> None:
    for section, pieces in own.items():
        inherited = {key for base in bases for key in getattr(base, section)}
        for key, piece in pieces.items():
            if piece.node is None and key not in inherited:
                complaints.append(piece.origin.complain(f"'{key}' is not inherited: there is nothing to take away"))
    match = document.data.get("match")
    for written in match if isinstance(match, dict) else ():
        keyword = ALIASES.get(written)
        if keyword is not None and keyword in match:
            text = f"'{keyword}' is matched twice, by its short word and by its keyword"
            complaints.append(complain(document, ("match", keyword), text))


def _section(line: Iterable[dict[str, Piece]]) -> dict[str, Piece]:
    """The keys of a line of files, the base first; a later key stands instead of an earlier one, ``key: null`` takes one away."""
    merged: dict[str, Piece] = {}
    for pieces in line:
        for key, piece in pieces.items():
            if piece.node is not None:
                merged[key] = piece
            else:
                merged.pop(key, None)
    return merged


def _conditions(line: Iterable[dict[str, Piece]]) -> dict[str, tuple[Piece, ...]]:
    """What a line of files matches, by key: all of it must fit, so a later condition narrows. Only ``key: null`` takes away."""
    merged: dict[str, tuple[Piece, ...]] = {}
    for pieces in line:
        for key, piece in pieces.items():
            if piece.node is not None:
                merged[key] = (*merged.get(key, ()), piece)
            else:
                merged.pop(key, None)
    return merged


def _example(line: Iterable[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for example in line:
        merged |= example
    return {key: value for key, value in merged.items() if value is not None}


def _dicom_pieces(document: Document) -> dict[str, Piece]:
    """The keys of ``dicom`` that are inherited one by one, those of ``elements`` among them; ``null`` takes one away."""
    section = document.data.get("dicom") or {}
    flat = {key: Piece(node, Origin(document, ("dicom", key))) for key, node in section.items() if key != "elements"}
    elements = section.get("elements")
    if not isinstance(elements, dict):
        return flat if elements is None else {**flat, "elements": Piece(elements, Origin(document, ("dicom", "elements")))}
    places = {path: Origin(document, ("dicom", "elements", path)) for path in elements}
    return {**flat, **{f"elements.{path}": Piece(elements[path], origin) for path, origin in places.items()}}


def _well_shaped(document: Document, complaints: list[Complaint]) -> bool:
    if not isinstance(document.data, dict):
        complaints.append(complain(document, (), "a mapping file holds sections such as 'match' and 'fields'"))
        return False
    found = list(_shape_complaints(document))
    complaints += found
    return not found


def _shape_complaints(document: Document) -> Iterable[Complaint]:
    for section, node in document.data.items():
        wanted = SECTIONS.get(section)
        if wanted is None:
            yield complain(document, (section,), f"unknown section '{section}'{did_you_mean(section, SECTIONS)}")
        elif not isinstance(node, wanted) or (wanted is int and isinstance(node, bool)):
            first = wanted[0] if isinstance(wanted, tuple) else wanted
            yield complain(document, (section,), f"'{section}' must be {_TYPE_NAMES[first]}")
    bases = document.data.get("extends")
    if isinstance(bases, list) and not (1 <= len(bases) <= MOST_BASES and all(isinstance(name, str) for name in bases)):
        yield complain(document, ("extends",), f"'extends' is the name of a mapping, or a list of 1 to {MOST_BASES} names")
    if "match" not in document.data:
        yield complain(document, (), "say what this mapping is for: 'match' is missing ('match: everything' for all objects)")
    elif isinstance(document.data["match"], str) and document.data["match"] not in ("everything", "nothing"):
        yield complain(document, ("match",), "'match' is 'everything', 'nothing' (a base for others), or keywords with values")


def _from_text(shown: str, line: str) -> Complaint:
    """A complaint of the YAML reader, its position kept."""
    parts = line.removeprefix(f"{shown}:").split(":", 2)
    if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit():
        return Complaint(shown, int(parts[0]), int(parts[1]), parts[2].strip())
    if parts[0].isdigit():
        return Complaint(shown, int(parts[0]), 1, ":".join(parts[1:]).strip())
    return Complaint(shown, 1, 1, line.removeprefix(f"{shown}:").strip())
