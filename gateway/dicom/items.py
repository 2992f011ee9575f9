"""Reading by paths: a whole object, and the items of its sequences, each opened once. After the walker, before any meaning.

Whatever is read costs steps of a :class:`~gateway.dicom.budget.Budget`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import TypeAlias

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.budget import Budget
from gateway.dicom.charset import CHARSET_TAG, encodings_of
from gateway.dicom.elements import Element, numbers_element, printable, text_element
from gateway.dicom.headers import HeaderLike
from gateway.dicom.numbers import NUMBERS
from gateway.dicom.paths import ALL, FRAME_GROUPS, SHARED_GROUPS, TEXT_VRS, Path, Step, private_vr, vr_of
from gateway.dicom.raw_items import RawItem, read_items
from gateway.dicom.values import Invalid
from gateway.dicom.written import private_tag, raw_bytes, written
from gateway.errors import Quarantined

#: No coded item is longer than that.
_SHORT_BYTES = 512
#: What pydicom raises on sequences that lie about themselves.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, NotImplementedError, struct.error)
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
                found = text_element(text, vr, self._header.raw(step.tag), self._encodings)
                if found is not None and len(found.texts) > 1:
                    self.budget.spend(len(found.texts))
                return found
        return _element_of(self, self._dataset, step, text)

    def meta(self, path: Path) -> Element | None:
        """The element of the file header (group 0002, PS3.10 7.1), or ``None``. Raises :class:`Invalid` when it is not text."""
        self.budget.spend(1)
        step = path.steps[0]
        found = text_element(f"meta {path.text}", vr_of(step.tag), self._header.file_meta.get(step.tag, b""), ())
        return found if found is None or step.index is None else _pick(found, step.index)

    def came(self, fact: str) -> Element | None:
        """How the object came: a word of :class:`gateway.model.Came`; ``None`` when it is not known."""
        told: str = getattr(self._header.came, fact)
        return Element(f"arrival {fact}", (told,)) if told else None

    def frames(self, path: Path) -> Element | None:
        """What the functional groups say (PS3.3 C.7.6.16): the shared ones, else those of each frame; different values, each once."""
        shared = self._groups(SHARED_GROUPS)
        found = next((found for item in shared if (found := item.find(path))), None)
        found = found or _distinct([found for item in self._groups(FRAME_GROUPS) if (found := item.find(path))])
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
    if vr in NUMBERS and stands.order:
        found = numbers_element(text, vr, value, stands.order)
    elif vr == "OB" and step.creator is None:
        found = Element(text, binary=bytes(value)) if value else None
    elif vr == "UN" and step.creator is not None:
        found = text_element(text, "LO", printable(value), ())
    else:
        found = text_element(text, vr, value, place._encodings)
    if found is not None and len(found.texts) > 1:
        place.budget.spend(len(found.texts))
    return found


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
