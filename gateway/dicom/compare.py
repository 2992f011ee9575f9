"""Do two objects say the same, however they are encoded? Element by element, pixels included.

Two encodings of one object differ in transfer syntax, value representations, length of sequences, padding: none of that is content.
What cannot be compared here (pixels compressed in ways that we do not decode) counts as different: a person then looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, RLELossless

from gateway.dicom.reading import Header
from gateway.dicom.walker import EXPLICIT_BIG, GE_PRIVATE, Element, name_of

#: Pixels that would need more than this in memory are compared only if both are stored alike.
MOST_PIXEL_BYTES = 256 << 20

_PIXEL_DATA = 0x7FE00010
_TRAILING_PADDING = 0xFFFCFFFC
#: Encodings whose pixels stand there as they are.
_BIG_ENDIAN = (EXPLICIT_BIG, GE_PRIVATE)
_PADDING = b" \0"


def differences(left: Header, right: Header, *, most: int = 5) -> list[str]:
    """Keywords of the elements that differ, up to ``most`` of them. Empty when the objects say the same.

    Never holds a value. Raises :class:`~gateway.errors.Quarantined` or ``ValueError`` when an object cannot be decoded.
    """
    return list(islice(_differences(left, right), most))


def _differences(left: Header, right: Header) -> Iterator[str]:
    ours, theirs = left.walk.elements, right.walk.elements
    same_order = left.walk.is_little_endian == right.walk.is_little_endian
    for tag in sorted(ours.keys() | theirs.keys()):
        if _is_encoding(tag):
            continue
        mine, other = ours.get(tag), theirs.get(tag)
        if mine is None or other is None:
            differ = _size(mine or other) > 0 or tag == _PIXEL_DATA
        elif tag == _PIXEL_DATA:
            differ = not _same_pixels(left, right)
        elif "SQ" in (mine.vr, other.vr) or not same_order:
            differ = not _same_decoded(left.dataset, right.dataset, tag)
        else:
            differ = left.raw(tag).rstrip(_PADDING) != right.raw(tag).rstrip(_PADDING)
        if differ:
            yield name_of(tag)


def _is_encoding(tag: int) -> bool:
    """Group lengths and padding at the end tell of the encoding alone (PS3.5 7.2, PS3.10 7.2)."""
    return tag & 0xFFFF == 0 or tag == _TRAILING_PADDING


def _size(element: Element | None) -> int:
    return element.length if element else 0


def _same_decoded(left: Dataset, right: Dataset, tag: int) -> bool:
    if tag not in left or tag not in right:  # groups that never enter the decoded data set
        return False
    return _same_value(left[tag].value, right[tag].value)


def _same_value(mine: Any, other: Any) -> bool:
    if _is_items(mine) and _is_items(other):
        return len(mine) == len(other) and all(_same_items(a, b) for a, b in zip(mine, other, strict=True))
    if isinstance(mine, bytes) and isinstance(other, bytes):
        return mine.rstrip(_PADDING) == other.rstrip(_PADDING)
    empty = (None, "", b"")
    return bool(mine == other) or (mine in empty and other in empty)


def _is_items(value: Any) -> bool:
    return isinstance(value, list | tuple) or hasattr(value, "is_undefined_length")


def _same_items(mine: Any, other: Any) -> bool:
    if not isinstance(mine, Dataset) or not isinstance(other, Dataset):
        return _same_value(mine, other)
    tags = {tag for tag in mine.keys() | other.keys() if not _is_encoding(tag)}
    return all(tag in mine and tag in other and _same_value(mine[tag].value, other[tag].value) for tag in tags)


def _same_pixels(left: Header, right: Header) -> bool:
    """Native pixels by their bytes, compressed ones decoded where pydicom alone can, else by their stored bytes."""
    if left.transfer_syntax_uid == right.transfer_syntax_uid:
        return left.raw(_PIXEL_DATA).rstrip(b"\0") == right.raw(_PIXEL_DATA).rstrip(b"\0")
    mine, other = _native_pixels(left), _native_pixels(right)
    return mine is not None and other is not None and mine.rstrip(b"\0") == other.rstrip(b"\0")


def _native_pixels(header: Header) -> bytes | None:
    """The pixels as native little-endian bytes, or None when they cannot be had here."""
    syntax, data = UID(header.transfer_syntax_uid), header.dataset
    if header.walk.elements[_PIXEL_DATA].length > MOST_PIXEL_BYTES:
        return None
    if not syntax.is_encapsulated:
        raw = header.raw(_PIXEL_DATA)
        swapped = header.transfer_syntax_uid in _BIG_ENDIAN and int(data.get("BitsAllocated", 8)) == 16
        return _swapped(raw) if swapped else raw
    frames = int(data.get("NumberOfFrames", 1) or 1)
    samples = int(data.get("SamplesPerPixel", 1))
    size = int(data.Rows) * int(data.Columns) * frames * samples * (int(data.BitsAllocated) // 8)
    if syntax != RLELossless or size > MOST_PIXEL_BYTES or samples != 1:
        return None
    options: dict[str, Any] = {
        "transfer_syntax_uid": syntax, "rows": int(data.Rows), "columns": int(data.Columns), "samples_per_pixel": samples,
        "photometric_interpretation": str(data.PhotometricInterpretation), "bits_allocated": int(data.BitsAllocated),
        "bits_stored": int(data.BitsStored), "pixel_representation": int(data.PixelRepresentation), "number_of_frames": frames,
        "pixel_keyword": "PixelData", "planar_configuration": 0,
    }  # fmt: skip
    array, _ = get_decoder(syntax).as_array(header.raw(_PIXEL_DATA), raw=True, **options)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _swapped(raw: bytes) -> bytes:
    swapped = bytearray(len(raw))
    swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
    return bytes(swapped)
