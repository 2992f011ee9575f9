"""Exact conversion between the units that nuclear medicine writes, in ``Decimal``, named by their UCUM codes.

The curie is exact by definition: 1 Ci = 37 GBq (BIPM, The International System of Units, 8th edition, table 8).
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext

#: Unit -> (dimension, size in the dimension's base unit). Base units: Bq, s, mL, kg, m, Bq/mol, 1, keV, Gy, Sv, Gy/Bq, Sv/Bq, Bq.s,
#: Gy/h, Sv/h, Gy.cm, Gy.m2, g/Bq. Annotated units (Gy{BED}) are dimensions of their own: what they weigh is no absorbed dose.
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
    "Bq/mL": ("activity concentration", Decimal(1)),
    "kBq/mL": ("activity concentration", Decimal("1E3")),
    "MBq/mL": ("activity concentration", Decimal("1E6")),
    "{counts}/s/MBq": ("sensitivity of a camera", Decimal(1)),
    "mm": ("length", Decimal("1E-3")),
    "cm": ("length", Decimal("1E-2")),
    "m": ("length", Decimal(1)),
    "Bq/umol": ("specific activity", Decimal("1E6")),
    "Bq/mmol": ("specific activity", Decimal("1E3")),
    "%": ("share", Decimal("1E-2")),
    "keV": ("energy", Decimal(1)),
    "Gy": ("absorbed dose", Decimal(1)),
    "mGy": ("absorbed dose", Decimal("1E-3")),
    "cGy": ("absorbed dose", Decimal("1E-2")),
    "uGy": ("absorbed dose", Decimal("1E-6")),
    "RAD": ("absorbed dose", Decimal("1E-2")),
    "Sv": ("equivalent dose", Decimal(1)),
    "cSv": ("equivalent dose", Decimal("1E-2")),
    "mSv": ("equivalent dose", Decimal("1E-3")),
    "uSv": ("equivalent dose", Decimal("1E-6")),
    "REM": ("equivalent dose", Decimal("1E-2")),
    "mGy/MBq": ("absorbed dose per activity", Decimal("1E-9")),
    "Gy/GBq": ("absorbed dose per activity", Decimal("1E-9")),
    "Gy/MBq": ("absorbed dose per activity", Decimal("1E-6")),
    "uGy/MBq": ("absorbed dose per activity", Decimal("1E-12")),
    "mGy/GBq": ("absorbed dose per activity", Decimal("1E-12")),
    "mSv/MBq": ("equivalent dose per activity", Decimal("1E-9")),
    "Sv/GBq": ("equivalent dose per activity", Decimal("1E-9")),
    "uSv/MBq": ("equivalent dose per activity", Decimal("1E-12")),
    "MBq.h": ("time-integrated activity", Decimal("36E8")),
    "GBq.h": ("time-integrated activity", Decimal("36E11")),
    "kBq.h": ("time-integrated activity", Decimal("36E5")),
    "Bq.h": ("time-integrated activity", Decimal("36E2")),
    "MBq.s": ("time-integrated activity", Decimal("1E6")),
    "GBq.s": ("time-integrated activity", Decimal("1E9")),
    "Bq.s": ("time-integrated activity", Decimal(1)),
    "MBq.h/MBq": ("time", Decimal(3600)),
    "Gy{BED}": ("biologically effective dose", Decimal(1)),
    "mGy{BED}": ("biologically effective dose", Decimal("1E-3")),
    "cGy{BED}": ("biologically effective dose", Decimal("1E-2")),
    "Gy{EQD2}": ("equieffective dose", Decimal(1)),
    "cGy{EQD2}": ("equieffective dose", Decimal("1E-2")),
    "Gy/s": ("absorbed dose rate", Decimal(3600)),
    "Gy/h": ("absorbed dose rate", Decimal(1)),
    "mGy/h": ("absorbed dose rate", Decimal("1E-3")),
    "uGy/h": ("absorbed dose rate", Decimal("1E-6")),
    "Sv/h": ("equivalent dose rate", Decimal(1)),
    "mSv/h": ("equivalent dose rate", Decimal("1E-3")),
    "uSv/h": ("equivalent dose rate", Decimal("1E-6")),
    "mGy.cm": ("dose length product", Decimal("1E-3")),
    "Gy.cm": ("dose length product", Decimal(1)),
    "Gy.m2": ("dose area product", Decimal(1)),
    "uGy.m2": ("dose area product", Decimal("1E-6")),
    "mGy.m2": ("dose area product", Decimal("1E-3")),
    "Gy.cm2": ("dose area product", Decimal("1E-4")),
    "dGy.cm2": ("dose area product", Decimal("1E-5")),
    "cGy.cm2": ("dose area product", Decimal("1E-6")),
    "mGy.cm2": ("dose area product", Decimal("1E-7")),
    "g/Bq": ("standardised uptake scale", Decimal(1)),
    "mg": ("mass", Decimal("1E-6")),
    "wk": ("time", Decimal(604800)),
    "1": ("share", Decimal(1)),
    "m2": ("area", Decimal(1)),
    "kg/m2": ("body mass index", Decimal(1)),
    "mmol/L": ("molar concentration", Decimal(1)),
    "mmol/l": ("molar concentration", Decimal(1)),
    "umol/L": ("molar concentration", Decimal("1E-3")),
    "umol/l": ("molar concentration", Decimal("1E-3")),
    "mg/dL": ("mass concentration", Decimal(10)),
    "mg/dl": ("mass concentration", Decimal(10)),
    "mg/L": ("mass concentration", Decimal(1)),
    "g/L": ("mass concentration", Decimal(1000)),
    "mL/min/{1.73_m2}": ("normalised clearance", Decimal(1)),
    "ml/min/{1.73_m2}": ("normalised clearance", Decimal(1)),
    "ml/min{1.73_m2}": ("normalised clearance", Decimal(1)),
    "mo": ("calendar time", Decimal(1)),
    "a": ("calendar time", Decimal(12)),
    "MBq/umol": ("specific activity", Decimal("1E12")),
}

_UNITS |= {
    "nL": ("volume", Decimal("1E-6")),
    "mm3": ("volume", Decimal("1E-3")),
    "mm2": ("area", Decimal("1E-6")),
    "cm2": ("area", Decimal("1E-4")),
    "Bq/mL": ("activity concentration", Decimal(1)),
    "kBq/mL": ("activity concentration", Decimal("1E3")),
    "MBq/mL": ("activity concentration", Decimal("1E6")),
    "g/mL{SUVbw}": ("SUV by body weight", Decimal(1)),
    "g/mL{SUVlbm}": ("SUV by lean body mass", Decimal(1)),
    "g/ml{SUVlbm(James128)}": ("SUV by lean body mass (James, 128)", Decimal(1)),
    "g/ml{SUVlbm(Janma)}": ("SUV by lean body mass (Janmahasatian)", Decimal(1)),
    "g/mL{SUVibw}": ("SUV by ideal body weight", Decimal(1)),
    "cm2/mL{SUVbsa}": ("SUV by body surface", Decimal(1)),
    "kV": ("voltage", Decimal("1E3")),
    "V": ("voltage", Decimal(1)),
    "mA": ("current", Decimal("1E-3")),
    "A": ("current", Decimal(1)),
    "mA.s": ("charge", Decimal("1E-3")),
    "uA.s": ("charge", Decimal("1E-6")),
    "mSv/mGy.cm": ("equivalent dose per dose length product", Decimal(1)),
}

#: Writings of senders -> the UCUM code that they can only mean: a point left out, an annotation moved (CID 84, retired spellings).
_SPELLINGS = {
    "mGycm": "mGy.cm",
    "mGy*cm": "mGy.cm",
    "mGy-cm": "mGy.cm",
    "Gycm": "Gy.cm",
    "Gym2": "Gy.m2",
    "uGym2": "uGy.m2",
    "mGym2": "mGy.m2",
    "Gycm2": "Gy.cm2",
    "dGycm2": "dGy.cm2",
    "cGycm2": "cGy.cm2",
    "mGycm2": "mGy.cm2",
    "mSv/(mGy.cm)": "mSv/mGy.cm",
    "uAs": "uA.s",
    "mAs": "mA.s",
    "Bq/ml": "Bq/mL",
    "kBq/ml": "kBq/mL",
    "MBq/ml": "MBq/mL",
} | {
    f"{before}{{{name}}}{after}": f"{unit}{{{name}}}"
    for unit, parts in (("g/mL", ("g/ml", "g/mL")), ("cm2/mL", ("cm2/ml", "cm2/mL")))
    for name in (("SUVbw", "SUVlbm", "SUVibw") if unit == "g/mL" else ("SUVbsa",))
    for part in parts
    for before, after in ((part, ""), ("", part))
    if (before, after) != (unit, "")
}

#: An annotation alone is the number one (UCUM section 2.4), whatever it says; these are units of DICOM CID 84 all the same.
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_COUNTED = frozenset({"{counts}", "{propcounts}", "{score}"})

#: In which unit a quantity is published whose concept is open, by dimension; shares stay as they are told.
_PUBLISHED = {
    "activity": "MBq",
    "activity concentration": "kBq/mL",
    "time": "s",
    "volume": "mL",
    "mass": "g",
    "length": "mm",
    "area": "mm2",
    "absorbed dose": "mGy",
    "equivalent dose": "mSv",
    "dose length product": "mGy.cm",
    "dose area product": "Gy.m2",
    "voltage": "kV",
    "current": "mA",
    "charge": "mA.s",
    "time-integrated activity": "MBq.h",
}

#: Enough for every number a DICOM Decimal String (16 characters) or FHIR decimal can hold.
_DIGITS = 60
#: Of a converted number. A DICOM Decimal String of 16 characters holds 14 at most: what lies below is rounding of whoever wrote it, so
#: that 394 MBq written in mCi comes back as 394.
_SIGNIFICANT = 12

KNOWN = frozenset(_UNITS)


def dimension(unit: str) -> str | None:
    """What a unit measures, or ``None`` for an unknown unit."""
    known = _UNITS.get(spelled(unit))
    return known[0] if known else None


#: What people write for a dose, and what UCUM takes it for: nothing is guessed, but it is told.
_MISNAMED = {
    "rad": "is rad, which UCUM reads as an angle; the absorbed dose is RAD there (100 RAD are 1 Gy)",
    "rem": "is rem, which UCUM does not know; the equivalent dose is REM there (100 REM are 1 Sv)",
}


def misnamed(unit: str) -> str | None:
    """What to say of a unit that is written as people write it and means something else, or nothing, in UCUM."""
    return _MISNAMED.get(unit.strip().rstrip("s").casefold()) if unit.strip() not in _UNITS else None


def spelled(unit: str) -> str:
    """The UCUM code that a sender's writing of a unit can only mean; any other unit as it stands."""
    if _ANNOTATION.fullmatch(unit) and unit not in _COUNTED:
        return "1"
    return _SPELLINGS.get(unit, unit)


def published(unit: str) -> str:
    """The unit in which a number of this unit is published where nothing else says so: one for each dimension."""
    return _PUBLISHED.get(dimension(unit) or "", spelled(unit))


def convert(value: Decimal, source: str, target: str) -> Decimal:
    """``value`` of unit ``source`` as a number of unit ``target``: unconverted as it was written, else without trailing zeros.

    Between powers of ten exactly; between others (mCi, min) with 12 significant digits at most.

    Raises :class:`ValueError` when a unit is unknown or the two measure different things.
    """
    source, target = spelled(source), spelled(target)
    if source not in _UNITS or target not in _UNITS or _UNITS[source][0] != _UNITS[target][0]:
        raise ValueError(f"cannot convert {source} to {target}")
    exponent = value.as_tuple().exponent
    if source == target and isinstance(exponent, int) and exponent <= 0:
        return value
    with localcontext(prec=_DIGITS):
        converted = plain(value * _UNITS[source][1] / _UNITS[target][1])
        if _is_power_of_ten(_UNITS[source][1] / _UNITS[target][1]):
            return converted
    with localcontext(prec=_SIGNIFICANT):
        return plain(+converted)


def _is_power_of_ten(factor: Decimal) -> bool:
    return factor.normalize().as_tuple().digits == (1,)


def plain(value: Decimal) -> Decimal:
    """The same number without exponent and without trailing zeros: 3.940E+2 -> 394. What every sender's spelling becomes."""
    if value == 0:
        return Decimal(0)
    with localcontext(prec=_DIGITS):
        short = value.normalize()
        exponent = short.as_tuple().exponent
        return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short
