"""When the counts of an image were gathered: one converter for the four elements, because it runs for every slice of every PET series.

Slices of one bed position or one frame say the same, so what their words mean is remembered.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid, Moment
from gateway.mapping.conversion import ABSENT, Converter, Note, Options, Outcome, Part, Parts
from gateway.mapping.converters import one_value
from gateway.model import JsonObject, Severity
from gateway.nuclear.units import convert

#: Name in the result -> whether zero means that nobody filled it in.
_LENGTHS = {"mean_offset": False, "start_offset": False, "duration": True}


def frame_timing(parts: Parts, options: Options) -> Outcome:
    """When an image was acquired (``date``, ``time``), how long (``duration``, ms), and how long after the moment to which its series is
    corrected for decay: ``mean_offset`` to its mean activity or ``start_offset`` to its start, in ms. An object with times in s."""
    found: JsonObject = {}
    notes: list[Note] = []
    used: list[str] = []
    day, time = parts.first("date"), parts.first("time")
    if day is not None and time is not None:
        try:
            moment = _moment(one_value(day), one_value(time), parts.zone())
            found["acquired_at"] = moment.text
            notes += [Note(f"{moment.warning} in {time.path}", Severity.WARNING)] if moment.warning else []
        except Invalid as error:
            notes.append(Note(f"{error} in {time.path}", Severity.WARNING))
        used += [day.path, time.path]
    for name, unless_zero in _LENGTHS.items():
        element = parts.first(name)
        if element is not None:
            _length(element, name, found, notes, unless_zero=unless_zero)
            used.append(element.path)
    return Outcome(value=found or None, notes=tuple(notes), source=" + ".join(used)) if used else ABSENT


def _length(element: Element, name: str, found: JsonObject, notes: list[Note], *, unless_zero: bool) -> None:
    try:
        number = _seconds(one_value(element))
    except Invalid as error:
        notes.append(Note(f"{error} in {element.path}", Severity.WARNING))
        return
    if number or not unless_zero:
        found[name] = {"value": number, "unit": "s"}


@lru_cache(maxsize=4096)
def _moment(day: str, time: str, zone: dt.tzinfo) -> Moment:
    return values.at(values.full_date(day), values.time_of_day(time), zone)


@lru_cache(maxsize=4096)
def _seconds(text: str) -> Decimal:
    return convert(values.decimal(text), "ms", "s")


TIMING: tuple[Converter, ...] = (
    Converter(
        name="frame_timing",
        convert=frame_timing,
        parts={name: Part(required=False) for name in ("date", "time", *_LENGTHS)},
    ),
)
