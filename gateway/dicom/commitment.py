"""The data sets of storage commitment (PS3.4 J.3, Push Model): what is asked, and what is answered. Little endian, explicit or implicit VR.

Written by hand because both must be cheap beside the receiver's loop; the walker has checked every length before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from gateway.dicom.walker import walk
from gateway.errors import Rejected

PUSH_MODEL = "1.2.840.10008.1.20.1"
#: PS3.4 J.3.5: the well-known instance.
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
EXPLICIT = TRANSFER_SYNTAXES[0]

#: PS3.4 J.3.2.1.1 and J.3.3.1.1.
REQUEST_ACTION, ALL_COMMITTED, SOME_FAILED = 1, 1, 2
#: Failure reasons (PS3.3 C.14.1.1).
PROCESSING_FAILURE, NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0110, 0x0112, 0x0119
#: PS3.7 10.1.4 and annex C: answers to the request.
INVALID_ARGUMENT, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0115, 0x0123, 0x0213

REQUEST_MOST_BYTES = 8 << 20
_REFERENCES_MOST = 50_000
_TRANSACTION, _FAILED, _REFERENCED = 0x00081195, 0x00081198, 0x00081199
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_ITEM, _ITEM_END = 0xFFFEE000, 0xFFFEE00D
_UNDEFINED = 0xFFFFFFFF
_Write = Callable[[int, bytes, bytes], bytes]
_TAG = Struct("<HH")
_TAG_LENGTH = Struct("<HHI")
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2s2xI")
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One object that somebody asks us to be responsible for."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Request:
    transaction_uid: str
    references: tuple[Reference, ...]


def decode_request(encoded: bytes, transfer_syntax_uid: str) -> Request:
    """Read the Action Information. Raises :class:`Rejected` (0115) when it is damaged or says too little."""
    walked = walk(encoded, transfer_syntax_uid)
    transaction = walked.text(_TRANSACTION)
    content = walked.value(_REFERENCED)
    references = tuple(_references(content, explicit=transfer_syntax_uid == EXPLICIT))
    if not _is_uid(transaction) or not references:
        raise _rejected("The request names no transaction or no objects.")
    if len({reference.sop_instance_uid for reference in references}) != len(references):
        raise _rejected("The request names an object twice.")
    return Request(transaction, references)


def _references(content: bytes, *, explicit: bool) -> Iterator[Reference]:
    position = count = 0
    while position + 8 <= len(content):
        group, element, length = _TAG_LENGTH.unpack_from(content, position)
        if (group << 16 | element) != _ITEM:
            return
        position += 8
        count += 1
        if count > _REFERENCES_MOST:
            raise _rejected(f"The request names more than {_REFERENCES_MOST:,} objects.")
        end = len(content) if length == _UNDEFINED else position + length
        found, position = _item(content, position, end, explicit=explicit)
        reference = Reference(found.get(_CLASS, ""), found.get(_INSTANCE, ""))
        if not _is_uid(reference.sop_class_uid) or not _is_uid(reference.sop_instance_uid):
            raise _rejected("The request names an object without its UIDs.")
        yield reference


def _item(content: bytes, position: int, end: int, *, explicit: bool) -> tuple[dict[int, str], int]:
    """The UIDs of one item, and where the next one begins."""
    found: dict[int, str] = {}
    while position + 8 <= end:
        group, element = _TAG.unpack_from(content, position)
        tag = group << 16 | element
        if tag == _ITEM_END:
            return found, position + 8
        position, length = _length(content, position, explicit=explicit)
        if length == _UNDEFINED:
            raise _rejected("The request holds sequences within its references.")
        if tag in (_CLASS, _INSTANCE):
            found[tag] = content[position : position + length].decode("ascii", "replace").strip(" \0")
        position += length
    return found, position


def _length(content: bytes, position: int, *, explicit: bool) -> tuple[int, int]:
    """Where the value of the element at ``position`` begins, and how long it is."""
    if not explicit:
        return position + 8, _TAG_LENGTH.unpack_from(content, position)[2]
    _, _, vr, length = _SHORT.unpack_from(content, position)
    if vr in _LONG_VRS and position + 12 <= len(content):
        return position + 12, _LONG.unpack_from(content, position)[3]
    return position + 8, length


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and text.replace(".", "").isdigit()


def _rejected(reason: str) -> Rejected:
    return Rejected(reason, status=INVALID_ARGUMENT)


def encode_report(transaction_uid: str, outcomes: Sequence[tuple[Reference, int]], *, explicit: bool) -> tuple[int, bytes]:
    """The event type and its Event Information. An outcome is 0 (committed) or a failure reason."""
    write = _explicit if explicit else _implicit
    failed = [_encode_item(write, reference, reason) for reference, reason in outcomes if reason]
    good = [_encode_item(write, reference, 0) for reference, reason in outcomes if not reason]
    encoded = write(_TRANSACTION, b"UI", _uid(transaction_uid))
    if failed:
        encoded += write(_FAILED, b"SQ", b"".join(failed))
    if good:
        encoded += write(_REFERENCED, b"SQ", b"".join(good))
    return (SOME_FAILED if failed else ALL_COMMITTED), encoded


def _encode_item(write: _Write, reference: Reference, reason: int) -> bytes:
    encoded = write(_CLASS, b"UI", _uid(reference.sop_class_uid)) + write(_INSTANCE, b"UI", _uid(reference.sop_instance_uid))
    if reason:
        encoded += write(_REASON, b"US", reason.to_bytes(2, "little"))
    return _TAG_LENGTH.pack(0xFFFE, 0xE000, len(encoded)) + encoded


def _uid(text: str) -> bytes:
    return text.encode("ascii", "replace") + b"\0" * (len(text) % 2)


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    head = (_LONG if vr in _LONG_VRS else _SHORT).pack(tag >> 16, tag & 0xFFFF, vr, len(value))
    return head + value


def _implicit(tag: int, _vr: bytes, value: bytes) -> bytes:
    return _TAG_LENGTH.pack(tag >> 16, tag & 0xFFFF, len(value)) + value
