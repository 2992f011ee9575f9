"""Paths to DICOM elements, and reading what stands there as text. After the walker, before any meaning.

A path is keywords with item indexes, as ``RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose``; ``[*]`` stands for
all items; a value index picks one of several values, as ``ImageType[2]``; a private element is named through its creator,
wherever its block lies (PS3.5 section 7.8), at the top or inside sequences: ``(7053,xx00)[Philips PET Private Group]``.

Whatever is read costs steps of a :class:`Budget`, so that no object, however hostile, can keep a worker busy.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, TypeAlias

from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.charset import CHARSET_TAG, CHARSET_VRS, decode, encodings_of
from gateway.dicom.raw_items import RawItem, read_items
from gateway.dicom.values import Invalid
from gateway.dicom.written import private_tag, raw_bytes, written
from gateway.errors import Quarantined
from gateway.model import UNKNOWN, Came

_STEP = re.compile(
    r"(?:(?P<keyword>[A-Za-z]\w*)|\((?P<group>[0-9A-Fa-f]{4}),(?P<element>xx[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})\)"
    r"(?:\[(?P<creator>(?!\*\])[^\]]*[^\]\d][^\]]*)\])?)(?:\[(?P<index>\d{1,3}|\*)\])?(?:\.|$)"
)
_BARE_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-fx]{4})\)?")
_LONGEST = 512
#: No coded item is longer than that.
_SHORT_BYTES = 512
#: The index of ``[*]``.
ALL = -1
#: What one object may cost: elements, values and items looked at, over all fields of a mapping. Honest objects need a few
#: thousand, a multi-frame image with 2,000 frames some 100,000.
MOST_STEPS = 500_000
TEXT_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_UNSPLIT_VRS = frozenset(["ST", "LT", "UT", "UR"])
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
#: What pydicom raises on sequences that lie about themselves.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, NotImplementedError, struct.error)


class Budget:
    """The steps that reading one object may still take. Deterministic: it counts, it does not look at the clock."""

    __slots__ = ("left", "most")

    def __init__(self, most: int = MOST_STEPS) -> None:
        self.left = self.most = most

    def spend(self, steps: int) -> None:
        """Raises :class:`Quarantined` when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise Quarantined(f"Reading this object by its mapping takes more than {self.most:,} steps; it is not read further.")


class PathError(ValueError):
    """A path that cannot be right, with the reason."""

    def __init__(self, reason: str, keyword: str | None = None) -> None:
        super().__init__(reason)
        self.keyword = keyword  #: the unknown word, for a suggestion


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a standard tag, or the last two digits of a private one with its creator."""

    tag: int
    creator: str | None = None
    index: int | None = None  #: of an item or a value; ``ALL`` for ``[*]``


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. ``text`` is how it was written."""

    text: str
    steps: tuple[Step, ...]
    several: bool = False  #: it may lead to several places, by ``[*]``


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is present with a value: its values as written, or its items."""

    path: str
    texts: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    unit: str = ""  #: UCUM code that came with the number, in a structured report
    binary: bytes = b""  #: the bytes of an OB, which is no text: only a converter that asks for bytes looks at them

    @property
    def text(self) -> str:
        """All values as one text, as they stand in the file."""
        return "\\".join(self.texts)


class HeaderLike(Protocol):
    """What is read: :class:`gateway.dicom.reading.Header` or anything that offers the same."""

    file_meta: Mapping[int, bytes]
    came: Came

    @property
    def dataset(self) -> Dataset: ...

    def raw(self, tag: int) -> bytes: ...

    def tags(self) -> Iterable[int]: ...

    def vr(self, tag: int) -> str: ...


#: The children of a container of a report by the code of their concept name, with their place; see :mod:`gateway.dicom.sr`.
Content: TypeAlias = "dict[tuple[str, str], list[tuple[int, Item]]]"


class Item:
    """A data set inside a sequence: finds elements; inherits the character set (PS3.3 C.12.1.1.2)."""

    __slots__ = ("__weakref__", "_dataset", "_encodings", "_opened", "budget", "content")

    def __init__(self, dataset: Dataset | RawItem, encodings: tuple[str, ...], budget: Budget | None = None) -> None:
        self._dataset = dataset
        self.budget = budget or Budget()
        own = b"" if isinstance(dataset, RawItem) and CHARSET_TAG not in dataset.elements else raw_bytes(dataset, CHARSET_TAG)
        self._encodings = encodings_of(own) if own else encodings
        self._opened: dict[int, tuple[Item, ...]] | None = None
        self.content: Content | None = None

    def find(self, path: Path) -> Element | None:
        """The element at a path, or ``None`` when it is absent or empty. Raises :class:`Invalid` when it is unreadable."""
        return _find(self, path)

    def element(self, step: Step, text: str) -> Element | None:
        self.budget.spend(1)
        return _element_of(self, self._dataset, step, text)

    def opened(self, tag: int) -> tuple[Item, ...]:
        """The items of a sequence in this item, opened once. Raises :class:`Invalid`."""
        if self._opened is None:
            self._opened = {}
        if tag not in self._opened:
            self._opened[tag] = _sequence(self._dataset, tag, self._encodings, self.budget)
        return self._opened[tag]

    def encoded(self, tag: int) -> tuple[object, ...] | None:
        """What decides an element, where it is short and still encoded: equal for elements that read the same."""
        found = self._dataset.elements.get(tag) if isinstance(self._dataset, RawItem) else None
        if found is None or not isinstance(self._dataset, RawItem):
            return None
        vr, start, stop, implicit = found
        if stop - start > _SHORT_BYTES:
            return None
        return self._dataset.value(tag), vr, implicit, self._dataset.little, self._encodings

    def fingerprint(self) -> tuple[object, ...]:
        """Equal for items of equal content."""
        return tuple(_fingerprint(self._dataset, self.budget))


class Root:
    """A whole object. Top-level text is read from its raw bytes, so that a data set is built only when it must be."""

    def __init__(self, header: HeaderLike, budget: Budget | None = None) -> None:
        self._header = header
        self.budget = budget or Budget()
        self._opened: dict[int, tuple[Item, ...]] = {}
        self.content: Content | None = None

    def opened(self, tag: int) -> tuple[Item, ...]:
        """The items of a sequence at the top level, opened once. Raises :class:`Invalid`."""
        if tag not in self._opened:
            self._opened[tag] = _sequence(self._dataset, tag, self._encodings, self.budget)
        return self._opened[tag]

    def find(self, path: Path) -> Element | None:
        """The element at a path, or ``None`` when it is absent or empty. Raises :class:`Invalid` when it is unreadable."""
        return _find(self, path)

    def element(self, step: Step, text: str) -> Element | None:
        self.budget.spend(1)
        if step.creator is None:
            vr = vr_of(step.tag)
            if vr in TEXT_VRS:
                found = _text_element(text, vr, self._header.raw(step.tag), self._encodings)
                if found is not None and len(found.texts) > 1:
                    self.budget.spend(len(found.texts))
                return found
        return _element_of(self, self._dataset, step, text)

    def meta(self, path: Path) -> Element | None:
        """The element of the file header (group 0002, PS3.10 7.1), or ``None``. Raises :class:`Invalid` when it is not text."""
        self.budget.spend(1)
        step = path.steps[0]
        found = _text_element(f"meta {path.text}", vr_of(step.tag), self._header.file_meta.get(step.tag, b""), ())
        return found if found is None or step.index is None else _pick(found, step.index)

    def came(self, fact: str) -> Element | None:
        """How the object came: a word of :class:`gateway.model.Came`; ``None`` when it is not known."""
        told: str = getattr(self._header.came, fact)
        return Element(f"arrival {fact}", (told,)) if told else None

    def frames(self, path: Path) -> Element | None:
        """What the functional groups say (PS3.3 C.7.6.16): the shared ones, else those of each frame; different values, each once."""
        shared = self._groups(_SHARED_GROUPS)
        found = next((found for item in shared if (found := item.find(path))), None)
        found = found or _distinct([found for item in self._groups(_FRAME_GROUPS) if (found := item.find(path))])
        return Element(f"frame {path.text}", found.texts, found.items) if found else None

    def _groups(self, path: Path) -> tuple[Item, ...]:
        """The items of a sequence of functional groups; that they are opened counts once for all fields."""
        tag = path.steps[0].tag
        if tag not in self._opened:
            found = self.find(path)
            return found.items if found else ()
        return self._opened[tag]

    def bytes_of(self, path: Path) -> Iterator[bytes]:
        """The raw bytes that decide what stands at a path: of its top-level element, and of private creators.

        Where the sender's VR decides how they are read, it comes before them.
        """
        step = path.steps[0]
        if step.creator is None:
            if vr_of(step.tag) not in TEXT_VRS:
                yield self._header.vr(step.tag).encode()
            yield self._header.raw(step.tag)
            return
        group = step.tag >> 16
        tags = self._header.tags()
        for creator in sorted(tag for tag in tags if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF):
            tag = group << 16 | (creator & 0xFF) << 8 | step.tag & 0xFF
            yield self._header.raw(creator)
            yield self._header.vr(tag).encode()
            yield self._header.raw(tag)

    @cached_property
    def _encodings(self) -> tuple[str, ...]:
        return encodings_of(self._header.raw(CHARSET_TAG))

    @property
    def _dataset(self) -> Dataset:
        try:
            return self._header.dataset
        except (ValueError, LookupError) as error:
            raise Quarantined("The character set that the sender declared is damaged.") from error


def parse_path(text: str) -> Path:
    """Parse and check every segment. Raises :class:`PathError`."""
    steps: list[Step] = []
    position = 0
    if len(text) > _LONGEST:
        raise PathError(f"a path has at most {_LONGEST} letters")
    while position < len(text):
        found = _STEP.match(text, position)
        if not found:
            bare = _BARE_TAG.fullmatch(text)
            tag = (
                (f"{bare[1]},xx{bare[2][-2:]})[Private Creator]" if int(bare[1], 16) % 2 else f"{bare[1]},{bare[2]})")
                if bare
                else ""
            )
            hint = f"; an element by its tag is written ({tag}" if tag else ""
            raise PathError(f"'{text}' is not a path: it goes wrong at '{text[position:]}'{hint}")
        steps.append(_step(found, text))
        position = found.end()
    if not steps or text.endswith("."):
        raise PathError(f"'{text}' is not a path")
    for step in steps[:-1]:
        if step.creator is None and vr_of(step.tag) != "SQ":
            raise PathError(f"'{text}': {keyword_for_tag(step.tag)} is not a sequence, nothing can stand inside it")
        if step.index is None:
            name = keyword_for_tag(step.tag) or "Sequence"
            raise PathError(f"'{text}': say which item, as in {name}[0], or [*] for all")
    return Path(text, tuple(steps), any(step.index == ALL for step in steps))


def _groups_path(keyword: str) -> Path:
    return Path(keyword, (Step(int(tag_for_keyword(keyword) or 0)),))


#: Multi-frame functional groups (PS3.3 C.7.6.16.1).
_SHARED_GROUPS, _FRAME_GROUPS = _groups_path("SharedFunctionalGroupsSequence"), _groups_path("PerFrameFunctionalGroupsSequence")
FRAME_PATHS = (_SHARED_GROUPS, _FRAME_GROUPS)


def is_sequence(path: Path) -> bool:
    """True when the path leads to a standard sequence as a whole (or to all its items)."""
    last = path.steps[-1]
    return last.creator is None and last.index in (None, ALL) and vr_of(last.tag) == "SQ"


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """The dictionary's VR of a standard tag; of a choice ("US or SS") the first."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _step(found: re.Match[str], text: str) -> Step:
    index = None if not found["index"] else ALL if found["index"] == "*" else int(found["index"])
    if found["keyword"]:
        tag = tag_for_keyword(found["keyword"])
        if tag is None:
            raise PathError(f"'{found['keyword']}' is not a DICOM keyword", found["keyword"])
        return Step(int(tag), None, index)
    group, element = int(found["group"], 16), found["element"]
    if group % 2 == 0:
        if element.startswith("xx"):
            raise PathError(f"'{text}': only a private element has 'xx'")
        return Step(group << 16 | int(element, 16), None, index)
    if not found["creator"] or not element.startswith("xx"):
        wanted = f"({found['group']},xx{element[-2:]})[{found['creator'] or 'Private Creator'}]"
        block = "" if element.startswith("xx") else ": the block differs from file to file"
        raise PathError(f"'{text}': a private element is written {wanted}{block}")
    return Step(group << 16 | int(element[2:], 16), found["creator"].strip(), index)


def _find(start: Root | Item, path: Path) -> Element | None:
    if path.several:
        return _find_all(start, path)
    place: Root | Item = start
    found: Element | None = None
    for step in path.steps:
        found = place.element(step, path.text)
        if found is not None and step.index is not None:
            found = _pick(found, step.index)
        if found is None:
            return None
        if found.items:
            place = found.items[0]
    return found


def _find_all(start: Root | Item, path: Path) -> Element | None:
    """All values, or all items, at a path with ``[*]``, in their order."""
    places: list[Root | Item] = [start]
    found: list[Element] = []
    for step in path.steps:
        found = [element for place in places if (element := place.element(step, path.text)) is not None]
        if step.index is not None and step.index != ALL:
            found = [picked for element in found if (picked := _pick(element, step.index)) is not None]
        places = [item for element in found for item in element.items]
    texts = tuple(text for element in found for text in element.texts)
    return Element(path.text, texts, tuple(item for element in found for item in element.items)) if found else None


def _distinct(found: list[Element]) -> Element | None:
    """Several elements as one with each different value, or each different item, once."""
    if len(found) <= 1:
        return found[0] if found else None
    texts = dict.fromkeys(element.texts for element in found if element.texts)
    items: dict[tuple[object, ...], Item] = {}
    for item in (item for element in found for item in element.items):
        items.setdefault(item.fingerprint(), item)
    several = tuple(text for values in texts for text in values)
    return Element(found[0].path, several, tuple(items.values()))


def _fingerprint(dataset: Dataset | RawItem, budget: Budget) -> Iterator[object]:
    if isinstance(dataset, RawItem):
        for tag, found in sorted(dataset.elements.items()):
            budget.spend(1)
            is_sequence = found[0] == "SQ" or (found[0] in ("", "UN") and vr_of(tag) == "SQ")
            items = dataset.items(tag, budget.spend) if is_sequence else ()
            yield tag, tuple(tuple(_fingerprint(item, budget)) for item in items) if is_sequence else dataset.value(tag)
        return
    for tag in sorted(dataset.keys()):
        budget.spend(1)
        raw = dataset.get_item(tag, keep_deferred=True)
        value = raw.value if raw is not None else None
        if isinstance(value, Sequence):
            yield int(tag), tuple(tuple(_fingerprint(item, budget)) for item in value)
        else:
            yield int(tag), value if isinstance(value, bytes) else str(value)


def _pick(found: Element, index: int) -> Element | None:
    if index == ALL:
        return found
    if found.items:
        return Element(found.path, (), (found.items[index],)) if index < len(found.items) else None
    if index < len(found.texts) and found.texts[index]:
        return Element(found.path, (found.texts[index],))
    return None


def _element_of(place: Root | Item, dataset: Dataset | RawItem, step: Step, text: str) -> Element | None:
    tag = step.tag if step.creator is None else private_tag(dataset, step.tag, step.creator)
    if tag is None:
        return None
    stands = written(dataset, tag)
    if stands is None:
        return None
    known = vr_of(tag) if step.creator is None else private_vr(tag, step.creator)
    vr = stands.vr if stands.vr and stands.vr != "UN" else known
    if vr == "SQ":
        items = place.opened(tag)
        place.budget.spend(len(items))
        return Element(text, (), items) if items else None
    value = stands.value
    if vr in _NUMBERS and stands.order:
        found = _numbers(text, vr, value, stands.order)
    elif vr == "OB" and step.creator is None:
        found = Element(text, binary=bytes(value)) if value else None
    elif vr == "UN" and step.creator is not None:
        found = _text_element(text, "LO", _printable(value), ())
    else:
        found = _text_element(text, vr, value, place._encodings)
    if found is not None and len(found.texts) > 1:
        place.budget.spend(len(found.texts))
    return found


def _printable(value: bytes) -> bytes:
    """A private value of which nobody knows the type: text when it is nothing but printable ASCII. Raises :class:`Invalid`."""
    if any(byte < 0x20 or byte > 0x7E for byte in value.rstrip(b"\0")):
        raise Invalid("is private, and its type is not known")
    return value


def _sequence(dataset: Dataset | RawItem, tag: int, encodings: tuple[str, ...], budget: Budget) -> tuple[Item, ...]:
    """The items of a sequence: read without pydicom where it is still encoded, because that builds each element of each item."""
    items: list[Dataset] | list[RawItem]
    try:
        raw = dataset.get_item(tag, keep_deferred=True) if isinstance(dataset, Dataset) else None
        if isinstance(dataset, RawItem):
            items = dataset.items(tag, budget.spend)
        elif isinstance(raw, RawDataElement):
            content = raw.value or b""
            items = read_items(content, implicit=raw.is_implicit_VR, little=raw.is_little_endian, spend=budget.spend)
        else:
            value = dataset[tag].value
            items = list(value) if isinstance(value, Sequence) else []
    except _DAMAGE as error:
        raise Invalid("is a damaged sequence") from error
    return tuple(Item(item, encodings, budget) for item in items)


def _text_element(text: str, vr: str, raw: bytes, encodings: tuple[str, ...]) -> Element | None:
    if not raw.strip(b" \0"):
        return None
    if vr not in TEXT_VRS:
        raise Invalid("is not text")
    whole = decode(raw, vr, encodings)
    if vr in _UNSPLIT_VRS:
        return Element(text, (whole.rstrip(" \0"),))
    values = tuple(part.strip(" \0") for part in whole.split("\\"))
    return Element(text, values) if any(values) else None


def _numbers(text: str, vr: str, raw: bytes, order: str) -> Element | None:
    return Element(text, number_texts(vr, raw, order)) if raw else None


def number_texts(vr: str, raw: bytes, order: str) -> tuple[str, ...]:
    """The binary numbers of a value (PS3.5 6.2: US, SS, UL, SL, UV, SV, FL, FD) as text. Raises :class:`Invalid`."""
    size = struct.calcsize(_NUMBERS[vr])
    if len(raw) % size:
        raise Invalid("is a damaged number")
    values = struct.unpack(f"{order}{len(raw) // size}{_NUMBERS[vr]}", raw)
    return tuple(_shortest(value) if vr == "FL" else repr(value).removesuffix(".0") for value in values)


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same single-precision number."""
    packed = struct.pack("<f", value)
    for digits in range(6, 10):
        if struct.pack("<f", float(f"{value:.{digits}g}")) == packed:
            return f"{value:.{digits}g}"
    return repr(value)


def private_vr(tag: int, creator: str) -> str:
    """What pydicom's private dictionary knows of an element; ``UN`` when it knows nothing."""
    try:
        return private_dictionary_VR(tag, creator)[:2]
    except KeyError:
        return "UN"


class DatasetHeader:
    """A pydicom data set in the place of a header, for tools and tests. The gateway itself reads files through ``reading``."""

    def __init__(self, dataset: Dataset, came: Came = UNKNOWN) -> None:
        self.dataset = dataset
        self.came = came
        meta = getattr(dataset, "file_meta", None) or Dataset()
        self.file_meta: Mapping[int, bytes] = {int(tag): raw_bytes(meta, int(tag)) for tag in list(meta.keys())}

    def raw(self, tag: int) -> bytes:
        """The bytes of a top-level value; of an already decoded element, text that changes whenever its content does."""
        return raw_bytes(self.dataset, tag)

    def tags(self) -> Iterable[int]:
        """The tags of the top level."""
        return map(int, self.dataset.keys())

    def vr(self, tag: int) -> str:
        """The VR as it was written, or as pydicom knows it; empty when the element is absent."""
        found = self.dataset.get_item(tag, keep_deferred=True) if tag in self.dataset else None
        return str(found.VR or "") if found is not None else ""
