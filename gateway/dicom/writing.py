"""Text -> the bytes of a DICOM value, held to what its value representation allows (PS3.5 table 6.2-1). Never cut, never rounded silently.

The counterpart of ``values.py``. Letters beyond ASCII come out as UTF-8; the caller declares ISO_IR 192.
"""

from __future__ import annotations

import re
import struct
from decimal import Decimal

from pydicom.datadict import dictionary_VM

from gateway.dicom import values
from gateway.dicom.charset import CHARSET_VRS
from gateway.dicom.values import Invalid

#: Most characters of one value; of a person name: of one of its three groups.
_MOST = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024, "UI": 64}
#: One text: a backslash is a letter of it.
UNSPLIT = frozenset(["LT", "ST", "UT", "UR"])
_CODE = re.compile(r"[A-Z0-9_ ]*", re.ASCII)
_AGE = re.compile(r"\d{3}[DWMY]", re.ASCII)
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_FLOATS = ("FL", "FD")
_PARAGRAPHS = frozenset(["LT", "ST", "UT"])


def text_bytes(vr: str, text: str, order: str) -> bytes:
    """The padded bytes of one or several values. ``order`` is ``<`` or ``>``. Raises :class:`Invalid` with the end of a sentence."""
    parts = [text] if vr in UNSPLIT else text.split("\\")
    if vr in _BINARY:
        return b"".join(_binary(vr, part.strip(), order) for part in parts) if text.strip() else b""
    if vr not in _MOST and vr not in ("DA", "TM", "DT", "AS", "UC", "UT", "UR"):
        raise Invalid("cannot be written as text")
    for part in parts:
        _check(vr, part)
    encoded = text.encode()
    return encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)


def check(tag: int, vr: str, text: str) -> None:
    """May an element hold this text? Raises :class:`Invalid` with the end of a sentence."""
    text_bytes(vr, text, "<")
    if vr not in UNSPLIT and "\\" in text and _takes_one(tag):
        raise Invalid("holds a backslash, which parts values, where one value belongs")


def decimal_string(number: Decimal) -> str:
    """A number as DS: exactly where 16 characters suffice, else with as many digits as fit into them."""
    plain = f"{number:f}"
    if len(plain) <= _MOST["DS"]:
        return plain
    for digits in range(15, 0, -1):
        short = f"{number:.{digits}G}".replace("E+", "E")
        if len(short) <= _MOST["DS"]:
            return short
    raise Invalid("does not fit into a decimal string")


def _check(vr: str, part: str) -> None:
    most = _MOST.get(vr)
    longest = max((len(group) for group in part.split("=")), default=0) if vr == "PN" else len(part)
    if most is not None and longest > most:
        raise Invalid(f"is longer than the {most} characters that {vr} allows")
    if vr not in CHARSET_VRS and not part.isascii():
        raise Invalid("holds letters that its kind of element must not hold")
    if not all(letter.isprintable() or (vr in _PARAGRAPHS and letter in "\r\n\f\t") for letter in part):
        raise Invalid("holds control characters")
    if part:
        _check_form(vr, part)


def _check_form(vr: str, part: str) -> None:
    if vr == "CS" and not _CODE.fullmatch(part):
        raise Invalid("is not a code of capital letters, digits and underscores")
    if vr == "AS" and not _AGE.fullmatch(part):
        raise Invalid("is not an age such as 045Y")
    if vr == "DS":
        values.decimal(part.strip())
    elif vr == "IS":
        values.integer(part.strip())
    elif vr == "DA":
        values.full_date(part)
    elif vr == "TM":
        values.time_of_day(part)
    elif vr == "DT":
        values.split_datetime(part)
    elif vr == "UI":
        values.legal_uid(part)
    elif vr == "PN" and part.count("=") > 2:
        raise Invalid("is not a person name: it has more than three groups")


def _binary(vr: str, part: str, order: str) -> bytes:
    number = values.decimal(part)
    if vr not in _FLOATS and number != number.to_integral_value():
        raise Invalid("is not a whole number")
    try:
        return struct.pack(f"{order}{_BINARY[vr]}", float(number) if vr in _FLOATS else int(number))
    except (struct.error, OverflowError) as error:
        raise Invalid(f"does not fit into {vr}") from error


def _takes_one(tag: int) -> bool:
    try:
        return dictionary_VM(tag) == "1"
    except KeyError:
        return False
