"""Units as people write them in headers of tables -> UCUM codes. What is not listed is not known: nothing is guessed."""

from __future__ import annotations

import re
import unicodedata

from gateway.nuclear.units import KNOWN

#: Writings beside the UCUM codes themselves; without spaces, in their own case: mGy is no MGy.
_WRITINGS: dict[str, tuple[str, ...]] = {
    "MBq.h": ("MBq*h", "MBq-h", "MBqh", "MBq-hr", "MBq*hr", "MBqhr"),
    "GBq.h": ("GBq*h", "GBq-h", "GBqh", "GBq-hr", "GBq*hr"),
    "MBq.s": ("MBq*s", "MBq-s", "MBqs"),
    "Bq.s": ("Bq*s", "Bq-s"),
    "MBq.h/MBq": ("MBq-h/MBq", "MBq-hr/MBq", "MBq*h/MBq", "MBqh/MBq"),
    "Gy/GBq": ("Gy.GBq-1", "Gy*GBq-1"),
    "mGy/MBq": ("mGy.MBq-1",),
    "uCi": ("µCi",),
    "uGy": ("µGy",),
    "uSv": ("µSv",),
    "uSv/h": ("µSv/h", "uSv/hr", "µSv/hr", "uSv.h-1"),
    "mSv/h": ("mSv/hr",),
    "h": ("hr", "hrs", "hour", "hours", "Hours", "H"),
    "min": ("minutes", "minute", "mins"),
    "s": ("sec", "secs", "second", "seconds"),
    "d": ("day", "days"),
    "mL": ("cc", "cm^3", "cm³", "ccm"),
    "g": ("gram", "grams", "gr"),
    "%": ("percent", "pct"),
    "1": ("1/1", "unitless", "-"),
    "Gy{BED}": ("GyBED", "Gy(BED)", "BED-Gy"),
    "Gy{EQD2}": ("GyEQD2", "Gy(EQD2)", "EQD2-Gy"),
    "kBq/mL": ("kBq/cc", "kBq/ml", "kBq/cm3", "kBq/cm^3"),
    "Bq/mL": ("Bq/cc", "Bq/ml", "Bq/cm3"),
    "MBq/mL": ("MBq/cc", "MBq/ml", "MBq/cm3"),
    "{counts}/s/MBq": ("cps/MBq", "counts/s/MBq", "cps.MBq-1"),
}
_BY_WRITING = {writing: unit for unit, writings in _WRITINGS.items() for writing in writings if unit in KNOWN}
#: ``AD [Gy]``, ``Mass (g)``, ``time[minutes]``.
_IN_BRACKETS = re.compile(r"[\[(]([^\[\]]{1,20})[\])]\s*$")


def ucum(text: str) -> str | None:
    """The UCUM code that a writing stands for, or ``None``."""
    plain = unicodedata.normalize("NFKC", text).replace("μ", "µ").replace("·", "*").replace("⋅", "*").replace(" ", "")
    for written in (text.strip(), plain, plain.replace("µ", "u")):
        if written in KNOWN:
            return written
        if written in _BY_WRITING:
            return _BY_WRITING[written]
    return None


def in_header(column: str) -> tuple[str | None, str | None]:
    """The unit in the brackets at the end of a column's name: ``(UCUM code or None, as written or None)``."""
    found = _IN_BRACKETS.search(column)
    if found is None:
        return None, None
    return ucum(found[1]), found[1]
