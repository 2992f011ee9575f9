"""Paths to DICOM elements, and reading what stands there as text. After the walker, before any meaning.

A path is keywords with item indexes, as ``RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose``; a value index
picks one of several values, as ``ImageType[2]``; a private element is named through its creator, wherever its block lies
(PS3.5 section 7.8): ``(7053,xx00)[Philips PET Private Group]``.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from pydicom.datadict import dictionary_VR, keyword_for_tag, private_dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.dicom.charset import CHARSET_TAG, CHARSET_VRS, decode, encodings_of
from gateway.dicom.values import Invalid
from gateway.errors import Quarantined

_STEP = re.compile(
    r"(?:(?P<keyword>[A-Za-z]\w*)|\((?P<group>[0-9A-Fa-f]{4}),(?P<element>xx[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4})\)"
    r"(?:\[(?P<creator>[^\]]*[^\]\d][^\]]*)\])?)(?:\[(?P<index>\d{1,3})\])?(?:\.|$)"
)
_TEXT_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_UNSPLIT_VRS = frozenset(["ST", "LT", "UT", "UR"])
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
#: What pydicom raises on sequences that lie about themselves.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, NotImplementedError, struct.error)


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
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path. ``text`` is how it was written."""

    text: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is present with a value: its values as written, or its items."""

    path: str
    texts: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    unit: str = ""  #: UCUM code that came with the number, in a structured report

    @property
    def text(self) -> str:
        """All values as one text, as they stand in the file."""
        return "\\".join(self.texts)


class HeaderLike(Protocol):
    """What is read: :class:`gateway.dicom.reading.Header` or anything that offers the same two."""

    @property
    def dataset(self) -> Dataset: ...

    def raw(self, tag: int) -> bytes: ...


class Item:
    """A data set inside a sequence: finds elements; inherits the character set (PS3.3 C.12.1.1.2)."""

    def __init__(self, dataset: Dataset, encodings: tuple[str, ...]) -> None:
        self._dataset = dataset
        own = _raw_bytes(dataset, CHARSET_TAG)
        self._encodings = encodings_of(own) if own else encodings

    def find(self, path: Path) -> Element | None:
        """The element at a path, or ``None`` when it is absent or empty. Raises :class:`Invalid` when it is unreadable."""
        return _find(self, path)

    def element(self, step: Step, text: str) -> Element | None:
        return _element_of(self._dataset, step, text, self._encodings)


class Root:
    """A whole object. Top-level text is read from its raw bytes, so that a data set is built only when it must be."""

    def __init__(self, header: HeaderLike) -> None:
        self._header = header

    def find(self, path: Path) -> Element | None:
        """The element at a path, or ``None`` when it is absent or empty. Raises :class:`Invalid` when it is unreadable."""
        return _find(self, path)

    def element(self, step: Step, text: str) -> Element | None:
        if step.creator is None:
            vr = vr_of(step.tag)
            if vr in _TEXT_VRS:
                return _text_element(text, vr, self._header.raw(step.tag), self._encodings)
        return _element_of(self._dataset, step, text, self._encodings)

    def bytes_of(self, path: Path) -> Iterator[bytes]:
        """The raw bytes that decide what stands at a path: of its top-level element, and of private creators."""
        step = path.steps[0]
        if step.creator is None:
            yield self._header.raw(step.tag)
            return
        group = step.tag >> 16
        keys = self._dataset.keys()
        for creator in sorted(int(key) for key in keys if key.group == group and 0x10 <= key.element <= 0xFF):
            yield self._header.raw(creator)
            yield self._header.raw(group << 16 | (creator & 0xFF) << 8 | step.tag & 0xFF)

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
    while position < len(text):
        found = _STEP.match(text, position)
        if not found:
            raise PathError(f"'{text}' is not a path: it goes wrong at '{text[position:]}'")
        steps.append(_step(found, text))
        position = found.end()
    if not steps or text.endswith("."):
        raise PathError(f"'{text}' is not a path")
    for step in steps[:-1]:
        if step.creator is None and vr_of(step.tag) != "SQ":
            raise PathError(f"'{text}': {keyword_for_tag(step.tag)} is not a sequence, nothing can stand inside it")
        if step.index is None:
            raise PathError(f"'{text}': say which item, as in {keyword_for_tag(step.tag) or 'Sequence'}[0]")
    return Path(text, tuple(steps))


def is_sequence(path: Path) -> bool:
    """True when the path leads to a standard sequence as a whole."""
    last = path.steps[-1]
    return last.creator is None and last.index is None and vr_of(last.tag) == "SQ"


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """The dictionary's VR of a standard tag; of a choice ("US or SS") the first."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _step(found: re.Match[str], text: str) -> Step:
    index = int(found["index"]) if found["index"] else None
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
        raise PathError(f"'{text}': a private element is written (gggg,xxee)[Private Creator]")
    return Step(group << 16 | int(element[2:], 16), found["creator"].strip(), index)


def _find(start: Root | Item, path: Path) -> Element | None:
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


def _pick(found: Element, index: int) -> Element | None:
    if found.items:
        return Element(found.path, (), (found.items[index],)) if index < len(found.items) else None
    if index < len(found.texts) and found.texts[index]:
        return Element(found.path, (found.texts[index],))
    return None


def _element_of(dataset: Dataset, step: Step, text: str, encodings: tuple[str, ...]) -> Element | None:
    tag = step.tag if step.creator is None else _private_tag(dataset, step.tag, step.creator)
    if tag is None or tag not in dataset:
        return None
    raw = dataset.get_item(tag, keep_deferred=True)
    known = vr_of(tag) if step.creator is None else _private_vr(tag, step.creator)
    vr = str(raw.VR) if raw is not None and raw.VR and raw.VR != "UN" else known
    if vr == "SQ":
        return _sequence(dataset, tag, text, encodings)
    if isinstance(raw, RawDataElement):
        value = raw.value or b""
        if vr in _NUMBERS:
            return _numbers(text, vr, value, "<" if raw.is_little_endian else ">")
        return _text_element(text, vr, value, encodings)
    return _text_element(text, vr, _raw_bytes(dataset, tag), encodings)


def _sequence(dataset: Dataset, tag: int, text: str, encodings: tuple[str, ...]) -> Element | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset[tag].value
            items = list(value) if isinstance(value, Sequence) else []
    except _DAMAGE as error:
        raise Invalid("is a damaged sequence") from error
    return Element(text, (), tuple(Item(item, encodings) for item in items)) if items else None


def _text_element(text: str, vr: str, raw: bytes, encodings: tuple[str, ...]) -> Element | None:
    if not raw.strip(b" \0"):
        return None
    if vr not in _TEXT_VRS:
        raise Invalid("is not text")
    whole = decode(raw, vr, encodings)
    if vr in _UNSPLIT_VRS:
        return Element(text, (whole.rstrip(" \0"),))
    values = tuple(part.strip(" \0") for part in whole.split("\\"))
    return Element(text, values) if any(values) else None


def _numbers(text: str, vr: str, raw: bytes, order: str) -> Element | None:
    size = struct.calcsize(_NUMBERS[vr])
    if not raw:
        return None
    if len(raw) % size:
        raise Invalid("is a damaged number")
    values = struct.unpack(f"{order}{len(raw) // size}{_NUMBERS[vr]}", raw)
    return Element(text, tuple(_shortest(value) if vr == "FL" else repr(value).removesuffix(".0") for value in values))


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same single-precision number."""
    packed = struct.pack("<f", value)
    for digits in range(6, 10):
        if struct.pack("<f", float(f"{value:.{digits}g}")) == packed:
            return f"{value:.{digits}g}"
    return repr(value)


def _private_tag(dataset: Dataset, tag: int, creator: str) -> int | None:
    group = tag >> 16
    blocks = [key for key in sorted(dataset.keys()) if key.group == group and 0x10 <= key.element <= 0xFF]
    for key in blocks:
        if _raw_bytes(dataset, int(key)).strip(b" \0") == creator.encode():
            return group << 16 | key.element << 8 | tag & 0xFF
    return None


def _private_vr(tag: int, creator: str) -> str:
    try:
        return private_dictionary_VR(tag, creator)[:2]
    except KeyError:
        return "UN"


def _raw_bytes(dataset: Dataset, tag: int) -> bytes:
    """The bytes of a text element; those of an already decoded one are rebuilt as UTF-8 or ASCII."""
    if tag not in dataset:
        return b""
    raw = dataset.get_item(tag, keep_deferred=True)
    value = raw.value if raw is not None else None
    if value is None or isinstance(value, bytes):
        return value or b""
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return "\\".join(str(getattr(one, "original_string", None) or one) for one in values).encode()


class DatasetHeader:
    """A pydicom data set in the place of a header, for tools and tests. The gateway itself reads files through ``reading``."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def raw(self, tag: int) -> bytes:
        """The bytes of a top-level value; of an already decoded element, text that changes whenever its content does."""
        return _raw_bytes(self.dataset, tag)
