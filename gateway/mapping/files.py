"""Mapping files before compilation: read, shapes checked, ``extends`` resolved. Every key remembers the file it came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import yamlfile
from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.yamlfile import Document, Place

#: Sections and the type each must have. ``resources`` and ``tests`` are looked into later.
SECTIONS: dict[str, type | tuple[type, ...]] = {
    "extends": str,
    "match": (dict, str),
    "let": dict,
    "for_each": dict,
    "fields": dict,
    "resources": dict,
    "example": dict,
    "tests": list,
    "shadow": bool,
}
_TYPE_NAMES: dict[type, str] = {dict: "a mapping of keys", list: "a list", str: "a word", bool: "true or false"}
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
    match: dict[str, Piece]
    let: dict[str, Piece]
    for_each: dict[str, Piece]
    fields: dict[str, Piece]
    resources: dict[str, Piece]
    example: dict[str, Any]
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
    """Follow ``extends``; bases come before what extends them."""
    done: dict[str, Effective] = {}

    def visit(name: str, below: tuple[str, ...]) -> Effective | None:
        if name in done:
            return done[name]
        document = documents[name]
        base_name = document.data.get("extends")
        base: Effective | None = None
        if base_name is not None:
            if base_name not in documents:
                hint = did_you_mean(base_name, documents)
                complaints.append(complain(document, ("extends",), f"there is no mapping '{base_name}'{hint}"))
                return None
            if base_name in (*below, name):
                complaints.append(complain(document, ("extends",), f"'{name}' extends itself"))
                return None
            base = visit(base_name, (*below, name))
            if base is None:
                return None
        done[name] = _merge(name, document, base)
        return done[name]

    for name in documents:
        visit(name, ())
    return list(done.values())


def _merge(name: str, document: Document, base: Effective | None) -> Effective:
    data = document.data
    match = data.get("match")
    own_match = match if isinstance(match, dict) else {}
    return Effective(
        name=name,
        document=document,
        lineage=(*(base.lineage if base else ()), name),
        match={**(base.match if base else {}), **_pieces(document, "match", own_match)},
        let={**(base.let if base else {}), **_pieces(document, "let", data.get("let"))},
        for_each={**(base.for_each if base else {}), **_pieces(document, "for_each", data.get("for_each"))},
        fields={**(base.fields if base else {}), **_pieces(document, "fields", data.get("fields"))},
        resources={**(base.resources if base else {}), **_pieces(document, "resources", data.get("resources"))},
        example={**(base.example if base else {}), **(data.get("example") or {})},
        own=data,
    )


def _pieces(document: Document, section: str, nodes: dict[str, Any] | None) -> dict[str, Piece]:
    return {key: Piece(node, Origin(document, (section, key))) for key, node in (nodes or {}).items()}


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
        elif not isinstance(node, wanted):
            first = wanted[0] if isinstance(wanted, tuple) else wanted
            yield complain(document, (section,), f"'{section}' must be {_TYPE_NAMES[first]}")
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
