"""Every length is checked; what does not fit is named in words, without values."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.dicom.reading import read_file_meta
from gateway.dicom.walker import Limits, Walk, walk
from gateway.errors import Rejected
from tests import builders
from tests.conftest import data_directory

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PATIENT_ID, PATIENT_NAME, PIXELS = 0x00100020, 0x00100010, 0x7FE00010
RADIOPHARMACEUTICALS, OTHER_SEQUENCE = 0x00540016, 0x00081115


def short(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def long(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    declared = len(value) if length is None else length
    return struct.pack(f"{order}HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, declared) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes) -> bytes:
    return implicit(ITEM, content)


def open_item(content: bytes) -> bytes:
    return implicit(ITEM, content, UNDEFINED) + implicit(ITEM_END, b"")


def open_sequence(tag: int, *items: bytes) -> bytes:
    return long(tag, "SQ", b"".join(items), UNDEFINED) + implicit(SEQUENCE_END, b"")


def reason_for(data: bytes, syntax: str = EXPLICIT, limits: Limits | None = None) -> str:
    with pytest.raises(Rejected) as caught:
        walk(data, syntax, limits=limits or Limits())
    assert caught.value.status == 0xC000
    return caught.value.reason


NAME = short(PATIENT_NAME, "PN", b"DOE^JANE")
ID = short(PATIENT_ID, "LO", b"AB12")


def test_the_top_level_is_found_with_its_values() -> None:
    result = walk(NAME + ID + long(PIXELS, "OW", bytes(10)), EXPLICIT)
    assert list(result.elements) == [PATIENT_NAME, PATIENT_ID, PIXELS]
    assert result.value(PATIENT_ID) == b"AB12"
    assert result.elements[PIXELS].length == 10
    assert result.value(0x00080005) == b""


def test_text_comes_without_padding() -> None:
    assert walk(short(0x0020000D, "UI", b"1.2.3\0"), EXPLICIT).text(0x0020000D) == "1.2.3"


def test_an_empty_object_is_sound() -> None:
    assert walk(b"", EXPLICIT).elements == {}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    assert walk(kind(NAME + ID), EXPLICIT).value(PATIENT_ID) == b"AB12"


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (implicit(PATIENT_NAME, b"DOE^JANE") + implicit(PATIENT_ID, b"AB12"), IMPLICIT),
        (short(PATIENT_NAME, "PN", b"DOE^JANE", ">") + short(PATIENT_ID, "LO", b"AB12", ">"), BIG),
        (NAME + ID, JPEG),
        (NAME + ID, "1.2.3.4.an.unknown.syntax"),  # PS3.5 A.4: explicit VR little endian
    ],
)
def test_each_encoding_is_walked(data: bytes, syntax: str) -> None:
    result = walk(data, syntax)
    assert (result.value(PATIENT_NAME), result.value(PATIENT_ID)) == (b"DOE^JANE", b"AB12")
    assert result.is_implicit_vr is (syntax == IMPLICIT)
    assert result.is_little_endian is (syntax != BIG)


@pytest.mark.parametrize(
    "sequence",
    [
        long(OTHER_SEQUENCE, "SQ", item(ID) + item(b"")),
        long(OTHER_SEQUENCE, "SQ", b""),
        open_sequence(OTHER_SEQUENCE, item(ID), open_item(ID)),
        open_sequence(OTHER_SEQUENCE),
        open_sequence(OTHER_SEQUENCE, open_item(open_sequence(OTHER_SEQUENCE, item(ID)))),
        long(OTHER_SEQUENCE, "SQ", open_item(long(OTHER_SEQUENCE, "SQ", item(ID)))),
    ],
)
def test_sequences_of_all_shapes_end_where_they_should(sequence: bytes) -> None:
    result = walk(sequence + ID, EXPLICIT)
    assert list(result.elements) == [OTHER_SEQUENCE, PATIENT_ID]
    assert result.elements[OTHER_SEQUENCE].vr == "SQ"


def test_the_content_of_an_open_sequence_leaves_its_delimiter_out() -> None:
    assert walk(open_sequence(OTHER_SEQUENCE, item(ID)), EXPLICIT).value(OTHER_SEQUENCE) == item(ID)


def test_unknown_of_undefined_length_holds_implicit_items() -> None:
    # PS3.5 6.2.2 note 2
    data = long(0x00091010, "UN", item(implicit(PATIENT_ID, b"AB12")), UNDEFINED) + implicit(SEQUENCE_END, b"")
    assert walk(data + ID, EXPLICIT).elements[0x00091010].vr == "SQ"


def test_implicit_items_under_an_explicit_sequence_are_understood() -> None:
    data = long(OTHER_SEQUENCE, "SQ", item(implicit(PATIENT_ID, b"AB12")))
    assert PATIENT_ID in walk(data + ID, EXPLICIT).elements


def test_an_implicit_sequence_of_known_length_is_checked_inside() -> None:
    good = implicit(RADIOPHARMACEUTICALS, item(implicit(PATIENT_ID, b"AB12")))
    assert walk(good, IMPLICIT).elements[RADIOPHARMACEUTICALS].vr == "SQ"
    assert "PatientID" in reason_for(implicit(RADIOPHARMACEUTICALS, item(implicit(PATIENT_ID, b"AB12", 40))), IMPLICIT)


def test_a_future_value_representation_has_a_long_length() -> None:
    # PS3.5 6.2, 7.1.2
    assert walk(long(0x00189999, "ZZ", b"abcd") + ID[:0], EXPLICIT).value(0x00189999) == b"abcd"


def test_fragments_of_compressed_pixels_are_counted_to_their_end() -> None:
    fragments = item(b"") + item(b"\xff\xd8\xff\xd9")
    data = ID + long(PIXELS, "OB", fragments, UNDEFINED) + implicit(SEQUENCE_END, b"") + long(0xFFFCFFFC, "OB", bytes(4))
    assert walk(data, JPEG).value(PIXELS) == fragments


def test_data_set_trailing_padding_is_an_element() -> None:
    assert 0xFFFCFFFC in walk(ID + long(0xFFFCFFFC, "OB", bytes(16)), EXPLICIT).elements


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ID + long(PIXELS, "OW", bytes(10), 52000), "ends in the middle of PixelData: 10 of 52,000 bytes arrived"),
        (NAME[:-3], "ends in the middle of PatientName: 5 of 8 bytes"),
        (ID + b"\x10\x00\x30", "3 stray bytes"),
        (ID + bytes(4), "4 stray bytes"),
        (ID + bytes(64), "Zeros follow where an element was expected"),
        (short(0x00020010, "UI", b"1.2.") + ID, "TransferSyntaxUID belongs to a command or a file header"),
        (struct.pack("<HH", 0x10, 0x20) + b"\x01\x7f\x00\x00", "stray bytes"),
        (struct.pack("<HH", 0x10, 0x20) + b"\x01\x7f\x00\x00" + bytes(8), "PatientID has no valid value type"),
        (ID + long(PIXELS, "OW", b"", UNDEFINED), "PixelData is not closed"),
        (long(OTHER_SEQUENCE, "SQ", item(ID), UNDEFINED), "ReferencedSeriesSequence is not closed"),
        (long(OTHER_SEQUENCE, "SQ", implicit(ITEM, ID, UNDEFINED), UNDEFINED), "An item of a sequence is not closed"),
        (long(OTHER_SEQUENCE, "SQ", implicit(ITEM, ID, 400)), "ends in the middle of ReferencedSeriesSequence"),
        (long(OTHER_SEQUENCE, "SQ", item(ID[:-2])) + ID, "PatientID (4 bytes) is larger than the sequence item"),
        (long(OTHER_SEQUENCE, "SQ", item(ID + b"xyz")) + ID, "3 stray bytes stand at the end of a sequence item"),
        (long(OTHER_SEQUENCE, "SQ", ID) + ID, "something that is not an item"),
        (implicit(ITEM, b"") + ID, "An item or delimiter stands where an element was expected"),
        (long(0x00181000, "UT", b"abc", UNDEFINED), "missing (undefined), which its type UT does not allow"),
        (long(PIXELS, "OB", implicit(ITEM, b"", UNDEFINED), UNDEFINED), "something that is not a fragment"),
        (long(PIXELS, "OB", implicit(ITEM, b"", 0xFFFFFFF0), UNDEFINED), "ends in the middle of PixelData"),
        (NAME + short(PATIENT_NAME, "PN", b"ROE^RICH"), "PatientName stands in the object twice"),
    ],
)
def test_what_does_not_fit_is_named(data: bytes, words: str) -> None:
    reason = reason_for(data)
    assert words in reason
    assert "DOE" not in reason


def test_the_same_element_twice_with_the_same_content_and_disorder_are_harmless() -> None:
    assert list(walk(ID + NAME + ID, EXPLICIT).elements) == [PATIENT_ID, PATIENT_NAME]


def test_nesting_has_an_end() -> None:
    data = ID
    for _ in range(33):
        data = long(OTHER_SEQUENCE, "SQ", item(data))
    assert "nested more than 32 deep" in reason_for(data)
    opened = open_sequence(OTHER_SEQUENCE, open_item(ID))
    for _ in range(1000):
        opened = open_sequence(OTHER_SEQUENCE, open_item(opened))
    assert "nested more than 32 deep" in reason_for(opened)


def test_the_number_of_elements_has_an_end() -> None:
    assert "more than 10 elements" in reason_for(
        b"".join(short(0x00110010 + index, "LO", b"") for index in range(11)), limits=Limits(elements=10)
    )
    items = long(OTHER_SEQUENCE, "SQ", item(b"") * 11)
    assert "more than 10 nested elements" in reason_for(items, limits=Limits(nested_elements=10))


def deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def test_a_deflated_object_is_walked_inside() -> None:
    assert walk(deflate(NAME + ID), DEFLATED).value(PATIENT_ID) == b"AB12"
    assert walk(deflate(NAME + ID) + b"\0", DEFLATED).value(PATIENT_ID) == b"AB12"


def test_the_trailer_of_gzip_is_welcome_when_it_is_right() -> None:
    trailer = struct.pack("<II", zlib.crc32(ID), len(ID))
    assert walk(deflate(ID) + trailer, DEFLATED).value(PATIENT_ID) == b"AB12"
    assert "follow the end" in reason_for(deflate(ID) + trailer[::-1], DEFLATED)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (deflate(NAME + ID)[:-4], "ends too early"),
        (b"\xff" * 20, "damaged"),
        (deflate(ID) + b"rest", "4 bytes follow the end"),
        (deflate(ID[:-1]), "ends in the middle of PatientID"),
    ],
)
def test_a_damaged_deflated_object_is_refused(data: bytes, words: str) -> None:
    assert words in reason_for(data, DEFLATED)


def test_a_bomb_is_not_inflated() -> None:
    bomb = deflate(long(PIXELS, "OW", bytes(40 << 20)))
    limits = Limits(inflate_always_bytes=1 << 20, inflate_ratio=20)
    assert "would grow beyond 1,048,576 bytes" in reason_for(bomb, DEFLATED, limits)


@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_cut_of_a_real_header_is_noticed(syntax: str) -> None:
    """No prefix of an object passes, unless the cut falls exactly between two elements."""
    part10 = builders.part10(builders.pet(), transfer_syntax_uid=syntax)
    data = part10[read_file_meta(part10)[1] :]
    whole = walk(data, syntax)
    ends = {0} | {element.offset + element.length for element in whole.elements.values()}
    ends |= {end + 8 for end in ends}  # behind the delimiter of an open sequence
    for cut in range(len(data)):
        if cut not in ends:
            reason_for(data[:cut], syntax)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG]))
def test_no_bytes_lead_to_anything_but_a_walk_or_a_reason(data: bytes, syntax: str) -> None:
    try:
        result = walk(data, syntax)
    except Rejected:
        return
    assert isinstance(result, Walk)
    assert all(element.offset + element.length <= len(result.buffer) for element in result.elements.values())


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_flipped_byte_never_leads_to_anything_but_a_walk_or_a_reason(place: int, byte: int) -> None:
    data = bytearray(NAME + open_sequence(OTHER_SEQUENCE, item(ID), open_item(ID)) + long(PIXELS, "OW", bytes(6)))
    data[place % len(data)] = byte
    with contextlib.suppress(Rejected):
        walk(bytes(data), EXPLICIT)


@pytest.mark.needs("data")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("odd/3gb-bulk-data-truncated.dcm", "of 3,221,225,472 bytes arrived"),
        ("odd/MR_truncated.dcm", "ends in the middle of PixelData"),
        ("odd/duplicates.dcm", "stands in the object twice"),
        ("odd/pet-variants/pet_truncated_in_header.dcm", "ends in the middle of CodeMeaning"),
    ],
)
def test_real_damaged_files_are_refused(name: str, words: str) -> None:
    path: Path = data_directory() / name
    data = path.read_bytes()
    meta, start = read_file_meta(data)
    assert words in reason_for(data[start:], meta.get(0x00020010, IMPLICIT.encode()).decode().rstrip("\0"))
