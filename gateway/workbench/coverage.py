"""What does not reach FHIR, over many files: elements and content items of reports that no rule reads, and those that a rule reads
and that are private or that nothing publishes. No values.

Every content item of a report is read, ignored on purpose (``ignore`` of its mapping says why), or unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom._uid_dict import UID_dictionary

from gateway.dicom.elements import Element
from gateway.dicom.items import Item, Root
from gateway.dicom.paths import Path as DicomPath
from gateway.dicom.paths import parse_path
from gateway.dicom.reading import Header, read_header
from gateway.dicom.sr import CONTENT
from gateway.dicom.values import Invalid
from gateway.errors import Quarantined
from gateway.mapping.language import Mappings
from gateway.mapping.rules import Mapping
from gateway.model import JsonObject
from gateway.workbench.folders import files_in
from gateway.workbench.walk import Place, Reads, fits, reads_of, tags_of

SOP_CLASS = 0x00080016
_CONCEPT = parse_path("ConceptNameCodeSequence[0]")
_NAME = tuple(map(parse_path, ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")))
_VALUE_TYPE = parse_path("ValueType")
#: Value types that no mapping can read, with the reason (PS3.3 C.18.10: a table of values that are told one by one elsewhere).
_NEVER_READ = {"TABLE": "The rows of a table stay in the document: no single fact is read of it."}
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
class Ignored:
    """One concept of reports that is left unread on purpose."""

    kind: str
    path: str
    name: str
    reason: str
    files: int

    def as_json(self) -> JsonObject:
        return {"kind": self.kind, "path": self.path, "name": self.name, "reason": self.reason, "files": self.files}


@dataclass(slots=True)
class Tree:
    """How many content items of reports were read, left on purpose, or are unknown. Each item of each file counts."""

    read: int = 0
    ignored: int = 0
    unknown: int = 0

    def as_json(self) -> JsonObject:
        return {"read": self.read, "ignored": self.ignored, "unknown": self.unknown}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Over all files: what was not read, the most frequent first within its kind, and how much was."""

    unread: tuple[Unread, ...]
    ignored: tuple[Ignored, ...]
    trees: dict[str, Tree]  #: per kind that has content items
    files: dict[str, int]  #: per kind
    read: dict[str, int]  #: different elements per kind that some rule reads
    skipped: tuple[tuple[Path, str], ...]
    read_as: tuple[Unread, ...] = ()  #: private, or in no FHIR element, and read by the field that is their ``name``

    def as_json(self) -> JsonObject:
        kinds: dict[str, JsonObject] = {
            kind: {"files": count, "read": self.read.get(kind, 0)} for kind, count in self.files.items()
        }
        skipped = [{"path": str(path), "reason": reason} for path, reason in self.skipped]
        for kind, tree in self.trees.items():
            kinds[kind]["content_items"] = tree.as_json()
        unread, ignored, read_as = ([one.as_json() for one in found] for found in (self.unread, self.ignored, self.read_as))
        return {"kinds": kinds, "unread": unread, "ignored": ignored, "read_as": read_as, "skipped": skipped}


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
    left: Counter[tuple[str, str, str, str]] = Counter()
    trees: dict[str, Tree] = {}
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
        for shown, meaning, reason in _told(header, mapping, reads, trees.setdefault(kind, Tree())) if is_report else ():
            if reason:
                left[(kind, shown, meaning, reason)] += 1
            else:
                counted[(kind, shown, "SR", meaning, "")] += reason is None
                read.setdefault(kind, set()).update([shown] if reason == "" else [])
    unread = [
        Unread(kind=kind, path=path, vr=vr, name=name, creator=creator, files=count)
        for (kind, path, vr, name, creator), count in (+counted).items()
    ]
    told = [
        Unread(kind=kind, path=place, vr="", name=field, creator=_creator_in(place), files=count)
        for (kind, place, field), count in kept.items()
    ]
    ignored = [
        Ignored(kind=kind, path=path, name=name, reason=reason, files=count)
        for (kind, path, name, reason), count in sorted(left.items())
    ]
    return Coverage(
        unread=tuple(sorted(unread, key=_order)),
        ignored=tuple(ignored),
        trees=trees,
        files=dict(files),
        read={kind: len(paths) for kind, paths in read.items()},
        skipped=tuple(skipped),
        read_as=tuple(sorted(told, key=_order)),
    )


def _order(one: Unread) -> tuple[str, int, str]:
    return one.kind, -one.files, one.path


def _creator_in(place: str) -> str:
    return place.rpartition(")[")[2].partition("]")[0] if ")[" in place else ""


def _told(header: Header, mapping: Mapping, reads: Reads, tree: Tree) -> Iterable[tuple[str, str, str | None]]:
    """The different content items of a report, each with its meaning and its :func:`judged` reason; counts all of them."""
    found = judged(content_items(Root(header)), mapping, reads)
    for _, reason in found:
        if reason is None:
            tree.unknown += 1
        elif reason:
            tree.ignored += 1
        else:
            tree.read += 1
    return dict.fromkeys((item.shown, item.meaning, reason) for item, reason in found)


def kind_of(header: Header) -> str:
    """The SOP class in words."""
    uid = header.raw(SOP_CLASS).decode("ascii", "replace").strip(" \0")
    return str(UID_dictionary[uid][0]) if uid in UID_dictionary else uid or "no SOP class"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentItem:
    """One content item of a report, by the codes of the concept names that lead to it."""

    names: Place
    value_type: str
    meaning: str
    above: int | None  #: the place of its container in the list of all items

    @property
    def shown(self) -> str:
        """``113819 DCM / 113830 DCM``; an item without a concept name is told by its value type."""
        return " / ".join(f"{code} {scheme}" if code else f"({self.value_type or 'no name'})" for scheme, code in self.names)


def content_items(root: Root) -> list[ContentItem]:
    """Every content item, each after the one that it stands in."""
    found: list[ContentItem] = []
    _collect(root, (), None, found)
    return found


def _collect(place: Root | Item, above: Place, index: int | None, found: list[ContentItem]) -> None:
    for item in _children(place):
        coded = _find(item, _CONCEPT)
        name = coded.items[0] if coded and coded.items else None
        scheme, code, meaning = ((element.text if (element := _find(name, path)) else "") if name else "" for path in _NAME)
        value_type = _find(item, _VALUE_TYPE)
        names = (*above, (scheme, code) if code else ("", ""))
        own = len(found)
        found.append(ContentItem(names=names, value_type=value_type.text if value_type else "", meaning=meaning, above=index))
        if len(names) < _DEEPEST:
            _collect(item, names, own, found)


def judged(items: list[ContentItem], mapping: Mapping, reads: Reads) -> list[tuple[ContentItem, str | None]]:
    """Each item with why it is left unread: an empty text when it is read, ``None`` when nobody knows it.

    What leads to an item that is read is read with it; what stands in an item that is ignored is ignored with it.
    """
    reasons: list[str | None] = []
    for item in items:
        around = reasons[item.above] if item.above is not None else None
        own = next((rule.reason for rule in mapping.ignored if fits(rule.path, item.names, item.value_type)), None)
        own = own or _NEVER_READ.get(item.value_type)
        read = item.value_type not in _NEVER_READ and reads.concept(item.names, item.value_type)
        reasons.append("" if read else own or around or None)
    for index in range(len(items) - 1, -1, -1):
        above = items[index].above
        if reasons[index] == "" and above is not None:
            reasons[above] = ""
    return list(zip(items, reasons, strict=True))


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
        if kind in found.trees:
            tree = found.trees[kind]
            yield f"  content items: {tree.read} read, {tree.ignored} ignored on purpose, {tree.unknown} unknown"
        width = max((len(one.path) for one in rows), default=0)
        yield from (f"  {one.files:>5}  {one.vr:<2}  {one.path:<{min(width, 90)}}  {one.name}".rstrip() for one in rows)
        if not private_only:
            left = [one for one in found.ignored if one.kind == kind]
            yield from (f"  {one.files:>5}  ignored  {one.path}  {one.name}: {one.reason}" for one in left)
        kept = [one for one in found.read_as if one.kind == kind and (one.creator or not private_only)]
        if kept:
            width = max(len(one.path) for one in kept)
            yield f"{kind}: {len(kept)} read that are private or in no FHIR element"
            yield from (f"  {one.files:>5}      {one.path:<{min(width, 90)}}  read as {one.name}" for one in kept)
        yield ""
    for path, reason in found.skipped:
        yield f"{path}: {reason}"
