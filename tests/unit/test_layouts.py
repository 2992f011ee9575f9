"""A data set laid out like a sound one before it: known without a walk, and never more than a walk would say."""

from __future__ import annotations

import copy
from unittest import mock

import pytest

from gateway.dicom import walker
from gateway.dicom.layouts import Layouts
from gateway.dicom.walker import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Element, walk
from gateway.errors import Rejected
from tests.builders import part10, pet


def _slices(syntax: str) -> list[bytes]:
    """Four slices of one size: the first two are walked, the second of them is learnt."""
    files = [
        part10(pet(InstanceNumber=str(number), SliceLocation=f"{number}.5"), transfer_syntax_uid=syntax) for number in range(1, 5)
    ]
    return [file[144 + int.from_bytes(file[140:144], "little") :] for file in files]  # PS3.10 7.1: the header tells its length


@pytest.fixture(autouse=True)
def _nothing_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walker, "_LAYOUTS", Layouts[Element]())


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_the_third_slice_of_a_series_is_known_without_a_walk(syntax: str) -> None:
    walked = [walk(data, syntax).elements for data in _slices(syntax)]  # bytes: never looked up
    with mock.patch.object(walker, "_walked", wraps=walker._walked) as full:
        known = [walk(bytearray(data), syntax).elements for data in _slices(syntax)]
    assert known == walked
    assert full.call_count == 2


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_no_change_of_a_byte_that_a_walk_looks_at_goes_unseen(syntax: str) -> None:
    """Every byte before the pixels is changed in turn; a walk with what was learnt says what one without it says."""
    first, second, *_ = (bytearray(data) for data in _slices(syntax))
    walk(first, syntax)
    pixels = walk(second, syntax).elements[0x7FE00010].offset
    differences = 0
    for position in range(pixels):
        damaged = copy.copy(first)
        damaged[position] ^= 0x41
        expected = _outcome(bytes(damaged), syntax)
        assert _outcome(damaged, syntax) == expected, f"byte {position}"
        differences += expected != _outcome(bytes(first), syntax)
    assert differences > 300  # headers and items; the rest are values


def _outcome(data: bytes | bytearray, syntax: str) -> object:
    try:
        return walk(data, syntax).elements
    except Rejected as error:
        return error.reason


def test_what_is_handed_out_is_a_copy() -> None:
    for data in _slices(EXPLICIT_LITTLE)[:3]:
        walk(bytearray(data), EXPLICIT_LITTLE).elements.clear()
    assert walk(bytearray(_slices(EXPLICIT_LITTLE)[3]), EXPLICIT_LITTLE).elements


def test_many_layouts_are_forgotten_not_gathered() -> None:
    layouts: Layouts[Element] = Layouts()
    for size in range(1000):
        data = bytearray(8 + size)
        for _ in range(2):
            layouts.learn("<HHI", data, {1: Element(1, "", 8, size)})
    remembered = sum(layouts.find("<HHI", bytearray(8 + size)) is not None for size in range(1000))
    assert 0 < remembered <= 64


def test_an_element_that_stood_twice_alike_is_refused_once_it_stands_there_twice_otherwise() -> None:
    def data(first: bytes, second: bytes) -> bytearray:
        header = b"\x10\x00\x20\x00LO\x04\x00"
        return bytearray(header + first + header + second)

    for _ in range(2):
        walk(data(b"1234", b"1234"), EXPLICIT_LITTLE)
    with pytest.raises(Rejected, match="PatientID stands in the object twice"):
        walk(data(b"1234", b"5678"), EXPLICIT_LITTLE)
