"""One element as it was read: its values as text, or its items; from the bytes of a value to that text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.dicom.charset import decode
from gateway.dicom.numbers import number_texts
from gateway.dicom.paths import TEXT_VRS
from gateway.dicom.values import Invalid

if TYPE_CHECKING:
    from gateway.dicom.items import Item

_UNSPLIT_VRS = frozenset(["ST", "LT", "UT", "UR"])


@dataclass(frozen=True, slots=True)
class Element:
    """An element that is present with a value: its values as written, or its items."""

    path: str
    texts: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    unit: str = ""  #: UCUM code that came with the number, in a structured report
    binary: bytes = b""  #: the bytes of an OB, which is no text: only a converter that asks for bytes looks at them

    @property
    def text(self) -> str:
        """All values as one text, as they stand in the file."""
        return "\\".join(self.texts)


def text_element(text: str, vr: str, raw: bytes, encodings: tuple[str, ...]) -> Element | None:
    if not raw.strip(b" \0"):
        return None
    if vr not in TEXT_VRS:
        raise Invalid("is not text")
    whole = decode(raw, vr, encodings)
    if vr in _UNSPLIT_VRS:
        return Element(text, (whole.rstrip(" \0"),))
    values = tuple(part.strip(" \0") for part in whole.split("\\"))
    return Element(text, values) if any(values) else None


def numbers_element(text: str, vr: str, raw: bytes, order: str) -> Element | None:
    return Element(text, number_texts(vr, raw, order)) if raw else None


def printable(value: bytes) -> bytes:
    """A private value of which nobody knows the type: text when it is nothing but printable ASCII. Raises :class:`Invalid`."""
    if any(byte < 0x20 or byte > 0x7E for byte in value.rstrip(b"\0")):
        raise Invalid("is private, and its type is not known")
    return value
