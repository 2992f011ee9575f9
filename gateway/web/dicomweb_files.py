"""From a spool file to what DICOMweb answers: its bytes in pieces, its header as JSON (PS3.18 annex F), its frames. Blocking; no routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.encaps import get_frame
from pydicom.uid import ExplicitVRBigEndian
from starlette.concurrency import run_in_threadpool

from gateway.dicom.encapsulated import DOCUMENT, DOCUMENT_LENGTH, MIME_TYPE, unpadded
from gateway.dicom.reading import Header, read_header
from gateway.errors import Quarantined, Rejected
from gateway.model import JsonObject

PIECE_BYTES = 512 * 1024
#: Binary values above this are named by an address instead of being written into the JSON.
INLINE_BYTES = 1024
PIXEL_DATA = 0x7FE00010
EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
#: PS3.18 table 8.7.3-5: the media type of one compressed frame.
FRAME_TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
OCTETS = "application/octet-stream"


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file, piece by piece, read off the event loop: a study of any size needs the memory of one piece."""
    file = await run_in_threadpool(path.open, "rb")
    try:
        while piece := await run_in_threadpool(file.read, PIECE_BYTES):
            yield piece
    finally:
        await run_in_threadpool(file.close)


def metadata(path: Path, address: str) -> JsonObject:
    """The header as DICOM JSON (PS3.18 F.2). ``address`` is that of the instance. Raises :class:`Rejected` (500) when it is damaged.

    Large binary values stand there as BulkDataURI. Compressed pixel data is left out: its frames have addresses of their own.
    """
    header = _open(path)
    found: JsonObject = {}
    for element in header.dataset:
        tag = int(element.tag)
        if tag & 0xFFFF == 0 or tag >> 16 == 0x0002:
            continue
        found[f"{tag:08X}"] = _json(element, address)
    # Whatever the file's character set was, JSON is UTF-8 (PS3.18 F.2).
    found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    pixels = header.walk.elements.get(PIXEL_DATA)
    if pixels is not None and header.transfer_syntax_uid not in FRAME_TYPES:
        found["7FE00010"] = {"vr": "OB" if pixels.vr == "OB" else "OW", "BulkDataURI": f"{address}/bulkdata/7FE00010"}
    return dict(sorted(found.items()))


def _json(element: DataElement, address: str) -> JsonObject:
    if element.VR in _BINARY and element.value and len(element.value) > INLINE_BYTES:
        return {"vr": str(element.VR), "BulkDataURI": f"{address}/bulkdata/{int(element.tag):08X}"}
    try:
        found: JsonObject = element.to_json_dict(None, INLINE_BYTES)
    except (ValueError, TypeError, AttributeError, OverflowError, LookupError):
        return {"vr": str(element.VR)}  # a value that its own VR does not allow has no form in JSON
    return found


def bulk_data(path: Path, tag: int) -> memoryview:
    """The value of one top-level element as it stands in the file: a view of it, not a copy. Raises :class:`Rejected` (404)."""
    header = _open(path)
    if tag not in header.walk.elements or (tag == PIXEL_DATA and header.transfer_syntax_uid in FRAME_TYPES):
        raise Rejected("this instance has no such bulk data; compressed pixel data is served frame by frame", status=404)
    element = header.walk.elements[tag]
    return memoryview(header.walk.buffer)[element.offset : element.offset + element.length]


def pdf(path: Path) -> memoryview:
    """The document of an encapsulated PDF, a view of the file. Raises :class:`Rejected` (404) for everything else."""
    header = _open(path)
    element = header.walk.elements.get(DOCUMENT)
    kind = header.raw(MIME_TYPE).decode("ascii", "replace").strip(" \0").lower()
    if element is None or kind != "application/pdf":
        raise Rejected("only encapsulated PDF has a rendered form here; ask for the instance itself", status=404)
    whole = memoryview(header.walk.buffer)[element.offset : element.offset + element.length]
    raw = header.raw(DOCUMENT_LENGTH)
    length = int.from_bytes(raw, "big" if header.transfer_syntax_uid == ExplicitVRBigEndian else "little") if raw else None
    return unpadded(whole, length)


async def view_pieces(view: memoryview) -> AsyncIterator[bytes]:
    """A view of a mapped file, piece by piece: reading a page of it may wait for the disk, so not on the event loop."""
    for start in range(0, len(view), PIECE_BYTES):
        yield await run_in_threadpool(bytes, view[start : start + PIECE_BYTES])


def frame_type(transfer_syntax_uid: str) -> str:
    return FRAME_TYPES.get(transfer_syntax_uid, OCTETS)


def frames(path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    """Frames by number, from 1. Raises :class:`Rejected`: 404 for a frame that is not there, 406 for what has no whole bytes."""
    header = _open(path)
    element = header.walk.elements.get(PIXEL_DATA)
    if element is None:
        raise Rejected("this instance has no pixel data of frames", status=404)
    count = int(header.dataset.get("NumberOfFrames") or 1)
    if any(number > count for number in numbers):
        raise Rejected(f"this instance has {count} frame(s)", status=404)
    pixels = memoryview(header.walk.buffer)[element.offset : element.offset + element.length]
    if header.transfer_syntax_uid in FRAME_TYPES:
        body = bytes(pixels)
        for number in numbers:
            yield _compressed(header, body, number, count)
        return
    size = _native_bytes(header)
    for number in numbers:
        frame = bytes(pixels[(number - 1) * size : number * size])
        if len(frame) < size:
            raise Rejected("the pixel data of this instance ends before this frame", status=404)
        yield frame


def _compressed(header: Header, body: bytes, number: int, count: int) -> bytes:
    offsets = (header.raw(EXTENDED_OFFSETS), header.raw(EXTENDED_LENGTHS))
    try:
        return get_frame(body, number - 1, number_of_frames=count, extended_offsets=offsets if all(offsets) else None)
    except (ValueError, IndexError) as error:
        raise Rejected("the compressed pixel data of this instance cannot be divided into frames", status=404) from error


def _native_bytes(header: Header) -> int:
    dataset = header.dataset
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    bits = rows * columns * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.get("BitsAllocated") or 0)
    if not bits or bits % 8:
        raise Rejected("a frame of this instance is no whole number of bytes; fetch the instance", status=406)
    return bits // 8


def _open(path: Path) -> Header:
    try:
        return read_header(path)
    except FileNotFoundError as error:
        raise Rejected("the original has left the archive (retention); only its facts are kept", status=410) from error
    except Quarantined as error:
        raise Rejected("this object can no longer be read; the operator finds more in the log", status=500) from error
