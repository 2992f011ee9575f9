"""All text of an object from its declared character set to UTF-8 (ISO_IR 192), letter for letter or not at all.

PS3.3 C.12.1.1.2, PS3.5 section 6.1. An item may declare a set of its own. What Original Attributes remember in a set of its own stays as
it is: a former value is history.
"""

from __future__ import annotations

import mmap
import re

from pydicom.charset import default_encoding

from gateway.dicom.charset import CHARSET_TAG, CHARSET_VRS, decode, encodings_of
from gateway.dicom.rewrite import DataSet
from gateway.dicom.values import Invalid
from gateway.dicom.walker import name_of

UTF8 = b"ISO_IR 192"
_UTF8_ENCODINGS = encodings_of(UTF8)
_MODIFIED_ATTRIBUTES = 0x04000550
#: Values that are one text; in them a backslash is a letter (PS3.5 table 6.2-1).
_UNSPLIT = frozenset(["ST", "LT", "UT"])
#: JIS X 0201 has a yen sign and an overline where ASCII has a backslash and a tilde.
_ROMAJI = "shift_jis"
#: Where a text falls back to the first character set.
_CHARSET_IN_BYTES = re.compile(rb"\x08\x00\x05\x00|\x00\x08\x00\x05")
_DELIMITERS = re.compile(rb"[\\=^\r\n\f\t]")


class NotExact(ValueError):
    """A text cannot be carried over letter for letter. Names the element, never the value."""


def charset_of(dataset: DataSet) -> bytes:
    return dataset.raw(CHARSET_TAG).strip(b" \0")


def to_utf8(root: DataSet, *, declare: bool) -> set[int]:
    """Re-encode every text of the object; ISO_IR 192 is declared wherever a set was declared, at the top also when asked to.

    What is declared as ISO_IR 192 already keeps its bytes.

    Returns the top-level sequences of which an item declared a set of its own. Raises :class:`NotExact`; the data set must not be
    used then.
    """
    declared = charset_of(root)
    own = _recode(root, encodings_of(declared))
    if (declared or declare) and declared != UTF8:
        root.put(CHARSET_TAG, "CS", UTF8)
    return own


def is_plain(raw: bytes | memoryview | mmap.mmap) -> bool:
    """ASCII without escapes: the same in every character set that DICOM knows."""
    content = bytes(raw)
    return content.isascii() and b"\x1b" not in content


def _recode(dataset: DataSet, encodings: tuple[str, ...]) -> set[int]:
    """Returns the sequences in which a declaration changed."""
    declared = set()
    for tag, node in list(dataset.elements.items()):
        if node.vr == "SQ":
            if _recode_items(dataset, tag, encodings):
                declared.add(tag)
        elif node.vr in CHARSET_VRS and encodings != _UTF8_ENCODINGS:
            raw = dataset.raw(tag)
            if not is_plain(raw) or _is_romaji(raw, node.vr, encodings):
                value = _utf8(raw, tag, node.vr, encodings)
                node.value = value if value != raw else node.value
    return declared


def _recode_items(dataset: DataSet, tag: int, encodings: tuple[str, ...]) -> bool:
    node = dataset.elements[tag]
    content = bytes(dataset.buffer[node.start : node.stop])
    if node.items is None and is_plain(content) and _ROMAJI not in encodings and _CHARSET_IN_BYTES.search(content) is None:
        return False  # nothing in it depends on a character set
    found = False
    for item in dataset.items(tag):
        own = charset_of(item)
        if CHARSET_TAG in item.elements and tag == _MODIFIED_ATTRIBUTES:
            continue
        found |= bool(_recode(item, encodings_of(own) if own else encodings))
        if CHARSET_TAG in item.elements and own != UTF8:
            item.put(CHARSET_TAG, "CS", UTF8)
            found = True
    return found


def _utf8(raw: bytes, tag: int, vr: str, encodings: tuple[str, ...]) -> bytes:
    if _is_romaji(raw, vr, encodings):
        raise NotExact(f"{name_of(tag)} holds letters that two character sets read differently")
    undeclared = not encodings or encodings[0] == default_encoding
    if undeclared and not all(part.split(b"\x1b")[0].isascii() for part in _DELIMITERS.split(raw)):
        raise NotExact(f"{name_of(tag)} holds letters outside the character set that the sender declared")
    try:
        text = decode(raw, vr, encodings)
    except Invalid as error:
        raise NotExact(f"{name_of(tag)} {error}") from error
    if "\x1b" in text or "\ufffd" in text:
        raise NotExact(f"{name_of(tag)} holds letters outside the character set that the sender declared")
    return padded(text.rstrip("\0").encode())


def _is_romaji(raw: bytes, vr: str, encodings: tuple[str, ...]) -> bool:
    return _ROMAJI in encodings and (b"~" in raw or (vr in _UNSPLIT and b"\\" in raw))


def padded(value: bytes, filler: bytes = b" ") -> bytes:
    """To an even length (PS3.5 section 6.2)."""
    return value + filler * (len(value) % 2)
