"""Converters for the dose-volume histograms of RT Dose (PS3.3 C.8.8.4, DVH Data (3004,0058): D1 V1 D2 V2 ...), and sides of organs.

Transported as they stand: widths of the dose bins, scaled to the dose unit, and the volumes beside them. Nothing is interpolated.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid
from gateway.mapping.codes import LATERALITY_TABLE
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Part, Parts, first_clean
from gateway.mapping.converters import one_value, quantity_json
from gateway.nuclear.units import plain

_DIGITS = 34
#: A longer name is not looked up (an LO has 64 letters).
_LONGEST_NAME = 1024


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
    """The first volume of DVH Data, in ``unit.in``: of a cumulative histogram that of the whole structure. None where it is zero."""
    found = _pairs(parts)
    if found is None or not found[0][1]:
        return ABSENT
    return Outcome(value=quantity_json(found[0][1], options.unit_in or "", options), source=found[1])


def side_of(parts: Parts, options: Options) -> Outcome:
    """The side that the name of an organ means, by the table of organs: ``Left kidney``. Absent for an organ without a side."""

    def told(element: Element) -> Outcome:
        codes, table = options.codes, options.table or ""
        entry = codes.by_text(table, values.text(element.text)) if len(element.text) <= _LONGEST_NAME else None
        side = codes.by_text(LATERALITY_TABLE, entry.laterality) if entry and entry.laterality else None
        return Outcome(value=codes.concept(side).as_json(), source=element.path) if side else ABSENT

    return first_clean(parts, told)


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
    Converter(name="dvh_first_volume", convert=dvh_first_volume, takes_unit=True, result="quantity"),
    Converter(name="side_of", convert=side_of, takes_codes=True, reads_tables=(LATERALITY_TABLE,), result="concept"),
)
