"""Original Attributes Sequence (0400,0561): what stood there before, who changed it, when and why (PS3.3 C.12.1.1.9).

Former values keep their bytes. Where the character set of the object changed, the item names the former one, so that they still read
right (PS3.3 C.12.1.1.2 lets an item declare its own). An element that was added is remembered as empty. Items that other systems wrote
stay; ours come behind.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.dicom.rewrite import DataSet
from gateway.dicom.writing import text_bytes

ORIGINAL_ATTRIBUTES = 0x04000561
_MODIFIED_ATTRIBUTES, _DATETIME, _SYSTEM = 0x04000550, 0x04000562, 0x04000563
_SOURCE, _REASON = 0x04000564, 0x04000565
_MOST_LETTERS = 64


class Reason(StrEnum):
    """Defined terms of Reason for the Attribute Modification."""

    COERCE = "COERCE"  #: brought in line with what the receiver uses
    CORRECT = "CORRECT"  #: the former value was wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Modification:
    """One item: elements that changed for one reason."""

    reason: Reason
    at: dt.datetime  #: aware
    system: str  #: who changed it: this gateway, by which mapping and version
    source: str  #: who gave us the object, may be empty
    former: Mapping[int, bytes]  #: tag -> the encoded element as it was, header included


def append(root: DataSet, modification: Modification) -> None:
    """Add one item to the object's Original Attributes Sequence."""
    root.append(ORIGINAL_ATTRIBUTES, _item(root, modification))


def modifying_system(mapping: str, version: str) -> str:
    """Modifying System (LO, 64 characters): ``Isobridge <mapping> <version of its section dicom>``."""
    kept = _MOST_LETTERS - len(f"Isobridge  {version}")
    return f"Isobridge {mapping[:kept]} {version}".strip()


def _item(root: DataSet, modification: Modification) -> DataSet:
    order = root.encoding.order
    item, before = root.new_item(), root.new_item()
    for tag, encoded in modification.former.items():
        before.put_encoded(tag, encoded)
    item.put_items(_MODIFIED_ATTRIBUTES, [before])
    moment = modification.at.strftime("%Y%m%d%H%M%S.%f%z")
    item.put(_DATETIME, "DT", text_bytes("DT", moment, order))
    item.put(_SYSTEM, "LO", text_bytes("LO", plain(modification.system), order))
    item.put(_SOURCE, "LO", text_bytes("LO", plain(modification.source), order))
    item.put(_REASON, "CS", text_bytes("CS", modification.reason, order))
    return item


def plain(text: str) -> str:
    """What any character set can hold in one LO: a hostile AE title must not spoil the object."""
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable() and letter != "\\")[:_MOST_LETTERS]
