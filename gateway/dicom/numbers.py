"""Binary numbers of DICOM values as text."""

from __future__ import annotations

import struct

from gateway.dicom.values import Invalid

NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


def number_texts(vr: str, raw: bytes, order: str) -> tuple[str, ...]:
    """The binary numbers of a value (PS3.5 6.2: US, SS, UL, SL, UV, SV, FL, FD) as text. Raises :class:`Invalid`."""
    size = struct.calcsize(NUMBERS[vr])
    if len(raw) % size:
        raise Invalid("is a damaged number")
    values = struct.unpack(f"{order}{len(raw) // size}{NUMBERS[vr]}", raw)
    return tuple(_shortest(value) if vr == "FL" else repr(value).removesuffix(".0") for value in values)


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same single-precision number."""
    packed = struct.pack("<f", value)
    for digits in range(6, 10):
        if struct.pack("<f", float(f"{value:.{digits}g}")) == packed:
            return f"{value:.{digits}g}"
    return repr(value)
