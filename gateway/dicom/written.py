"""One data set, whoever opened it: by pydicom, or item by item from its bytes (:mod:`gateway.dicom.raw_items`)."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from gateway.dicom.raw_items import RawItem


class Written(NamedTuple):
    """An element as it was written: its VR, where the encoding tells it, its bytes, and their order, where they are still encoded."""

    vr: str
    value: bytes
    order: str


def written(dataset: Dataset | RawItem, tag: int) -> Written | None:
    """An element as it was written; ``None`` when it is absent. What pydicom has decoded already has no byte order any more."""
    if isinstance(dataset, RawItem):
        found = dataset.elements.get(tag)
        if found is None:
            return None
        return Written(found[0], b"" if found[0] == "SQ" else dataset.value(tag), "<" if dataset.little else ">")
    raw = dataset.get_item(tag, keep_deferred=True) if tag in dataset else None
    if raw is None:
        return None
    if isinstance(raw, RawDataElement):
        return Written(str(raw.VR or ""), raw.value or b"", "<" if raw.is_little_endian else ">")
    return Written(str(raw.VR or ""), b"" if raw.VR == "SQ" else raw_bytes(dataset, tag), "")


def private_tag(dataset: Dataset | RawItem, tag: int, creator: str) -> int | None:
    """Where a private element lies: in the block that its creator reserved (PS3.5 section 7.8.1)."""
    group = tag >> 16
    tags = dataset.elements if isinstance(dataset, RawItem) else set(map(int, dataset.keys()))
    for key in sorted(key for key in tags if key >> 16 == group and 0x10 <= key & 0xFFFF <= 0xFF):
        found = group << 16 | (key & 0xFF) << 8 | tag & 0xFF
        if found in tags and raw_bytes(dataset, key).strip(b" \0") == creator.encode():
            return found
    return None


def raw_bytes(dataset: Dataset | RawItem, tag: int) -> bytes:
    """The bytes of a text element; those of an already decoded one are rebuilt as UTF-8 or ASCII."""
    if isinstance(dataset, RawItem):
        return dataset.value(tag)
    if tag not in dataset:
        return b""
    raw = dataset.get_item(tag, keep_deferred=True)
    value = raw.value if raw is not None else None
    if value is None or isinstance(value, bytes):
        return value or b""
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return "\\".join(str(getattr(one, "original_string", None) or one) for one in values).encode()
