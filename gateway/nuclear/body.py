"""What an uptake value is normalised by: weight, lean body mass, ideal weight, body surface, each with its range of validity.

Weight in kg, height in cm, mass in kg, surface in m2; all ``Decimal``. A formula outside the people it was made for is not a number to
publish: James' lean mass falls again while weight rises, and a negative ideal weight is no weight. The arithmetic itself never refuses.

Formulae: James 1976 with the coefficient 120 that a misprint made common, and with 128; Janmahasatian, Clin Pharmacokinet 2005;44:1051;
ideal weight as Devine's in metric form; DuBois, Arch Intern Med 1916;17:863. Names: SUV Type (0054,1006), PS3.3 C.8.9.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum

_DIGITS = 34


class Sex(StrEnum):
    """Of the formulae, which know two. Words of FHIR AdministrativeGender."""

    MALE = "male"
    FEMALE = "female"


class SuvType(StrEnum):
    """What uptake is normalised by: the defined terms of SUV Type (0054,1006)."""

    BW = "BW"
    LBM = "LBM"  #: lean body mass by James, coefficient 120 for men
    LBMJAMES128 = "LBMJAMES128"
    LBMJANMA = "LBMJANMA"
    IBW = "IBW"
    BSA = "BSA"


class Lacking(StrEnum):
    """Why there is no normaliser of some type."""

    WEIGHT = "weight"
    SIZE = "size"
    SEX = "sex"
    RANGE = "bodyRange"  #: outside the people the formula was made for


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A patient at the time of a scan, as far as the header tells."""

    weight_kg: Decimal | None = None
    height_cm: Decimal | None = None
    sex: Sex | None = None


def body_mass_index(weight_kg: Decimal, height_cm: Decimal) -> Decimal:
    """kg/m2."""
    with localcontext(prec=_DIGITS):
        return weight_kg / (height_cm / 100) ** 2


def lean_mass_james(weight_kg: Decimal, height_cm: Decimal, sex: Sex, *, coefficient: Decimal = Decimal(120)) -> Decimal:
    """kg. ``coefficient``: for men, 120 (misprint, widely used) or 128 (James)."""
    with localcontext(prec=_DIGITS):
        ratio = (weight_kg / height_cm) ** 2
        if sex is Sex.MALE:
            return Decimal("1.10") * weight_kg - coefficient * ratio
        return Decimal("1.07") * weight_kg - 148 * ratio


def lean_mass_janmahasatian(weight_kg: Decimal, height_cm: Decimal, sex: Sex) -> Decimal:
    """kg."""
    with localcontext(prec=_DIGITS):
        offset, slope = (6680, 216) if sex is Sex.MALE else (8780, 244)
        return 9270 * weight_kg / (offset + slope * body_mass_index(weight_kg, height_cm))


def ideal_weight(height_cm: Decimal, sex: Sex) -> Decimal:
    """kg; for adults from 152 cm on."""
    with localcontext(prec=_DIGITS):
        start, slope = (Decimal(48), Decimal("1.06")) if sex is Sex.MALE else (Decimal("45.5"), Decimal("0.91"))
        return start + slope * (height_cm - 152)


def surface_dubois(weight_kg: Decimal, height_cm: Decimal) -> Decimal:
    """m2."""
    with localcontext(prec=_DIGITS):
        return Decimal("0.007184") * weight_kg ** Decimal("0.425") * height_cm ** Decimal("0.725")


def normaliser(kind: SuvType, body: Body) -> Decimal | tuple[Lacking, ...]:
    """What uptake of this type is normalised by: kg, or m2 for BSA; or all that is lacking for it."""
    needs = _NEEDS[kind]
    lacking = tuple(reason for reason in needs if _has_no(reason, body))
    if lacking:
        return lacking
    weight, height, sex = body.weight_kg or Decimal(0), body.height_cm or Decimal(0), body.sex or Sex.FEMALE
    value = _FORMULAE[kind](weight, height, sex)
    return value if _holds(kind, value, weight, height, sex) else (Lacking.RANGE,)


def _has_no(reason: Lacking, body: Body) -> bool:
    """Absent, or no number that a body has."""
    if reason is Lacking.SEX:
        return body.sex is None
    value = body.weight_kg if reason is Lacking.WEIGHT else body.height_cm
    return value is None or value <= 0


_WEIGHT_SIZE_SEX = (Lacking.WEIGHT, Lacking.SIZE, Lacking.SEX)
_NEEDS: dict[SuvType, tuple[Lacking, ...]] = {
    SuvType.BW: (Lacking.WEIGHT,),
    SuvType.LBM: _WEIGHT_SIZE_SEX,
    SuvType.LBMJAMES128: _WEIGHT_SIZE_SEX,
    SuvType.LBMJANMA: _WEIGHT_SIZE_SEX,
    SuvType.IBW: (Lacking.SIZE, Lacking.SEX),
    SuvType.BSA: (Lacking.WEIGHT, Lacking.SIZE),
}
_FORMULAE: dict[SuvType, Callable[[Decimal, Decimal, Sex], Decimal]] = {
    SuvType.BW: lambda weight, _height, _sex: weight,
    SuvType.LBM: lean_mass_james,
    SuvType.LBMJAMES128: lambda weight, height, sex: lean_mass_james(weight, height, sex, coefficient=Decimal(128)),
    SuvType.LBMJANMA: lean_mass_janmahasatian,
    SuvType.IBW: lambda _weight, height, sex: ideal_weight(height, sex),
    SuvType.BSA: lambda weight, height, _sex: surface_dubois(weight, height),
}
#: James' parabola has its peak at BMI 1.10/240, 1.10/256 (men) and 1.07/296 (women); beyond 40 it misleads men as well.
_JAMES_HIGHEST_BMI = {Sex.MALE: Decimal(40), Sex.FEMALE: Decimal("36.1")}
#: The people of Janmahasatian's study: 40.7 to 216.5 kg, 17.1 to 69.9 kg/m2. A little room below for slender adults.
_JANMA_KG, _JANMA_BMI = (Decimal(40), Decimal(220)), (Decimal(15), Decimal(70))
_IDEAL_FROM_CM = Decimal(152)
#: DuBois measured people from 73 cm and 6.2 kg on.
_DUBOIS_FROM_CM, _DUBOIS_FROM_KG = Decimal(73), Decimal(6)


def _holds(kind: SuvType, value: Decimal, weight_kg: Decimal, height_cm: Decimal, sex: Sex) -> bool:
    """Whether a formula holds for this person."""
    if kind is SuvType.BW:
        return True
    if kind is SuvType.IBW:
        return height_cm >= _IDEAL_FROM_CM
    if kind is SuvType.BSA:
        return height_cm >= _DUBOIS_FROM_CM and weight_kg >= _DUBOIS_FROM_KG
    index = body_mass_index(weight_kg, height_cm)
    if kind is SuvType.LBMJANMA:
        return _JANMA_KG[0] <= weight_kg <= _JANMA_KG[1] and _JANMA_BMI[0] <= index <= _JANMA_BMI[1]
    return 0 < value <= weight_kg and index <= _JAMES_HIGHEST_BMI[sex]
