"""A number changed, so this is another object: its new UID, the link to the object it was made of, and who refers to whom.

The new UID is a UUID (PS3.5 B.2) of the received UID, the received content and what changed of its numbers: always the same for the same
object, never the same for two contents.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from gateway.dicom.rewrite import DataSet
from gateway.dicom.writing import text_bytes
from gateway.mapping.codes import Codes
from gateway.normalise import coerced_values
from gateway.normalise.coerced_values import tag_of
from gateway.normalise.original_attributes import ORIGINAL_ATTRIBUTES
from gateway.normalise.recode import padded

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_REFERENCED_CLASS, _REFERENCED_INSTANCE = 0x00081150, 0x00081155
_CONTENT, _ROWS = tag_of("ContentSequence"), tag_of("Rows")
_SOURCE_IMAGES, _PREDECESSORS = tag_of("SourceImageSequence"), tag_of("PredecessorDocumentsSequence")
#: PS3.16 CID 7202: source image for image processing operation.
_PURPOSE = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "121322", "text": "Source image for image processing operation"}  # fmt: skip  # noqa: E501
_NAMESPACE = uuid.UUID("5a0a3c0e-6b57-5d0b-9d5c-2f6c0f2b8a11")

#: SOP Instance UID -> the UID under which the normalised object goes out (often the same); None: the object is not known here.
References = Callable[[str], str | None]


def new_uid(received: str, content_digest: str, numbers: Sequence[str]) -> str:
    """``numbers`` tell what changed, as ``path=value``."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join((received, content_digest, *numbers))).int}"


def link_to_source(root: DataSet, codes: Codes) -> tuple[int, DataSet] | None:
    """Where a new object names the one it is made of (PS3.3 C.7.6.1.4; reports C.17.2.6), while ``root`` still has its received UID.

    Returns the sequence and the item to be added; None for what is neither image nor report.
    """
    link = root.new_item()
    _copy(root, SOP_CLASS_UID, link, _REFERENCED_CLASS)
    _copy(root, SOP_INSTANCE_UID, link, _REFERENCED_INSTANCE)
    if _CONTENT in root.elements:
        return _PREDECESSORS, _predecessor(root, link)
    if _ROWS not in root.elements:
        return None
    code = coerced_values.code_of(_PURPOSE, codes)
    if code is not None:
        purpose = link.new_item()
        code.write(purpose)
        link.put_items(tag_of("PurposeOfReferenceCodeSequence"), [purpose])
    return _SOURCE_IMAGES, link


def followed(root: DataSet, follow: References) -> dict[int, int]:
    """Let references follow to where their objects went: top-level sequence -> how many changed. What was remembered is history."""
    counts = {
        tag: _follow(root, tag, follow)
        for tag, node in list(root.elements.items())
        if node.vr == "SQ" and tag != ORIGINAL_ATTRIBUTES
    }
    return {tag: count for tag, count in counts.items() if count}


def _follow(dataset: DataSet, tag: int, follow: References) -> int:
    count = 0
    for item in dataset.items(tag):
        received = item.raw(_REFERENCED_INSTANCE).decode("ascii", "replace").strip(" \0")
        sent = follow(received) if received else None
        if sent is not None and sent != received:
            item.put(_REFERENCED_INSTANCE, "UI", text_bytes("UI", sent, item.encoding.order))
            count += 1
        for inner, node in list(item.elements.items()):
            if node.vr == "SQ":
                count += _follow(item, inner, follow)
    return count


def _predecessor(root: DataSet, link: DataSet) -> DataSet:
    """PS3.3 table C.17.2-3: study, series and instance of the document that this one replaces."""
    series, study = root.new_item(), root.new_item()
    _copy(root, _SERIES_UID, series, _SERIES_UID)
    series.put_items(tag_of("ReferencedSOPSequence"), [link])
    _copy(root, _STUDY_UID, study, _STUDY_UID)
    study.put_items(tag_of("ReferencedSeriesSequence"), [series])
    return study


def _copy(root: DataSet, tag: int, item: DataSet, into: int) -> None:
    """A UID as it was received, even one that is no proper UID."""
    item.put(into, "UI", padded(root.raw(tag), b"\0"))
