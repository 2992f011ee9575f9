"""The header that makes a data set a file: preamble, prefix and group 0002 (PS3.10 section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

#: PS3.7 D.3.3.2: names this implementation, in associations and in files. UUID-derived (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = "2.25.42321201846468773653550053806865334242"
IMPLEMENTATION_VERSION_NAME = "ISOBRIDGE_0"

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_UID_MOST, _AE_MOST = 64, 16
#: All that stands before the length of group 0002.
_START = bytes(128) + b"DICM" + _SHORT.pack(0x0002, 0x0000, b"UL", 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetaInputs:
    """What the header of one file is made from. Unknown UIDs and titles are empty."""

    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    calling_ae: str = ""
    called_ae: str = ""


def encode_file_meta(inputs: FileMetaInputs) -> bytes:
    """Preamble of zeros, ``DICM`` and group 0002 in explicit VR little endian.

    The AE titles stand in Source, Sending and Receiving Application Entity Title (0002,0016..0018), so that who sent
    a file can be told from the file alone.
    """
    before, behind = _around(inputs.transfer_syntax_uid, inputs.sop_class_uid, inputs.calling_ae, inputs.called_ae)
    group = before + _uid(0x0003, inputs.sop_instance_uid) + behind
    return _START + len(group).to_bytes(4, "little") + group


@lru_cache(maxsize=256)
def _around(transfer_syntax_uid: str, sop_class_uid: str, calling_ae: str, called_ae: str) -> tuple[bytes, bytes]:
    """What the headers of many files have in common: group 0002 before and behind the instance's own UID."""
    before = _LONG.pack(0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01" + _uid(0x0002, sop_class_uid)
    behind = b"".join(
        [
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
            _title(0x0016, calling_ae),
            _title(0x0017, calling_ae),
            _title(0x0018, called_ae),
        ]
    )
    return before, behind


def _uid(element: int, uid: str) -> bytes:
    return _element(element, b"UI", uid[:_UID_MOST], b"\0")


def _title(element: int, title: str) -> bytes:
    return _element(element, b"AE", title[:_AE_MOST], b" ") if title else b""


def _element(element: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += padding * (len(value) % 2)
    return _SHORT.pack(0x0002, element, vr, len(value)) + value
