"""What a file in a watched folder is: decided by its first bytes, here and nowhere else.

The one seam for other importers: whoever reads another kind of file (tables of dosimetry software) adds its kind here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from gateway.dicom.reading import read_file_meta
from gateway.errors import Quarantined
from gateway.receive.file_stream import HEAD_BYTES

__all__ = ["HEAD_BYTES", "Kind", "kind_of", "reason_against"]

_MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
#: PS3.4 table B.5-1 does not list it: the index of a medium (PS3.10 section 8).
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
#: How files of dosimetry software end.
_TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".json", ".cas", ".bld")
#: A data set without a file header begins in group 0008, mostly with one of its first elements.
_FIRST_GROUP, _FIRST_ELEMENTS_MOST, _FIRST_LENGTH_MOST = 0x0008, 0x0060, 1024


class Kind(StrEnum):
    DICOM = "dicom"
    ZIP = "zip"  #: an archive of files
    INDEX = "index"  #: a DICOMDIR: it tells of files, and is none to store
    TABLE = "table"  #: of dosimetry software; an adapter decides whether it is one
    OTHER = "other"


def kind_of(head: bytes, name: str) -> Kind:
    """``head``: the first :data:`HEAD_BYTES` of the file. ``name``: its own, without folders; a hint, never proof."""
    if head[128:132] == b"DICM" or head[:2] == b"\x02\x00":
        return Kind.INDEX if _is_index(head) else Kind.DICOM
    if name.lower().endswith(_TABLES):  # a workbook is a ZIP as well
        return Kind.TABLE
    if head.startswith(_ZIP):
        return Kind.ZIP
    return Kind.DICOM if _begins_like_a_data_set(head) else Kind.OTHER


def reason_against(kind: Kind) -> str:
    """Why a file of this kind is set aside."""
    if kind is Kind.ZIP:
        return "An archive inside an archive is not opened."
    if kind is Kind.TABLE:
        return "A table inside an archive is not read: put it into the folder itself."
    return "This is neither a DICOM file nor a table, nor a ZIP archive of DICOM files."


def _is_index(head: bytes) -> bool:
    try:
        meta, _ = read_file_meta(head)
    except Quarantined:
        return False
    return meta.get(_MEDIA_STORAGE_SOP_CLASS_UID, b"").rstrip(b"\0 ") == _MEDIA_STORAGE_DIRECTORY


def _begins_like_a_data_set(head: bytes) -> bool:
    """Without a header nothing says that it is DICOM; the first element must look exactly like one, and the walker proves the rest."""
    if len(head) < 16:
        return False
    little, big = int.from_bytes(head[:2], "little"), int.from_bytes(head[:2], "big")
    order: Literal["little", "big"] | None = "little" if little == _FIRST_GROUP else "big" if big == _FIRST_GROUP else None
    if order is None or int.from_bytes(head[2:4], order) > _FIRST_ELEMENTS_MOST:
        return False
    vr = head[4:6]
    if vr.isalpha() and vr.isupper():
        return True
    return order == "little" and int.from_bytes(head[4:8], "little") <= _FIRST_LENGTH_MOST
