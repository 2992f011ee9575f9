"""What does not reach FHIR, over many files: elements and content items of reports that no rule reads, and those that a rule reads
and that are private or that nothing publishes. No values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from gateway.dicom.paths import Element, Item, Root, parse_path
from gateway.dicom.paths import Path as DicomPath
from gateway.dicom.reading import Header, read_header
from gateway.dicom.sr import CONTENT
from gateway.dicom.values import Invalid
from gateway.errors import Quarantined
from gateway.mapping.language import Mappings
from gateway.model import JsonObject
from gateway.workbench.folders import files_in
from gateway.workbench.walk import Reads, reads_of, tags_of

SOP_CLASS = 0x00080016
_CONCEPT = parse_path("ConceptNameCodeSequence[0]")
_NAME = tuple(map(parse_path, ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")))
_DEEPEST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """One kind of element, or one concept of reports, that no rule reads."""

    kind: str  #: the SOP class
    path: str  #: as a mapping would write it
    vr: str  #: ``SR`` for a content item
    name: str
    creator: str
    files: int

    def as_json(self) -> JsonObject:
        return {
            "kind": self.kind, "path": self.path, "vr": self.vr, "name": self.name, "creator": self.creator, "files": self.files,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Over all files: what was not read, the most frequent first within its kind, and how much was."""

    unread: tuple[Unread, ...]
    files: dict[str, int]  #: per kind
    read: dict[str, int]  #: different elements per kind that some rule reads
    skipped: tuple[tuple[Path, str], ...]
    read_as: tuple[Unread, ...] = ()  #: private, or in no FHIR element, and read by the field that is their ``name``

    def as_json(self) -> JsonObject:
        kinds = {kind: {"files": count, "read": self.read.get(kind, 0)} for kind, count in self.files.items()}
        skipped = [{"path": str(path), "reason": reason} for path, reason in self.skipped]
        read_as = [one.as_json() for one in self.read_as]
        return {
            "kinds": kinds, "unread": [one.as_json() for one in self.unread], "read_as": read_as, "skipped": skipped,
        }  # fmt: skip


def coverage(
    paths: Iterable[Path], mappings: Mappings, read_as: Callable[[Path], Sequence[tuple[str, str]]] | None = None
) -> Coverage:
    """Look through files and folders; what is no DICOM, or fits no mapping, is told and passed over.

    ``read_as`` tells of a file what is read and should not be passed over (:mod:`gateway.workbench.read_as`); it is asked once for
    all files in which the same elements stand.
    """
    counted: Counter[tuple[str, str, str, str, str]] = Counter()
    files: Counter[str] = Counter()
    read: dict[str, set[str]] = {}
    known: dict[str, Reads] = {}
    kept: Counter[tuple[str, str, str]] = Counter()
    asked: dict[tuple[str, frozenset[str]], Sequence[tuple[str, str]]] = {}
    skipped = []
    for path in files_in(paths):
        try:
            header = read_header(path)
            mapping = mappings.for_header(header)
        except (Quarantined, OSError) as error:
            skipped.append((path, error.reason if isinstance(error, Quarantined) else str(error.strerror)))
            continue
        reads = known.setdefault(mapping.name, reads_of(mapping))
        kind = kind_of(header)
        files[kind] += 1
        is_report = CONTENT.steps[0].tag in header.walk.elements
        tags = list(dict.fromkeys(tags_of(header.dataset)))
        if read_as is not None:
            alike = (mapping.name, frozenset(tag.path for tag in tags))
            if alike not in asked:
                asked[alike] = read_as(path)
            kept.update((kind, place, field) for place, field in asked[alike])
        for tag in tags:
            if is_report and tag.path.startswith(CONTENT.text):
                continue
            if reads.tag(tag.path):
                read.setdefault(kind, set()).add(tag.path)
            else:
                counted[(kind, tag.path, tag.vr, tag.name, tag.creator)] += 1
        for names, meaning in dict(content_items(Root(header))).items() if is_report else ():
            shown = " / ".join(f"{code} {scheme}" for scheme, code in names)
            if reads.concept(names):
                read.setdefault(kind, set()).add(shown)
            else:
                counted[(kind, shown, "SR", meaning, "")] += 1
    unread = [
        Unread(kind=kind, path=path, vr=vr, name=name, creator=creator, files=count)
        for (kind, path, vr, name, creator), count in counted.items()
    ]
    told = [
        Unread(kind=kind, path=place, vr="", name=field, creator=_creator_in(place), files=count)
        for (kind, place, field), count in kept.items()
    ]
    return Coverage(
        unread=tuple(sorted(unread, key=_order)),
        files=dict(files),
        read={kind: len(paths) for kind, paths in read.items()},
        skipped=tuple(skipped),
        read_as=tuple(sorted(told, key=_order)),
    )


def _order(one: Unread) -> tuple[str, int, str]:
    return one.kind, -one.files, one.path


def _creator_in(place: str) -> str:
    return place.rpartition(")[")[2].partition("]")[0] if ")[" in place else ""


def kind_of(header: Header) -> str:
    """The SOP class in words."""
    uid = header.raw(SOP_CLASS).decode("ascii", "replace").strip(" \0")
    return str(UID_dictionary[uid][0]) if uid in UID_dictionary else uid or "no SOP class"


def content_items(
    place: Root | Item, above: tuple[tuple[str, str], ...] = ()
) -> Iterator[tuple[tuple[tuple[str, str], ...], str]]:
    """Every content item by the codes of its concept names, ``(scheme, code)`` from the root on, with its meaning."""
    for item in _children(place):
        found = _find(item, _CONCEPT)
        coded = found.items[0] if found and found.items else None
        scheme, code, meaning = ((element.text if (element := _find(coded, path)) else "") if coded else "" for path in _NAME)
        names = (*above, (scheme, code))
        if code:
            yield names, meaning
        if len(names) < _DEEPEST:
            yield from content_items(item, names)


def _children(place: Root | Item) -> tuple[Item, ...]:
    found = _find(place, CONTENT)
    return found.items if found else ()


def _find(place: Root | Item, path: DicomPath) -> Element | None:
    try:
        return place.find(path)
    except Invalid:
        return None


def coverage_lines(found: Coverage, *, private_only: bool = False) -> Iterator[str]:
    """For the terminal: per kind a table, private elements under their creator's name."""
    for kind, count in sorted(found.files.items()):
        rows = [one for one in found.unread if one.kind == kind and (one.creator or not private_only)]
        yield f"{kind}: {count} files, {found.read.get(kind, 0)} elements read, {len(rows)} not read"
        width = max((len(one.path) for one in rows), default=0)
        yield from (f"  {one.files:>5}  {one.vr:<2}  {one.path:<{min(width, 90)}}  {one.name}".rstrip() for one in rows)
        kept = [one for one in found.read_as if one.kind == kind and (one.creator or not private_only)]
        if kept:
            width = max(len(one.path) for one in kept)
            yield f"{kind}: {len(kept)} read that are private or in no FHIR element"
            yield from (f"  {one.files:>5}      {one.path:<{min(width, 90)}}  read as {one.name}" for one in kept)
        yield ""
    for path, reason in found.skipped:
        yield f"{path}: {reason}"
