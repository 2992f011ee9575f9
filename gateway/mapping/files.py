"""Mapping files before compilation: read, shapes checked, ``extends`` resolved. Every key remembers the file it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import yamlfile
from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, as_meant, complain, did_you_mean, from_text, nearest
from gateway.mapping.file_shape import INHERITED, MappingFile, shaped, unread
from gateway.mapping.matching import ALIASES
from gateway.mapping.taken_away import SECTIONS as TAKEN_FROM
from gateway.mapping.taken_away import TakenAway
from gateway.yamlfile import Document, Place

#: Of deeper lines nobody can say what holds.
DEEPEST_LINE = 16
#: Folders that hold mappings; ``codes`` and ``tables`` hold data.
FOLDERS = (".", "vendors", "sites")


@dataclass(frozen=True)
class Origin:
    """Where a piece of YAML stands."""

    document: Document
    place: Place
    written: Mapping[str, str] = field(default_factory=dict)  #: keys below it that are misspelt there: as meant -> as written

    def complain(self, text: str, *below: str | int) -> Complaint:
        return complain(self.document, self.below(*below).place, text)

    def below(self, *keys: str | int) -> Origin:
        """What stands below, under the keys that are meant."""
        first, rest = keys[:1], keys[1:]
        return Origin(self.document, (*self.place, *(self.written.get(str(key), key) for key in first), *rest))

    def as_meant(self, node: dict[str, Any], known: Collection[str]) -> tuple[dict[str, Any], Origin]:
        """A mapping with its misspelt keys under the names that are meant, and where they stand."""
        meant = as_meant(node, known)
        if not meant:
            return node, self
        renamed = {written: key for key, written in meant.items()}
        return {renamed.get(key, key): value for key, value in node.items()}, Origin(self.document, self.place, meant)


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
    left_out: frozenset[str] = frozenset()  #: sections of it or of its bases that could not be read
    taken: TakenAway = field(default_factory=lambda: TakenAway({}, ()))

    @property
    def lacks(self) -> bool:
        """Something of what it holds or inherits could not be read: that a name is missing proves nothing."""
        return not self.left_out.isdisjoint(("extends", *INHERITED))

    @property
    def abstract(self) -> bool:
        """``match: nothing``: a base for others, itself never chosen."""
        return bool(self.own.get("match") == "nothing")


def read_files(directory: Path, complaints: list[Complaint]) -> dict[str, MappingFile]:
    """Every mapping file of a directory and its ``vendors`` and ``sites``, by name; of one with mistakes all that can be read."""
    documents: dict[str, MappingFile] = {}
    for folder in FOLDERS:
        for path in sorted((directory / folder).glob("*.yaml")):
            shown = str(path.relative_to(directory))
            problems: list[str] = []
            try:
                document = yamlfile.read(path, name=shown, problems=problems)
            except Misconfigured as error:
                complaints += [from_text(shown, line) for line in error.complaints]
                documents.setdefault(path.stem, unread(shown))
                continue
            complaints += [from_text(shown, line) for line in problems]
            if path.stem in documents:
                complaints.append(complain(document, (), f"a mapping named '{path.stem}' exists twice"))
            else:
                documents[path.stem] = shaped(document, complaints)
    if not documents and not complaints:
        complaints.append(Complaint(directory.name, 1, 1, "there is no mapping file here"))
    return documents


def resolve(documents: Mapping[str, MappingFile], complaints: list[Complaint]) -> list[Effective]:
    """Follow ``extends``; bases come before what extends them. A key is taken from the last file of the line that itself wrote it.

    A base that cannot be followed is a complaint, and the mapping is made without it (of a misspelt one, with the one that was
    meant), so that its other mistakes are told as well.
    """
    done: dict[str, Effective] = {}
    own = {name: {section: _own(document, section) for section in INHERITED} for name, document in documents.items()}

    def visit(name: str, below: tuple[str, ...]) -> Effective:
        if name in done:
            return done[name]
        document, left_out = documents[name], set(documents[name].left_out)
        bases: dict[str, Effective] = {}
        for place, written in _base_names(document):
            problem = _base_problem(written, name, below, documents)
            if problem:
                complaints.append(complain(document, place, problem))
            base = _meant(written, name, below, documents) if problem else str(written)
            if base is None:
                left_out.add("extends")
            else:
                bases.setdefault(base, visit(base, (*below, name)))
        found = list(bases.values())
        lineage = line_of(name, [base.lineage for base in found])
        if lineage is None:
            text = "these bases contradict each other's order: a base stands before what extends it, and two that others list stay in order"
            complaints.append(complain(document, ("extends",), text))
            lineage = (*dict.fromkeys(one for base in found for one in base.lineage), name)
        left_out = left_out.union(*(base.left_out for base in found))
        done[name] = _merge(name, lineage, documents, own, found, left_out)
        complaints.extend(_own_problems(done[name], own[name], found))
        return done[name]

    for name in documents:
        visit(name, ())
    return list(done.values())


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


def _meant(written: Any, name: str, below: tuple[str, ...], documents: Mapping[str, MappingFile]) -> str | None:
    """Of a base that does not exist the one with the nearest name, where that may be a base here."""
    base = nearest(str(written), documents) if written not in documents else None
    return base if base and not _base_problem(base, name, below, documents) else None


def _base_problem(base: Any, name: str, below: tuple[str, ...], documents: Mapping[str, MappingFile]) -> str | None:
    if not isinstance(base, str) or base not in documents:
        return f"there is no mapping '{base}'{did_you_mean(str(base), documents)}"
    if base in (*below, name):
        return f"'{name}' extends itself"
    return f"more than {DEEPEST_LINE} mappings extend each other" if len(below) >= DEEPEST_LINE else None


def _merge(
    name: str,
    lineage: tuple[str, ...],
    documents: Mapping[str, MappingFile],
    own: dict[str, dict[str, dict[str, Piece]]],
    bases: list[Effective],
    left_out: Iterable[str],
) -> Effective:
    document = documents[name]
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
        left_out=frozenset(left_out),
        taken=TakenAway(_taken_away([own[one] for one in lineage]), lineage),
    )


def _own(document: Document, section: str) -> dict[str, Piece]:
    """What a file itself writes in a section, by key; of ``match`` short words count as the keywords that they stand for."""
    if section == "dicom":
        return _dicom_pieces(document)
    nodes = document.data.get(section)
    places = nodes if isinstance(nodes, dict) else {}
    pieces = {key: Piece(node, Origin(document, (section, key))) for key, node in places.items()}
    return {ALIASES.get(key, key): piece for key, piece in pieces.items()} if section == "match" else pieces


def _own_problems(one: Effective, own: dict[str, dict[str, Piece]], bases: list[Effective]) -> Iterable[Complaint]:
    for section, pieces in own.items():
        inherited = {key for base in bases for key in getattr(base, section)}
        for key, piece in pieces.items():
            if piece.node is None and key not in inherited and not one.lacks:
                yield piece.origin.complain(f"'{key}' is not inherited: there is nothing to take away")
    match = one.own.get("match")
    words = match if isinstance(match, dict) else {}
    for written in words:
        keyword = ALIASES.get(written)
        if keyword is not None and keyword in words:
            text = f"'{keyword}' is matched twice, by its short word and by its keyword"
            yield complain(one.document, ("match", keyword), text)


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


def _taken_away(line: Iterable[dict[str, dict[str, Piece]]]) -> dict[tuple[str, str], Origin]:
    """Of the keys that others name those which the last of a line of files that writes them takes away, and where."""
    last = {(section, key): piece for own in line for section in TAKEN_FROM for key, piece in own[section].items()}
    return {key: piece.origin for key, piece in last.items() if piece.node is None}


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
