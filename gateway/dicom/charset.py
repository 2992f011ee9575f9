"""Text of DICOM elements, decoded strictly: a letter that the declared character set does not hold is told, never replaced.

Specific Character Set (0008,0005): PS3.3 C.12.1.1.2, PS3.5 section 6.1.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

from pydicom.charset import decode_bytes, default_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from gateway.dicom.reading import python_encodings
from gateway.dicom.values import Invalid

CHARSET_TAG = 0x00080005
#: Kinds of elements whose letters depend on the character set; all others are ASCII.
CHARSET_VRS = frozenset(["SH", "LO", "ST", "LT", "UC", "UT", "PN"])
_OUTSIDE = "holds letters outside the character set that the sender declared"


@lru_cache(maxsize=64)
def encodings_of(character_set: bytes) -> tuple[str, ...]:
    """Python's codecs for a declared character set; none for a declaration that is damaged: then only ASCII can be read."""
    try:
        return tuple(python_encodings(character_set))
    except (ValueError, LookupError):
        return ()


def decode(raw: bytes, vr: str, encodings: tuple[str, ...]) -> str:
    """The text of a value. Raises :class:`Invalid` when it cannot be known."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if vr not in CHARSET_VRS:
        raise Invalid("holds letters that its kind of element must not hold")
    if not encodings or (encodings == (default_encoding,) and b"\x1b" not in raw):
        raise Invalid(_OUTSIDE)
    if encodings[0] == default_encoding and not raw.partition(b"\x1b")[0].isascii():
        raise Invalid(_OUTSIDE)  # PS3.5 6.1.2.5: until the first escape the first set counts, here ASCII
    try:
        if len(encodings) == 1 and b"\x1b" not in raw:
            return raw.decode(encodings[0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydicom warns and replaces; a replaced letter is a guess
            return decode_bytes(raw, list(encodings), PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    except (UnicodeDecodeError, LookupError, UserWarning) as error:
        raise Invalid(_OUTSIDE) from error
