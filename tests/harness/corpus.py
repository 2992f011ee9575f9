"""Malformed objects, each named, each with what must become of it. Built in memory, byte by byte, from the standard.

An object is written here from pieces whose ends are known because we put them together, never by asking the walker or pydicom where
something ends: what judges must not also be the measure. Families: ``corpus_encoding`` (lengths, VRs, nesting, compression, pixel data),
``corpus_content`` (identifiers, values), ``corpus_text``, ``corpus_reports``, ``corpus_files`` (file headers), ``corpus_wire`` (PDUs
and commands).

A case tells three things: the status at the door, words of its reason, and, where the object is taken, what reading it comes to.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag

from tests import builders

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG: Final = "1.2.840.10008.1.2.2"
JPEG: Final = "1.2.840.10008.1.2.4.50"
PET: Final = "1.2.840.10008.5.1.4.1.1.128"
INSTANCE: Final = "1.2.3.4.5.6"

TAKEN: Final = 0x0000
DAMAGED: Final = 0xC000
MISMATCH: Final = 0xA900

UNDEFINED: Final = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG: Final = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One malformed object. ``build`` gives its data set as it would be sent."""

    name: str
    build: Callable[[], bytes]
    status: int
    words: str = ""  #: of the reason at the door
    syntax: str = EXPLICIT
    announced_class: str = PET
    announced_instance: str = INSTANCE
    negotiated_class: str = PET
    #: Of what is taken: the field that must be withheld, with an issue.
    withheld: str = ""
    #: The same without one: what stands there says "not known".
    unknown: str = ""
    #: Of what is taken: reading it must end in quarantine, in these words.
    quarantined: str = ""
    #: Of what is taken: fields and what they must be, exactly.
    read: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """An element as it is sent, with the lengths of its header and of its value."""

    name: str
    header: bytes
    value: bytes

    @property
    def whole(self) -> bytes:
        return self.header + self.value


def header(tag: int, vr: str, length: int, syntax: str = EXPLICIT) -> bytes:
    """The head of an element (PS3.5 7.1.2, 7.1.3); items and delimiters have no VR."""
    order = ">" if syntax == BIG else "<"
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == IMPLICIT or group == 0xFFFE:
        return struct.pack(f"{order}HHI", group, number, length)
    if vr in _LONG:
        return struct.pack(f"{order}HH2sHI", group, number, vr.encode(), 0, length)
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), length)


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT, *, length: int | None = None) -> bytes:
    """An element; ``length`` lies about it."""
    return header(tag, vr, len(value) if length is None else length, syntax) + value


def item(content: bytes, syntax: str = EXPLICIT, *, length: int | None = None) -> bytes:
    return element(ITEM, "", content, syntax, length=length)


def open_item(content: bytes, syntax: str = EXPLICIT) -> bytes:
    return element(ITEM, "", content, syntax, length=UNDEFINED) + header(ITEM_END, "", 0, syntax)


def sequence(tag: int, *items: bytes, syntax: str = EXPLICIT) -> bytes:
    return element(tag, "SQ", b"".join(items), syntax)


def open_sequence(tag: int, *items: bytes, syntax: str = EXPLICIT) -> bytes:
    return element(tag, "SQ", b"".join(items), syntax, length=UNDEFINED) + header(SEQUENCE_END, "", 0, syntax)


def deflate(data: bytes, level: int = 9) -> bytes:
    """PS3.5 A.5: a raw deflate stream."""
    stream = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def uid(text: str) -> bytes:
    return text.encode("latin-1") + b"\0" * (len(text) % 2)


#: The elements without which nothing is used, in two parts: what lies between belongs there by its tag.
def identity(syntax: str = EXPLICIT) -> bytes:
    return element(0x00080016, "UI", uid(PET), syntax) + element(0x00080018, "UI", uid(INSTANCE), syntax)


def place(syntax: str = EXPLICIT) -> bytes:
    return element(0x0020000D, "UI", uid("1.2.3.4"), syntax) + element(0x0020000E, "UI", uid("1.2.3.4.5"), syntax)


def sound(between: bytes = b"", behind: bytes = b"", syntax: str = EXPLICIT) -> bytes:
    """A small sound object with something between group 0008 and 0020, and behind it."""
    return identity(syntax) + between + place(syntax) + behind


def pieces(syntax: str) -> list[Piece]:
    """A sound object, element by element: short and long VRs, sequences closed and open, native pixel data."""
    code = element(0x00080100, "SH", b"F-18", syntax)
    plain = [
        ("SOPClassUID", 0x00080016, "UI", uid(PET)),
        ("SOPInstanceUID", 0x00080018, "UI", uid(INSTANCE)),
        ("Modality", 0x00080060, "CS", b"PT"),
        ("PatientName", 0x00100010, "PN", b"TEST^INVENTED "),
        ("PatientID", 0x00100020, "LO", b"TEST-0001 "),
        ("PatientWeight", 0x00101030, "DS", b"75"),
        ("StudyInstanceUID", 0x0020000D, "UI", uid("1.2.3.4")),
        ("SeriesInstanceUID", 0x0020000E, "UI", uid("1.2.3.4.5")),
        ("Rows", 0x00280010, "US", b"\2\0"),
        ("RadiopharmaceuticalInformationSequence", 0x00540016, "SQ", item(code, syntax)),
        ("PixelData", 0x7FE00010, "OW", bytes(range(16))),
    ]
    made = [Piece(name, header(tag, vr, len(value), syntax), value) for name, tag, vr, value in plain]
    inside = open_item(code, syntax) + header(SEQUENCE_END, "", 0, syntax)
    made.insert(9, Piece("UnitsSequence (open)", header(0x00400A30, "SQ", UNDEFINED, syntax), inside))
    return made


def joined(parts: Sequence[Piece]) -> bytes:
    return b"".join(part.whole for part in parts)


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as pydicom writes it, but for raw elements, which go out as they stand. For objects whose content is wrong."""
    written = []
    for tag in sorted(dataset.keys()):
        found = dataset.get_item(tag)
        if isinstance(found, RawDataElement):
            written.append(element(int(tag), found.VR or "UN", found.value or b"", syntax))
        elif found is not None and found.VR == "SQ":
            written.append(sequence(int(tag), *(item(encoded(one, syntax), syntax) for one in found.value), syntax=syntax))
        else:
            written.append(_written_by_pydicom(dataset, tag, syntax))
    return b"".join(written)


def _written_by_pydicom(dataset: Dataset, tag: BaseTag, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_data_element(buffer, dataset[tag], "iso8859")
    return buffer.getvalue()


def part10(case: Case) -> bytes:
    """The case as a file (PS3.10 7.1)."""
    meta = element(0x00020002, "UI", uid(case.announced_class)) + element(0x00020003, "UI", uid(case.announced_instance))
    meta += element(0x00020010, "UI", uid(case.syntax))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + case.build()


@cache
def _pet() -> Dataset:
    return _as_raw(builders.pet(SOPInstanceUID=INSTANCE))


@cache
def _report() -> Dataset:
    return _as_raw(builders.rrdsr(SOPInstanceUID=INSTANCE))


def _as_raw(dataset: Dataset) -> Dataset:
    """Written once, so that a case costs its own change only."""
    for tag in list(dataset.keys()):
        found = dataset[tag]
        if found.VR == "SQ":
            for one in found.value:
                _as_raw(one)
        else:
            head = 12 if found.VR in _LONG else 8
            value = _written_by_pydicom(dataset, tag, EXPLICIT)[head:]
            dataset._dict[tag] = RawDataElement(tag, found.VR, len(value), value, 0, False, True)
    return dataset


def _copy(dataset: Dataset) -> Dataset:
    """As ``copy.deepcopy``, which takes thirty times as long: raw elements are never changed in place."""
    fresh = Dataset()
    for tag, found in dataset._dict.items():
        if isinstance(found, DataElement):
            found = DataElement(tag, "SQ", [_copy(one) for one in found.value])
        fresh._dict[tag] = found
    return fresh


def pet() -> Dataset:
    """A PET slice of ours, to be spoilt."""
    return _copy(_pet())


def report() -> Dataset:
    """A dose report of ours, to be spoilt."""
    return _copy(_report())


def cases() -> Iterator[Case]:
    """The whole corpus of objects."""
    from tests.harness import corpus_content, corpus_encoding, corpus_reports, corpus_text  # they build on this module

    yield from corpus_encoding.cases()
    yield from corpus_content.cases()
    yield from corpus_reports.cases()
    yield from corpus_text.cases()


def file_cases() -> Iterator[Case]:
    """Whole files whose header (PS3.10 7.1) is wrong; ``quarantined`` empty: the object is found all the same."""
    from tests.harness import corpus_files

    yield from corpus_files.cases()
