"""The general converters: text, dates, names, codes. Numbers stand in ``numbers.py``,
those of nuclear medicine in ``tracer.py`` and ``times.py``.

To add one: write a function with a docstring, add it to ``GENERAL``, test it in ``tests/unit/test_mapping_converters.py``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.items import Item
from gateway.dicom.paths import parse_path
from gateway.dicom.values import Invalid, Moment
from gateway.mapping.codes import Coded
from gateway.mapping.conversion import (
    ABSENT,
    Converter,
    Note,
    Options,
    Outcome,
    Part,
    Parts,
    first_clean,
    withheld,
)
from gateway.model import Json, Severity
from gateway.nuclear.units import convert as convert_unit
from gateway.nuclear.units import dimension, misnamed, spelled

_CODE_VALUES = tuple(map(parse_path, ("CodeValue", "LongCodeValue", "URNCodeValue")))
_SCHEME, _MEANING = parse_path("CodingSchemeDesignator"), parse_path("CodeMeaning")
_SCHEME_UID = parse_path("CodingSchemeUID")
#: FHIR R4 ``code``: no spaces at the ends, single spaces within.
_CODE = re.compile(r"\S+( \S+)*")
_LONGEST_LIFE_YEARS = 130
#: No name of an agent, a nuclide or an organ is longer (an LO has 64 letters): what is longer is not looked up.
_LONGEST_NAME = 1024
_LEADING_ZERO = Note(
    "has a component with a leading zero, which DICOM forbids (PS3.5 9.1): it is kept as it is", Severity.WARNING
)
_GENDERS = {"M": "male", "F": "female", "O": "other"}


def simple(name: str, convert: Callable[[Element], Json], doc: str, *, result: str = "value") -> Converter:
    """A converter that needs nothing but one element."""

    def run(parts: Parts, options: Options) -> Outcome:
        return first_clean(parts, lambda element: Outcome(value=convert(element), source=element.path))

    run.__doc__ = doc
    return Converter(name=name, convert=run, result=result)


def one_value(element: Element) -> str:
    """The only value of an element. Raises :class:`Invalid` when there are several."""
    filled = [text for text in element.texts if text]
    if len(filled) != 1:
        raise Invalid("has several values where one is wanted" if filled else "is a sequence, not a value")
    return filled[0]


def uid(parts: Parts, options: Options) -> Outcome:
    """A UID: digits and points, at most 64. One with leading zeros in a component is kept as it is, with a warning."""
    outcome = first_clean(parts, lambda element: Outcome(value=values.uid(one_value(element)), source=element.path))
    if outcome.value is None or not values.has_leading_zero(outcome.value):
        return outcome
    return replace(outcome, notes=(*outcome.notes, _LEADING_ZERO))


def code(element: Element) -> str:
    """A Code String as it stands: one word, or words with single spaces (FHIR ``code``)."""
    return _code_word(one_value(element))


def _code_word(text: str) -> str:
    if not _CODE.fullmatch(text) or not text.isprintable():
        raise Invalid("is not a code")
    return text


def gender(element: Element) -> str:
    """PatientSex (PS3.3 C.7.1.1): M male, F female, O other. Anything else is told, not guessed."""
    try:
        return _GENDERS[one_value(element)]
    except KeyError as error:
        raise Invalid("is none of M, F, O") from error


def texts(element: Element) -> list[str]:
    """All filled values, as a list."""
    return [values.text(text) for text in element.texts if text]


def datetime(parts: Parts, options: Options) -> Outcome:
    """A DT as FHIR dateTime: its own offset, else TimezoneOffsetFromUTC, else the zone of the site; partial stays partial."""
    return first_clean(parts, lambda element: told(values.moment(one_value(element), parts.zone()), element.path))


def datetime_of(parts: Parts, options: Options) -> Outcome:
    """A DA and a TM as one FHIR dateTime. Without a usable time the day alone; without a day nothing."""
    day, time = parts.first("date"), parts.first("time")
    if day is None:
        return ABSENT
    whole = values.date(one_value(day))
    if time is None or len(whole) < 10:
        return Outcome(value=whole, source=day.path)
    source = f"{day.path} + {time.path}"
    try:
        moment = values.at(dt.date.fromisoformat(whole), values.time_of_day(one_value(time)), parts.zone())
    except Invalid as error:
        note = Note(f"{error} in {time.path}: only the day is kept", Severity.WARNING)
        return Outcome(value=whole, source=day.path, notes=(note,))
    return told(moment, source)


def birth_date(parts: Parts, options: Options) -> Outcome:
    """A DA as FHIR date, left out when nobody scanned ``on`` that day can have been born then: 9999 and 1700 mean "unknown".

    That is a warning, no error: senders fill in such days, and nothing of the scan depends on them.
    """
    day, scan = parts.first("date"), parts.first("on")
    if day is None:
        return ABSENT
    born = values.date(one_value(day))
    try:
        scanned = values.date(one_value(scan)) if scan is not None else ""
    except Invalid:  # the day of the study has an issue of its own
        scanned = ""
    if scanned and born > scanned:
        return _left_out("lies after the study", day.path)
    if scanned and int(scanned[:4]) - int(born[:4]) > _LONGEST_LIFE_YEARS:
        return _left_out(f"lies more than {_LONGEST_LIFE_YEARS} years before the study", day.path)
    return Outcome(value=born, source=day.path)


def serial_number(parts: Parts, options: Options) -> Outcome:
    """Text that identifies a thing: with a letter or digit in it. ``*`` or ``-`` stand for "not filled in", and are left out."""
    element = parts.first("value")
    if element is None:
        return ABSENT
    text = values.text(element.text)
    if not any(character.isalnum() for character in text):
        return _left_out("holds no letter and no digit, so it identifies nothing", element.path)
    return Outcome(value=text, source=element.path)


def _left_out(reason: str, source: str) -> Outcome:
    """Not published, and of so little weight that it is only a warning."""
    return Outcome(notes=(Note(reason, Severity.WARNING),), source=source)


def told(moment: Moment, source: str) -> Outcome:
    """A moment, with its warning if it has one."""
    notes = (Note(moment.warning, Severity.WARNING),) if moment.warning else ()
    return Outcome(value=moment.text, source=source, notes=notes)


def quantity_json(number: Decimal, unit: str, options: Options) -> Json:
    """A number in a unit as JSON in the mapping's outgoing one."""
    assert options.unit_out is not None  # noqa: S101  lint guarantees it
    return {"value": convert_unit(number, unit, options.unit_out), "unit": options.unit_out}


def stated_in(element: Element, options: Options) -> Json:
    """Number and unit as a source coded them, where it names a unit that is not the published one."""
    unit = spelled(element.unit or "")
    if not unit or unit == options.unit_out:
        return None
    return {"value": values.decimal(one_value(element)), "unit": unit}


def unit_of(element: Element, options: Options) -> str:
    """The unit of a number: the one that a report gives with it, else the one that the mapping says senders write.

    Raises :class:`Invalid` for a unit that measures something else than the mapping publishes.
    """
    unit = element.unit or options.unit_in or ""
    if dimension(unit) is None or dimension(unit) != dimension(options.unit_out or ""):
        told = misnamed(unit)
        other = "measures something else" if dimension(unit) else "this gateway does not know"
        raise Invalid(f"has a unit that {told}" if told else f"is in a unit that {other}")
    return unit


def concept(parts: Parts, options: Options) -> Outcome:
    """A coded value: a code sequence item or words, understood through ``codes``; what is unknown passes as text, and is told."""
    return first_clean(parts, lambda element: concept_of(element, options))


def concepts(parts: Parts, options: Options) -> Outcome:
    """Several coded values, for content items that a report repeats: a list, each understood like ``concept``."""
    element = parts.first("value")
    if element is None:
        return ABSENT
    singles = [replace(element, items=(item,)) for item in element.items] or [replace(element, texts=(t,)) for t in element.texts]
    outcomes = [concept_of(single, options) for single in singles]
    found = [outcome.value for outcome in outcomes if outcome.value is not None]
    return Outcome(value=found or None, notes=tuple(note for outcome in outcomes for note in outcome.notes), source=element.path)


def known_concept(parts: Parts, options: Options) -> Outcome:
    """As ``concept``, but only what the table knows; anything else counts as absent, in silence."""
    outcome = concept(parts, options)
    known = outcome.value is not None and not outcome.notes
    return outcome if known else ABSENT


def concept_of(element: Element, options: Options, *, nuclide: str | None = None) -> Outcome:
    """Understand one code sequence item or text. ``nuclide`` tells agents of one name apart."""
    if not element.items:
        return _worded(values.text(element.text), element.path, options, nuclide)
    if len(element.items) > 1:
        raise Invalid("has several codes where one is wanted")
    coded = read_coded(element.items[0])
    if not coded.value:
        if not coded.meaning:
            return withheld("is a code sequence without code and meaning", element.path)
        return _worded(values.text(coded.meaning), element.path, options, nuclide)
    codes, table = options.codes, options.table
    entry = table and (
        codes.by_code(table, coded)
        or codes.by_text(table, coded.meaning if len(coded.meaning) <= _LONGEST_NAME else "", nuclide=nuclide)
    )
    if entry:
        return Outcome(value=codes.concept(entry).as_json(), source=element.path)
    _, value = codes.schemes.current(coded)
    system = codes.schemes.system_of(coded)
    text = values.text(coded.meaning or coded.value)
    if system is None:
        severity = Severity.WARNING if table else Severity.INFORMATION
        note = Note("is a code of an unknown coding scheme: only its text is kept", severity)
        return Outcome(value={"text": text}, notes=(note,), source=element.path)
    note = Note(f"is a code that codes/{table}.yaml does not know: it passes as it is", Severity.WARNING)
    concept = {"system": system, "code": _code_word(value), "text": text}
    return Outcome(value=concept, notes=(note,) if table else (), source=element.path)


def _worded(text: str, source: str, options: Options, nuclide: str | None) -> Outcome:
    if options.table is None:
        return Outcome(value={"text": text}, source=source)
    entry = options.codes.by_text(options.table, text, nuclide=nuclide) if len(text) <= _LONGEST_NAME else None
    if entry:
        return Outcome(value=options.codes.concept(entry).as_json(), source=source)
    note = Note(f"is not known in codes/{options.table}.yaml: only its text is kept", Severity.WARNING)
    return Outcome(value={"text": text}, notes=(note,), source=source)


def read_coded(item: Item) -> Coded:
    """The code of a code sequence item (PS3.3 section 8.8)."""

    def text_at(*paths: object) -> str:
        for path in paths:
            found = item.find(path)  # type: ignore[arg-type]
            if found:
                return found.text
        return ""

    return Coded(
        scheme=text_at(_SCHEME), value=text_at(*_CODE_VALUES), meaning=text_at(_MEANING), scheme_uid=text_at(_SCHEME_UID)
    )


GENERAL: tuple[Converter, ...] = (
    simple("text", lambda element: values.text(element.text), "Text as it stands, several values kept with their backslash."),
    Converter(name="uid", convert=uid),
    simple("code", code, code.__doc__ or ""),
    simple("list", texts, texts.__doc__ or ""),
    simple("joined", lambda element: "; ".join(texts(element)), "All filled values as one text, with semicolons."),
    simple("date", lambda element: values.date(one_value(element)), "A DA as FHIR date; partial stays partial."),
    simple("time", lambda element: values.clock(one_value(element)), "A TM as FHIR time; it has no zone and no day."),
    simple("gender", gender, gender.__doc__ or ""),
    simple(
        "person_name",
        lambda element: values.person_name(one_value(element)),
        "A PN: family, given, prefix, suffix, text; ideographic and phonetic groups beside it.",
        result="name",
    ),
    Converter(name="datetime", convert=datetime),
    Converter(name="datetime_of", convert=datetime_of, parts={"date": Part(), "time": Part(required=False)}),
    Converter(name="birth_date", convert=birth_date, parts={"date": Part(), "on": Part(required=False)}),
    Converter(name="serial_number", convert=serial_number),
    Converter(name="concept", convert=concept, takes_codes=None, result="concept"),
    Converter(name="concepts", convert=concepts, takes_codes=None),
    Converter(name="known_concept", convert=known_concept, takes_codes=True, result="concept"),
)
