"""An encapsulated document (PS3.3 A.45, C.24.2): its bytes without the padding that an even length wants."""

from __future__ import annotations

DOCUMENT, DOCUMENT_LENGTH, MIME_TYPE = 0x00420011, 0x00420015, 0x00420012


def unpadded(document: memoryview, length: int | None) -> memoryview:
    """The document itself. ``length``: Encapsulated Document Length (0042,0015), where there is one.

    A length that differs by more than the one byte of padding is not believed. Without one, a zero at the end is padding: no PDF and no
    text ends with it.
    """
    if length is not None and len(document) - 1 <= length <= len(document):
        return document[:length]
    return document[:-1] if bytes(document[-1:]) == b"\0" else document
