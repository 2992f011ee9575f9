"""Converters for numbers: with and without unit, written with point or comma, ages, durations, yes and no."""

from __future__ import annotations

import re
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Parts, first_clean
from gateway.mapping.converters import one_value, quantity_json, simple, stated_in, unit_of
from gateway.model import Json, JsonObject
from gateway.nuclear.units import convert as convert_unit
from gateway.nuclear.units import dimension, plain

_LARGEST_COUNT = 2**31 - 1
#: PS3.5 table 6.2-1, AS: three digits and a letter; UCUM's names for the letters.
_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_AGE_UNITS = {"D": "d", "W": "wk", "M": "mo", "Y": "a"}
_OLDEST_YEARS = 130
_PER_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1}
#: A number as it is written where the comma is the decimal sign: 1.234,5 or 1234,5. Groups of thousands follow one that is not zero.
_COMMA = re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d+)?", re.ASCII)
#: h:mm:ss or mm:ss, with or without a fraction.
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{2}(?:\.\d{1,6})?)", re.ASCII)
_YES, _NO = frozenset(["yes", "y", "true", "1"]), frozenset(["no", "n", "false", "0"])


def count(element: Element) -> int:
    """A whole number from zero on (FHIR ``unsignedInt``)."""
    number = values.integer(one_value(element))
    if not 0 <= number <= _LARGEST_COUNT:
        raise Invalid("is not a number from zero on")
    return number


def boolean(element: Element) -> bool:
    """YES and NO, also Y, N, TRUE, FALSE, 1, 0, in any case. Anything else is told, not guessed."""
    word = one_value(element).casefold()
    if word in _YES or word in _NO:
        return word in _YES
    raise Invalid("is neither yes nor no")


def age(element: Element) -> JsonObject:
    """An AS (``034Y``, ``018M``, ``006W``, ``003D``) as a quantity in UCUM: a, mo, wk, d. Over 130 years nobody is."""
    found = _AGE.fullmatch(one_value(element))
    if not found:
        raise Invalid("is not an age")
    number, letter = int(found[1]), found[2]
    if number > _OLDEST_YEARS * _PER_YEAR[letter]:
        raise Invalid(f"is an age of more than {_OLDEST_YEARS} years")
    return {"value": Decimal(number), "unit": _AGE_UNITS[letter]}


def with_comma(text: str) -> Decimal:
    """A number written with a decimal comma, and points between thousands.

    ``1.234`` is refused: it is 1234 where commas are decimal signs, but nobody can know that the sender kept to it.
    """
    if not _COMMA.fullmatch(text) or ("." in text and "," not in text):
        raise Invalid("is not a number with a decimal comma")
    return values.decimal(text.replace(".", "").replace(",", "."))


def quantity(parts: Parts, options: Options) -> Outcome:
    """A number with a unit: read in ``unit.in``, published in ``unit.out`` (UCUM), exactly converted."""
    return first_clean(parts, lambda element: _quantity(element, options))


def quantity_unless_zero(parts: Parts, options: Options) -> Outcome:
    """As ``quantity``, for numbers that cannot be zero: senders write 0 for "not filled in", which counts as absent."""

    def convert(element: Element) -> Outcome:
        number = values.decimal(one_value(element))
        if number < 0:
            raise Invalid("is below zero")
        return _quantity(element, options) if number else ABSENT

    return first_clean(parts, convert)


def _quantity(element: Element, options: Options) -> Outcome:
    value = quantity_json(values.decimal(one_value(element)), unit_of(element, options), options)
    return Outcome(value=value, stated=stated_in(element, options), source=element.path)


def quantity_comma(parts: Parts, options: Options) -> Outcome:
    """As ``quantity``, for numbers written with a decimal comma."""

    def read(element: Element) -> Outcome:
        number = with_comma(one_value(element))
        return Outcome(value=quantity_json(number, unit_of(element, options), options), source=element.path)

    return first_clean(parts, read)


def duration(parts: Parts, options: Options) -> Outcome:
    """A length of time: a number in ``unit.in``, or ``h:mm:ss``; never below zero."""

    def read(element: Element) -> Outcome:
        text = one_value(element)
        if ":" not in text:
            number, unit = values.decimal(text), unit_of(element, options)
        else:
            number, unit = _clock_seconds(text), "s"
        if dimension(unit) != "time":
            raise Invalid("is in a unit that is no time")
        if number < 0:
            raise Invalid("is below zero")
        stated = None if ":" in text else stated_in(element, options)
        return Outcome(value=quantity_json(number, unit, options), stated=stated, source=element.path)

    return first_clean(parts, read)


def _clock_seconds(text: str) -> Decimal:
    found = _CLOCK.fullmatch(text)
    if not found or Decimal(found[3]) >= 60 or (found[1] and int(found[2]) > 59):
        raise Invalid("is not a duration")
    minutes = int(found[1] or 0) * 60 + int(found[2])
    return convert_unit(Decimal(minutes), "min", "s") + Decimal(found[3])


def _number(element: Element) -> Json:
    return plain(values.decimal(one_value(element)))


NUMBERS: tuple[Converter, ...] = (
    simple("integer", lambda element: values.integer(one_value(element)), "A whole number.", result="number"),
    simple("count", count, count.__doc__ or "", result="number"),
    simple("decimal", _number, "A number without unit, exact.", result="number"),
    simple("decimal_comma", lambda element: plain(with_comma(one_value(element))), with_comma.__doc__ or "", result="number"),
    simple("boolean", boolean, boolean.__doc__ or ""),
    simple("age", age, age.__doc__ or "", result="quantity"),
    Converter(name="quantity", convert=quantity, takes_unit=True, result="quantity"),
    Converter(name="quantity_unless_zero", convert=quantity_unless_zero, takes_unit=True, result="quantity"),
    Converter(name="quantity_comma", convert=quantity_comma, takes_unit=True, result="quantity"),
    Converter(name="duration", convert=duration, takes_unit=True, result="quantity"),
)
