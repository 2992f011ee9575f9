"""Items read from their bytes hold what pydicom finds in them, in every encoding; what lies about itself is refused."""

from __future__ import annotations

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from gateway.dicom.budget import Budget
from gateway.dicom.items import Item
from gateway.dicom.paths import parse_path
from gateway.dicom.raw_items import read_items
from gateway.errors import Quarantined

ENCODINGS = [(True, True), (False, True), (False, False)]


def tree(undefined: bool) -> Dataset:
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "C-1", "Ünit"
    middle = Dataset()
    middle.SpecificCharacterSet = "ISO_IR 100"
    middle.MeasurementUnitsCodeSequence = Sequence([inner, inner])
    middle.NumericValue, middle.ReferencedFrameNumber = ["1.5", "2"], 7
    middle.add_new(0x00190010, "LO", "ACME")
    middle.add_new(0x00191010, "FD", 2.5)
    middle.add_new(0x00191011, "SQ", Sequence([inner]))
    middle.BurnedInAnnotation = "NO"
    outer = Dataset()
    outer.ContentSequence = Sequence([middle, Dataset(), middle])
    if undefined:
        for dataset in (outer, middle):
            for element in dataset:
                if element.VR == "SQ":
                    element.is_undefined_length = True
        for item in (middle, inner):
            item.is_undefined_length_sequence_item = True
    return outer


def encoded(dataset: Dataset, implicit: bool, little: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def items(dataset: Dataset, implicit: bool, little: bool) -> list[Item]:
    """A data set as the only item of a sequence of undefined length."""
    order = "<" if little else ">"
    body = encoded(dataset, implicit, little)
    content = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(body)) + body
    raw = read_items(content, implicit=implicit, little=little, spend=Budget().spend)
    return [Item(one, ("iso8859",)) for one in raw]


def texts(item: Item, path: str) -> tuple[str, ...] | None:
    found = item.find(parse_path(path))
    return found.texts if found else None


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
def test_every_encoding_is_read(implicit: bool, little: bool, undefined: bool) -> None:
    (outer,) = items(tree(undefined), implicit, little)
    content = outer.find(parse_path("ContentSequence"))
    assert content is not None
    assert len(content.items) == 3
    first, empty, last = content.items
    assert first.fingerprint() == last.fingerprint() != empty.fingerprint()
    assert texts(first, "NumericValue") == ("1.5", "2")
    assert texts(first, "ReferencedFrameNumber") == ("7",)
    assert texts(first, "MeasurementUnitsCodeSequence[1].CodeMeaning") == ("Ünit",)
    assert texts(first, "MeasurementUnitsCodeSequence[*].CodeValue") == ("C-1", "C-1")
    assert texts(first, "BurnedInAnnotation") == ("NO",)
    assert texts(empty, "NumericValue") is None
    if not implicit:  # nobody tells the type of a private element there
        assert texts(first, "(0019,xx10)[ACME]") == ("2.5",)
        assert texts(first, "(0019,xx11)[ACME][0].CodeValue") == ("C-1",)
    assert texts(first, "(0019,xx10)[OTHER]") is None


def test_a_sequence_that_was_once_unknown_stays_implicit_inside() -> None:
    dataset = Dataset()
    dataset.NumericValue = "3"
    inner = encoded(dataset, implicit=True, little=True)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    for head in (
        struct.pack("<HH2sHI", 0x0040, 0xA300, b"UN", 0, 0xFFFFFFFF),
        struct.pack("<HH2sHI", 0x0040, 0xA300, b"UN", 0, len(item)),
    ):
        body = head + item + (struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if head.endswith(b"\xff" * 4) else b"")
        content = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        (outer,) = read_items(content, implicit=False, little=True, spend=Budget().spend)
        assert texts(Item(outer, ()), "MeasuredValueSequence[0].NumericValue") == ("3",)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<HHI", 0xFFFE, 0xE000, 100) + b"short",
        struct.pack("<HHI", 0x0008, 0x0005, 0),
        struct.pack("<HHI", 0xFFFE, 0xE000, 16) + struct.pack("<HHI", 0x0040, 0xA30A, 99) + b"12345678",
        struct.pack("<HHI", 0xFFFE, 0xE000, 8) + struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF),
    ],
)
def test_what_lies_about_its_length_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"item|end|longer"):
        read_items(content, implicit=True, little=True, spend=Budget().spend)


def test_stepping_over_elements_costs_steps() -> None:
    dataset = Dataset()
    for number in range(1600):
        dataset.add_new(0x00110000 + 0x100 + number, "SH", "x")
    with pytest.raises(Quarantined):
        read_items(
            struct.pack("<HHI", 0xFFFE, 0xE000, len(body := encoded(dataset, True, True))) + body,
            implicit=True, little=True, spend=Budget(100).spend,
        )  # fmt: skip
