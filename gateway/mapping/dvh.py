"""Converters for the dose-volume histograms that RT Dose carries (PS3.3 C.8.8.4, DVH Data (3004,0058)): D1 V1 D2 V2 ...

Transported as they stand: widths of the dose bins, scaled to the dose unit, and the volumes beside them. Nothing is interpolated.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

from gateway.dicom import values
from gateway.dicom.values import Invalid
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Part, Parts
from gateway.mapping.converters import one_value
from gateway.nuclear.units import plain

_DIGITS = 34


def dvh_widths(parts: Parts, options: Options) -> Outcome:
    """The widths of the dose bins of DVH Data, times DVH Dose Scaling, as text with blanks between. In the dose unit of the object."""
    found = _pairs(parts)
    if found is None:
        return ABSENT
    numbers, source = found
    stated = parts.first("scaling")
    scaling = values.decimal(one_value(stated)) if stated is not None else Decimal(1)
    if scaling <= 0:
        raise Invalid("has a scaling that is not above zero")
    with localcontext(prec=_DIGITS):
        return Outcome(value=" ".join(f"{plain(width * scaling):f}" for width in numbers[::2]), source=source)


def dvh_volumes(parts: Parts, options: Options) -> Outcome:
    """The volumes of DVH Data, as text with blanks between. In the volume unit of the histogram."""
    found = _pairs(parts)
    return Outcome(value=" ".join(f"{plain(volume):f}" for volume in found[0][1::2]), source=found[1]) if found else ABSENT


def dvh_first_volume(parts: Parts, options: Options) -> Outcome:
    """The first volume of DVH Data: of a cumulative histogram the whole structure's."""
    found = _pairs(parts)
    return Outcome(value=plain(found[0][1]), source=found[1]) if found else ABSENT


def _pairs(parts: Parts) -> tuple[list[Decimal], str] | None:
    element = parts.first("value")
    if element is None:
        return None
    numbers = [values.decimal(text) for text in element.texts]
    if len(numbers) % 2 or not numbers:
        raise Invalid("is not made of pairs")
    if any(number < 0 for number in numbers):
        raise Invalid("holds numbers below zero")
    return numbers, element.path


DVH: tuple[Converter, ...] = (
    Converter(name="dvh_widths", convert=dvh_widths, parts={"value": Part(), "scaling": Part(required=False)}),
    Converter(name="dvh_volumes", convert=dvh_volumes),
    Converter(name="dvh_first_volume", convert=dvh_first_volume, result="number"),
)
