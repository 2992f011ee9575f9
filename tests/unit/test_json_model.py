"""From DICOM JSON to bytes: what pydicom reads back is what the JSON said; what it may not say is told."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom import json_model
from gateway.dicom.walker import EXPLICIT_LITTLE, walk
from gateway.errors import Rejected
from gateway.web.frame_syntax import syntax_of
from tests.builders import nm, pet, rrdsr


class Parts:
    """Bulk data by name."""

    def __init__(self, **parts: bytes) -> None:
        self._parts = parts

    def find(self, uri: str, *, is_image: bool) -> Any:
        return Whole(self._parts[uri]) if uri in self._parts else None


class Whole:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.fragments: list[int] = []
        self.size_bytes = len(content)

    def pieces(self, fragment: int | None = None) -> Iterator[bytes]:
        yield self._content


def encode(dataset: dict[str, Any], **parts: bytes) -> bytes:
    body = b"".join(json_model.encode(dataset, Parts(**parts)))
    walk(body, EXPLICIT_LITTLE)
    return body


def read(body: bytes) -> Dataset:
    from pydicom.filereader import read_dataset

    return read_dataset(io.BytesIO(body), is_implicit_VR=False, is_little_endian=True)


@pytest.mark.parametrize("build", [pet, nm, rrdsr])
def test_real_headers_survive_the_way_through_json(build: Any) -> None:
    original = build()
    original.PatientName = "TÉST^ÎNVENTED=山田"
    original.SpecificCharacterSet = "ISO_IR 192"
    there = json.loads(original.to_json())
    assert json.loads(read(encode(there)).to_json()) == there


def test_every_type_of_value() -> None:
    given = {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        "00200032": {"vr": "DS", "Value": [Decimal("1.50"), "2", None, Decimal("0.123456789012345678"), -3]},
        "00200013": {"vr": "IS", "Value": [7, "8"]},
        "00080008": {"vr": "CS", "Value": ["A", None, "B"]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00189087": {"vr": "FD", "Value": [Decimal("0.1")]},
        "00281101": {"vr": "US", "Value": [1, 65535]},
        "0008041B": {"vr": "UV", "Value": ["18446744073709551615"]},
        "00204000": {"vr": "LT", "Value": ["one\\two"]},
        "00091001": {"vr": "UN", "InlineBinary": base64.b64encode(b"abc").decode()},
        "00420011": {"vr": "OB", "BulkDataURI": "document"},
        "00400260": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["x"]}}, {}]},
        "00080060": {"vr": "CS"},
    }
    found = read(encode(given, document=b"%PDF-"))
    assert found.PatientName == "A^B==C"
    assert [str(value) for value in found.ImagePositionPatient] == ["1.50", "2", "", "0.12345678901235", "-3"]
    assert found.InstanceNumber == [7, 8]
    assert found.ImageType == ["A", "", "B"]
    assert found.FrameIncrementPointer == 0x00181063
    assert found.DiffusionBValue == 0.1
    assert found[0x00281101].value == [1, 65535]
    assert found[0x0008041B].value == 2**64 - 1
    assert found.ImageComments == "one\\two"
    assert found[0x00091001].value == b"abc\0"
    assert found.EncapsulatedDocument == b"%PDF-\0"
    assert found.PerformedProtocolCodeSequence[0].CodeValue == "x"
    assert len(found.PerformedProtocolCodeSequence) == 2
    assert found.Modality == ""


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "XX"}, {}, 7, {"vr": ["CS"]},
        {"vr": "US", "Value": [65536]}, {"vr": "US", "Value": [1.5]}, {"vr": "US", "Value": "1"}, {"vr": "US", "Value": [True]},
        {"vr": "US", "Value": [Decimal("1E+999999999")]}, {"vr": "IS", "Value": [Decimal("1E+999999999")]},
        {"vr": "PN", "Value": ["text"]}, {"vr": "CS", "Value": [1]}, {"vr": "AT", "Value": ["zz"]},
        {"vr": "OB", "InlineBinary": "???"}, {"vr": "OB", "BulkDataURI": "nowhere"}, {"vr": "SQ", "BulkDataURI": "x"},
        {"vr": "LO", "Value": ["x" * 70_000]}, {"vr": "LT", "Value": ["a", "b"]}, {"vr": "SQ", "Value": [7]},
        {"vr": "SQ", "Value": [{"x": 1}]}, {"vr": "US", "Value": [[0, [1], 3]]}, {"vr": "IS", "Value": [[0, [1], 3]]},
        {"vr": "DS", "Value": [[0, [1], 3]]}, {"vr": "DS", "Value": [{}]},
    ],
)  # fmt: skip
def test_what_the_model_does_not_allow_is_told_by_name_without_the_value(element: Any) -> None:
    with pytest.raises(Rejected) as caught:
        encode({"00080008": element}, x=b"")
    assert caught.value.status == 0xC000


def test_endless_nesting_is_refused() -> None:
    item: dict[str, Any] = {}
    for _ in range(40):
        item = {"00400260": {"vr": "SQ", "Value": [item]}}
    with pytest.raises(Rejected, match="deep"):
        encode(item)


def test_bulk_data_inside_sequences_is_bounded_in_sum_and_an_icon_is_not_the_image() -> None:
    item = {"00420011": {"vr": "OB", "BulkDataURI": "x"}}
    few, many = ({"0040A730": {"vr": "SQ", "Value": [item] * count}} for count in (8, 9))
    assert len(encode(few, x=bytes(1 << 20))) > 8 << 20
    with pytest.raises(Rejected, match="inside sequences"):
        encode(many, x=bytes(1 << 20))

    asked: list[tuple[str, bool]] = []

    class Remembering(Parts):
        def find(self, uri: str, *, is_image: bool) -> Any:
            asked.append((uri, is_image))
            return super().find(uri, is_image=is_image)

    icon = {"7FE00010": {"vr": "OW", "BulkDataURI": "icon"}}
    given = {"00880200": {"vr": "SQ", "Value": [icon]}, "7FE00010": {"vr": "OW", "BulkDataURI": "image"}}
    b"".join(json_model.encode(given, Remembering(icon=b"12", image=b"3456")))
    assert asked == [("icon", False), ("image", True)]


@pytest.mark.parametrize(
    "given", ["1e5000000", Decimal("1E+999999999"), "1" * 30, "Infinity", "NaN", "x", "", None, True, [0, [1], 2], 1.5]
)
def test_what_is_no_whole_number_of_a_sane_size_is_refused_at_once(given: Any) -> None:
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        json_model.whole_number(given)


JPEG = "1.2.840.10008.1.2.4."
LOSSLESS = bytes.fromhex("ffd8 ffc3 000b 08 0010 0010 01 01 11 00 ffda 0008 01 01 00 01 00 00")


@pytest.mark.parametrize(
    ("content_type", "begin", "hints", "expected"),
    [
        ("application/octet-stream", b"", (), EXPLICIT_LITTLE),
        (f"image/jpeg; transfer-syntax={JPEG}51", b"", (), JPEG + "51"),
        ("image/jpeg", b"", (JPEG + "90", JPEG + "57"), JPEG + "57"),
        ("image/jpeg", LOSSLESS, (), JPEG + "70"),
        ("image/jpeg", LOSSLESS[:-3] + b"\x04\x00\x00", (), JPEG + "57"),
        ("image/jpeg", bytes.fromhex("ffd8 ffe0 0004 0000 ffc0 0002"), (), JPEG + "50"),
        ("image/dicom-rle", b"", (), "1.2.840.10008.1.2.5"),
        (f"application/octet-stream; transfer-syntax={JPEG}80", b"", (), JPEG + "80"),
    ],
)
def test_the_encoding_is_what_the_sender_or_the_bytes_say(
    content_type: str, begin: bytes, hints: tuple[str, ...], expected: str
) -> None:
    assert syntax_of(content_type, begin, hints) == expected


@pytest.mark.parametrize("content_type", ["image/jp2", "image/jpeg", "image/png", f"image/jpeg; transfer-syntax={JPEG}90"])
def test_an_encoding_that_nobody_names_is_not_guessed(content_type: str) -> None:
    with pytest.raises(Rejected):
        syntax_of(content_type, b"\xff\xd8", ())
