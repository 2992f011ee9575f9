"""The transfer syntax of compressed pixel data that came as bulk data: as the sender says, else as the bytes say; never a guess."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.dicom.walker import CANNOT_UNDERSTAND, EXPLICIT_LITTLE
from gateway.errors import Rejected
from gateway.receive.file_stream import TRANSFER_SYNTAX_NOT_SUPPORTED
from gateway.web.dicomweb_accept import OCTETS
from gateway.web.dicomweb_files import FRAME_TYPES
from gateway.web.multipart_reader import media_type

_JPEG = "1.2.840.10008.1.2.4."
#: PS3.18 table 8.7.3-5 and following: the encodings that a media type may carry.
_CARRIES = {
    **{kind: frozenset(uid for uid, other in FRAME_TYPES.items() if other == kind) for kind in FRAME_TYPES.values()},
    "image/jpx": frozenset({_JPEG + "92", _JPEG + "93"}),
    "video/mpeg": frozenset({_JPEG + "100", _JPEG + "101"}),
    "video/mpeg2": frozenset({_JPEG + "100", _JPEG + "101"}),
    "video/mp4": frozenset({_JPEG + str(number) for number in (102, 103, 104, 105, 106, 107, 108)}),
}
#: ITU-T T.81 table B.1: the start of a frame tells the process. Lossless (SOF3) is .70 with predictor 1, else .57.
_BASELINE, _EXTENDED, _LOSSLESS, _SCAN = 0xC0, 0xC1, 0xC3, 0xDA


def is_video(transfer_syntax_uid: str) -> bool:
    """One fragment holds all frames."""
    return any(transfer_syntax_uid in _CARRIES[kind] for kind in ("video/mpeg2", "video/mp4"))


def syntax_of(content_type: str, begin: bytes, hints: Iterable[str]) -> str:
    """By the part's ``transfer-syntax``, by the ``hints`` of the metadata, by the bytes. Raises :class:`Rejected` (0xC122)."""
    kind, parameters = media_type(content_type)
    given = parameters.get("transfer-syntax", "")
    if kind in (OCTETS, ""):
        if given in ("", EXPLICIT_LITTLE):
            return EXPLICIT_LITTLE
        carries = frozenset(FRAME_TYPES)  # compressed frames as mere octets, but named
    else:
        carries = _CARRIES.get(kind, frozenset())
    for uid in (given, *hints):
        if uid in carries:
            return uid
    if not given:
        if len(carries) == 1:
            return next(iter(carries))
        if kind == "image/jpeg" and (told := _jpeg_process(begin)) is not None:
            return told
    raise Rejected(
        "The encoding of the compressed pixel data is not clear; name it as transfer-syntax in the part's Content-Type.",
        status=TRANSFER_SYNTAX_NOT_SUPPORTED if carries else CANNOT_UNDERSTAND,
    )


def _jpeg_process(begin: bytes) -> str | None:
    """The transfer syntax that the markers of a JPEG stream tell of."""
    position, found = 2, None
    while position + 4 <= len(begin) and begin[position] == 0xFF:
        marker, length = begin[position + 1], int.from_bytes(begin[position + 2 : position + 4], "big")
        if marker == _BASELINE:
            return _JPEG + "50"
        if marker == _EXTENDED:
            return _JPEG + "51"
        found = marker if marker == _LOSSLESS else found
        if marker == _SCAN:
            predictor = begin[position + length - 1 : position + length]
            return (_JPEG + ("70" if predictor == b"\x01" else "57")) if found else None
        position += 2 + length
    return None
