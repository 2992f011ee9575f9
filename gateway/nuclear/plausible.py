"""How large a number of dosimetry can be at all: what lies beyond is an error of a unit, a digit or a device, and is not published.

The limits are wide on purpose: they stand well beyond everything that is given or measured in people (diagnosis, therapy, SIRT), so that
only what cannot be true is withheld. A ``range`` in a mapping or an adapter takes the place of these. They are this project's own
choice, from the orders of magnitude of ICRP 128, EANM dosimetry guidance and IAEA/ICRP reference levels of X-rays; no standard sets them.
Activities given have ranges of their own, for each nuclide (``codes/radionuclides.yaml``).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gateway.nuclear.units import convert, dimension

#: Unit (UCUM), lowest, highest: both may still be true.
Limits = tuple[str, str, str]

#: By kind; one for each quantity that a kind may be measured in.
_OF_KIND: dict[str, tuple[Limits, ...]] = {
    "organ-absorbed-dose": (("Gy", "0", "10000"),),
    "equivalent-dose": (("mSv", "0", "10000000"),),
    "effective-dose": (("mSv", "0", "1000"),),
    "absorbed-dose-coefficient": (("mGy/MBq", "0", "100000"),),
    "effective-dose-coefficient": (("mSv/MBq", "0", "1000"),),
    "time-activity-curve": (("MBq", "0", "20000"), ("%", "0", "200")),
    "time-integrated-activity": (("MBq.h", "0", "10000000"),),
    "time-integrated-activity-coefficient": (("h", "0", "3000"),),
    "effective-half-life": (("h", "0.001", "2000"),),
    "biological-half-life": (("h", "0.001", "1000000"),),
    "bed": (("Gy{BED}", "0", "100000"),),
    "eqd2": (("Gy{EQD2}", "0", "100000"),),
    "dvh-parameter": (("Gy", "0", "100000"), ("%", "0", "1000"), ("mL", "0", "300000")),
    "dose-grid": (("Gy", "0", "100000"),),
    "dose-rate": (("uSv/h", "0", "1000000"), ("Gy/h", "0", "1000")),
    "cumulative-absorbed-dose": (("Gy", "0", "100000"),),
    "residual-activity": (("MBq", "0", "20000"),),
    "uptake": (("%", "-50", "200"),),
    "retention": (("%", "0", "200"), ("MBq", "0", "20000")),
    "lung-shunt-fraction": (("%", "0", "100"),),
    "treated-volume": (("mL", "0", "20000"),),
    "tumour-to-normal-ratio": (("1", "0", "1000"),),
    "ct-dose": (("mGy.cm", "0", "50000"), ("mGy", "0", "5000"), ("mSv", "0", "1000")),
    "ct-event": (("mGy.cm", "0", "50000"), ("mGy", "0", "5000"), ("mSv", "0", "1000")),
    "xray-dose": (("Gy.m2", "0", "1"), ("Gy", "0", "100"), ("mSv", "0", "1000"), ("s", "0", "36000"), ("1", "0", "1000000")),
}
#: By the code of what is measured (DCM of PS3.16 TID 10003-10014, LN and SCT of TID 10024); they count before those of the kind.
_OF_CODE: dict[str, Limits] = {
    "113733": ("kV", "5", "300"),  # KVP
    "113734": ("mA", "0", "3000"),  # X-Ray Tube Current
    "113833": ("mA", "0", "3000"),  # Maximum X-Ray Tube Current
    "113824": ("s", "0", "3600"),  # Exposure Time of an irradiation event
    "113834": ("s", "0", "300"),  # Exposure Time per Rotation
    "113825": ("mm", "0", "3000"),  # Scanning Length
    "113893": ("mm", "0", "3000"),  # Length of Reconstructable Volume
    "113899": ("mm", "0", "3000"),  # Exposed Range
    "113826": ("mm", "0", "500"),  # Nominal Single Collimation Width
    "113827": ("mm", "0", "500"),  # Nominal Total Collimation Width
    "113828": ("1", "0", "50"),  # Pitch Factor
    "113812": ("1", "0", "10000"),  # Total Number of Irradiation Events
    "113840": ("mSv/mGy.cm", "0", "1"),  # Effective Dose Conversion Factor
    "111637": ("Gy", "0", "1"),  # Accumulated Average Glandular Dose
    "30525-0": ("a", "0", "130"),  # Age
    "8302-2": ("cm", "15", "260"),  # Body height
    "29463-7": ("kg", "0.2", "700"),  # Body weight
    "8277-6": ("m2", "0.05", "5"),  # Body surface area
    "39156-5": ("kg/m2", "3", "250"),  # Body mass index
    "14749-6": ("mmol/L", "0", "100"),  # Glucose
    "2160-0": ("mg/dL", "0", "100"),  # Creatinine
    "113550": ("h", "0", "2000"),  # Fasting duration
    "113551": ("mL", "0", "20000"),  # Hydration volume
    "80274001": ("mL/min/{1.73_m2}", "0", "400"),  # Glomerular filtration rate
}
#: Other members of a result.
_OF_MEMBER: dict[str, Limits] = {
    "mass": ("g", "0", "300000"),
    "volume": ("mL", "0", "300000"),
    "activity": ("MBq", "0", "20000"),
}


def implausible(quantity: Mapping[str, Any], *, kind: str | None = None, code: str | None = None, member: str = "") -> str | None:
    """Why a quantity cannot be true, as the end of a sentence; ``None`` when it can, or when nothing is known of such numbers.

    ``code`` is that of the concept that is measured, ``member`` names a member that is not the value of its kind.
    """
    for unit, lowest, highest in _limits(kind, code, member):
        if dimension(unit) is None or dimension(unit) != dimension(str(quantity["unit"])):
            continue
        value = convert(Decimal(str(quantity["value"])), str(quantity["unit"]), unit)
        if not Decimal(lowest) <= value <= Decimal(highest):
            return f"is beyond belief: what it measures lies between {lowest} and {highest} {unit}"
        return None
    return None


def _limits(kind: str | None, code: str | None, member: str) -> tuple[Limits, ...]:
    if code in _OF_CODE:
        return (_OF_CODE[code],)
    if member in _OF_MEMBER:
        return (_OF_MEMBER[member],)
    return _OF_KIND.get(kind or "", ()) if not member else ()
