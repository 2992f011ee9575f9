"""Exact conversion between the units that nuclear medicine writes, in ``Decimal``, named by their UCUM codes.

The curie is exact by definition: 1 Ci = 37 GBq (BIPM, The International System of Units, 8th edition, table 8).
"""

from __future__ import annotations

from decimal import Decimal, localcontext

#: Unit -> (dimension, size in the dimension's base unit). Base units: Bq, s, mL, kg, m, Bq/mol, 1, keV, Gy.
_UNITS: dict[str, tuple[str, Decimal]] = {
    "Bq": ("activity", Decimal(1)),
    "kBq": ("activity", Decimal("1E3")),
    "MBq": ("activity", Decimal("1E6")),
    "GBq": ("activity", Decimal("1E9")),
    "uCi": ("activity", Decimal("37E3")),
    "mCi": ("activity", Decimal("37E6")),
    "Ci": ("activity", Decimal("37E9")),
    "ms": ("time", Decimal("1E-3")),
    "s": ("time", Decimal(1)),
    "min": ("time", Decimal(60)),
    "h": ("time", Decimal(3600)),
    "d": ("time", Decimal(86400)),
    "uL": ("volume", Decimal("1E-3")),
    "mL": ("volume", Decimal(1)),
    "cm3": ("volume", Decimal(1)),
    "ml": ("volume", Decimal(1)),
    "L": ("volume", Decimal("1E3")),
    "l": ("volume", Decimal("1E3")),
    "g": ("mass", Decimal("1E-3")),
    "kg": ("mass", Decimal(1)),
    "mm": ("length", Decimal("1E-3")),
    "cm": ("length", Decimal("1E-2")),
    "m": ("length", Decimal(1)),
    "Bq/umol": ("specific activity", Decimal("1E6")),
    "Bq/mmol": ("specific activity", Decimal("1E3")),
    "%": ("share", Decimal("1E-2")),
    "keV": ("energy", Decimal(1)),
    "Gy": ("absorbed dose", Decimal(1)),
    "mGy": ("absorbed dose", Decimal("1E-3")),
    "MBq/umol": ("specific activity", Decimal("1E12")),
}

#: Enough for every number a DICOM Decimal String (16 characters) or FHIR decimal can hold.
_DIGITS = 60

KNOWN = frozenset(_UNITS)


def dimension(unit: str) -> str | None:
    """What a unit measures, or ``None`` for an unknown unit."""
    known = _UNITS.get(unit)
    return known[0] if known else None


def convert(value: Decimal, source: str, target: str) -> Decimal:
    """``value`` of unit ``source`` as a number of unit ``target``: converted without trailing zeros, unconverted as it was written.

    Raises :class:`ValueError` when a unit is unknown or the two measure different things.
    """
    if source not in _UNITS or target not in _UNITS or _UNITS[source][0] != _UNITS[target][0]:
        raise ValueError(f"cannot convert {source} to {target}")
    exponent = value.as_tuple().exponent
    if source == target and isinstance(exponent, int) and exponent <= 0:
        return value
    with localcontext(prec=_DIGITS):
        return plain(value * _UNITS[source][1] / _UNITS[target][1])


def plain(value: Decimal) -> Decimal:
    """The same number without exponent and without trailing zeros: 3.940E+2 -> 394. What every sender's spelling becomes."""
    if value == 0:
        return Decimal(0)
    with localcontext(prec=_DIGITS):
        short = value.normalize()
        exponent = short.as_tuple().exponent
        return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short
