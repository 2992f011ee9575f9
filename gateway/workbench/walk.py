"""Every element of an object, sequences included, by the names that mapping files use; and what the rules of a mapping read of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.datadict import dictionary_description, keyword_for_tag, private_dictionary_description, private_dictionary_VR
from pydicom.dataset import Dataset

from gateway.dicom import sr
from gateway.dicom.paths import FRAME_PATHS, Path, Step, vr_of
from gateway.dicom.sr import SrPath
from gateway.mapping.rules import FieldRule, Mapping, ResultRule
from gateway.mapping.sources import ITEM, REPEATED, FramePath, ItemPath, Plain, RootPath, plain

#: Decides how text and times of all other elements read; every mapping uses both.
ALWAYS_READ = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC"})
_DEEPEST = 16
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Tag:
    """One kind of element: where it stands, without item indexes, as a mapping would write it."""

    path: str  #: ``RadiopharmaceuticalInformationSequence.RadionuclideTotalDose``, ``(7053,xx00)[Philips PET Private Group]``
    vr: str
    name: str  #: the dictionary's words; empty when no dictionary knows it
    creator: str = ""  #: of a private element
    top: bool = True


def tags_of(dataset: Dataset, above: str = "", depth: int = 0) -> Iterator[Tag]:
    """Every element once per place; private creators, group lengths and padding are no content. Damaged sequences are passed over."""
    creators = _creators(dataset)
    for tag in sorted(dataset.keys()):
        element = tag.element
        if element == 0 or tag == 0xFFFCFFFC or (tag.group % 2 and 0x10 <= element <= 0xFF):
            continue
        if tag.group % 2:
            creator = creators.get((tag.group, element >> 8), "")
            name = f"({tag.group:04x},xx{element & 0xFF:02x})[{creator}]" if creator else f"({tag.group:04x},{element:04x})"
            known = _private(tag.group << 16 | element, creator)
        else:
            creator, name = "", keyword_for_tag(tag) or f"({tag.group:04x},{element:04x})"
            known = vr_of(int(tag)), dictionary_description(tag) if keyword_for_tag(tag) else ""
        raw = dataset.get_item(tag, keep_deferred=True)
        written = str(raw.VR) if raw is not None and raw.VR and raw.VR != "UN" else known[0]
        path = f"{above}{name}"
        yield Tag(path, written, known[1], creator, top=depth == 0)
        if written == "SQ" and depth < _DEEPEST:
            yield from dict.fromkeys(
                inner for item in _items(dataset, int(tag)) for inner in tags_of(item, f"{path}.", depth + 1)
            )


def _items(dataset: Dataset, tag: int) -> Iterable[Dataset]:
    try:
        return list(dataset[tag].value or ())
    except _DAMAGE:
        return ()


def _creators(dataset: Dataset) -> dict[tuple[int, int], str]:
    found = {}
    for tag in list(dataset.keys()):
        if tag.group % 2 and 0x10 <= tag.element <= 0xFF:
            raw = dataset.get_item(tag, keep_deferred=True)
            value = raw.value if raw is not None else None
            text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
            found[(int(tag.group), int(tag.element))] = text.strip(" \0")
    return found


def _private(tag: int, creator: str) -> tuple[str, str]:
    try:
        return private_dictionary_VR(tag, creator), private_dictionary_description(tag, creator)
    except (KeyError, ValueError):
        return "UN", ""


#: Concept names of a content item, ``(scheme, code)`` from the root on; two empty texts for one without.
Place = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """What the rules of one mapping read: paths without indexes, and content items of reports."""

    paths: frozenset[str]
    items: tuple[SrPath, ...]

    def tag(self, path: str) -> bool:
        """A path is read when a rule names it, something above it (a whole coded item), or something below it."""
        if path in ALWAYS_READ or path in self.paths:
            return True
        return any(path.startswith(f"{read}.") or read.startswith(f"{path}.") for read in self.paths)

    def concept(self, names: Place, value_type: str = "") -> bool:
        """The same for a content item. What leads to one that is read is read with it, as far as its path is plain."""
        return any(fits(path, names, value_type) or _leads(path.steps, names) for path in self.items)


def fits(path: SrPath, names: Place, value_type: str) -> bool:
    """Whether a content item stands at a path."""
    if path.value_types and value_type and value_type not in path.value_types:
        return False
    return not (names and names[-1] in path.without) and _stands(path.steps, names)


def _stands(steps: tuple[sr.Names, ...], names: Place) -> bool:
    if not steps:
        return not names
    if steps[0] == sr.BELOW:
        if len(steps) == 1:
            return bool(names)
        return any(_stands(steps[1:], names[skipped:]) for skipped in range(len(names) + 1))
    return bool(names) and (steps[0] == sr.ANY or names[0] in steps[0]) and _stands(steps[1:], names[1:])


def _leads(steps: tuple[sr.Names, ...], names: Place) -> bool:
    fixed = steps[: steps.index(sr.BELOW)] if sr.BELOW in steps else steps[:-1]
    return len(names) <= len(fixed) and all(step != sr.ANY and name in step for name, step in zip(names, fixed, strict=False))


def reads_of(mapping: Mapping) -> Reads:
    """Everything a mapping looks at in an object, its ``match`` included."""
    found = _Found(mapping)
    found.paths |= {_keyword(rule.subject) for rule in mapping.conditions if isinstance(rule.subject, int)}
    for rule in mapping.fields:
        found.rule(rule, {REPEATED: (mapping.repeated,) if mapping.repeated else ()})
    for result in mapping.results:
        found.result(result, {REPEATED: (mapping.repeated,) if mapping.repeated else ()})
    return Reads(frozenset(found.paths), tuple(dict.fromkeys(found.items)))


class _Found:
    def __init__(self, mapping: Mapping) -> None:
        self.paths: set[str] = set()
        self.items: list[SrPath] = []
        if isinstance(mapping.repeated, SrPath):
            self.items.append(mapping.repeated)

    def result(self, rule: ResultRule, containers: dict[str, tuple[Path | SrPath, ...]]) -> None:
        """The same for a result and all its members."""
        self._sources((source for source in rule.looked_at() if getattr(source, "item", None) != ITEM), containers)
        items = tuple(place for source in rule.sources for place in _standing(plain(source), containers))
        for one in rule.fields:
            self.rule(one, {**containers, ITEM: items})

    def rule(self, rule: FieldRule, containers: dict[str, tuple[Path | SrPath, ...]]) -> None:
        """``containers``: where the items stand that paths may start from."""
        self._sources(rule.looked_at(), containers)
        inner = tuple(place for source in rule.sources.get("items", ()) for place in _standing(plain(source), containers))
        for one in rule.items:
            self.rule(one, {**containers, ITEM: inner})

    def _sources(self, sources: Iterable[Plain], containers: dict[str, tuple[Path | SrPath, ...]]) -> None:
        for source in sources:
            if isinstance(source, RootPath):
                self._add(source.path)
            elif isinstance(source, FramePath):
                self.paths |= {f"{_name(groups)}.{_name(source.path)}" for groups in FRAME_PATHS}
            elif isinstance(source, ItemPath):
                for container in containers.get(source.item, ()):
                    self._add(source.path, container)

    def _add(self, path: Path | SrPath, container: Path | SrPath | None = None) -> None:
        if isinstance(path, SrPath):
            self.items += _below(container if isinstance(container, SrPath) else None, path)
        else:
            self.paths.add(f"{_name(container)}.{_name(path)}" if isinstance(container, Path) else _name(path))


def _standing(source: Plain, containers: dict[str, tuple[Path | SrPath, ...]]) -> Iterator[Path | SrPath]:
    """Where the items of a ``for_each`` stand, from the top of the object on as far as that can be written as one path."""
    path = getattr(source, "path", None)
    if isinstance(path, SrPath) and isinstance(source, ItemPath):
        for container in containers.get(source.item, ()):
            if isinstance(container, SrPath):
                yield from _below(container, path)
    elif isinstance(path, Path | SrPath):
        yield path


def _below(container: SrPath | None, path: SrPath) -> Iterator[SrPath]:
    """A path from an item of a ``for_each``, from the top on: itself, and around each item above where it may be ``nearest``."""
    above = container.steps if container else ()
    outermost = max((index + 1 for index, step in enumerate(above) if step & path.within), default=0)
    starts = [above[:length] for length in range(outermost, len(above) + 1)] if path.nearest else [above]
    for start in starts:
        itself = container if container and not path.steps else path
        value_types = path.value_types or itself.value_types
        if len(start) + len(path.steps) <= sr.DEEPEST:
            yield SrPath(path.text, (*start, *path.steps), value_types=value_types, without=itself.without)


def _name(path: Path) -> str:
    return ".".join(map(_step, path.steps))


def _step(step: Step) -> str:
    if step.creator is not None:
        return f"({step.tag >> 16:04x},xx{step.tag & 0xFF:02x})[{step.creator}]"
    return _keyword(step.tag)


def _keyword(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
