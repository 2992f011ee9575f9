"""Converters for the tracer: agent, nuclide, half-life, activity. What each may conclude from another is written here only."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.items import Item
from gateway.dicom.values import Invalid
from gateway.mapping.codes import NUCLIDES_TABLE, Codes, Entry
from gateway.mapping.conversion import (
    ABSENT,
    Converter,
    Kind,
    Note,
    Options,
    Outcome,
    Part,
    Parts,
    first_clean,
    withheld,
)
from gateway.mapping.converters import concept_of, one_value, read_coded, stated_in, unit_of
from gateway.model import Json, JsonObject, Severity
from gateway.nuclear.activity import Withheld, read_activity
from gateway.nuclear.nuclide import Nuclide, half_life_fits
from gateway.nuclear.units import convert, plain, spelled

AGENTS_TABLE = "radiopharmaceuticals"


def radiopharmaceutical(parts: Parts, options: Options) -> Outcome:
    """The agent, by code or words; the stated nuclide tells agents of one name apart (DOTATATE: Ga-68 or Lu-177)."""
    nuclide = _stated_nuclide(parts, options.codes)
    return first_clean(parts, lambda element: concept_of(element, options, nuclide=nuclide), "agent")


def radionuclide(parts: Parts, options: Options) -> Outcome:
    """The nuclide as stated; if none is stated, the one that the agent implies. Several codes must name one nuclide; else it is withheld.

    One that contradicts the agent is published, and told, when the half-life is its own; else nobody knows which is meant: withheld.
    """
    stated, contradicts_itself = _stated(parts, options)
    if contradicts_itself:
        return stated
    implied = _implied_nuclide(parts.fields("agent"), options.codes)
    if implied is None:
        return stated
    if stated.value is None:
        entry = options.codes.by_text(NUCLIDES_TABLE, implied)
        if entry is None:
            return stated
        note = Note("was not stated; the agent implies it", Severity.INFORMATION)
        concept = options.codes.concept(entry).as_json()
        return Outcome(value=concept, notes=(*stated.notes, note), source=f"codes/{AGENTS_TABLE}.yaml")
    nuclide = nuclide_of(stated.value, options.codes)
    if nuclide is None or stated.value["text"] == implied:
        return stated
    reason = f"contradicts the agent, which implies {implied}"
    seconds = _stated_seconds(parts)
    if seconds is not None and half_life_fits(seconds, nuclide):
        return replace(
            stated, notes=(*stated.notes, Note(f"{reason}; the half-life is that of {nuclide.name}", Severity.WARNING))
        )
    why = "no half-life tells which is meant" if seconds is None else f"the half-life is not that of {nuclide.name}"
    return withheld(f"{reason}, and {why}: withheld", stated.source)


def _stated(parts: Parts, options: Options) -> tuple[Outcome, bool]:
    """The nuclide that the object names; and whether one place names different ones, after which no other place is believed."""
    alternatives = parts.elements("nuclide")
    while True:
        try:
            element = next(alternatives, None)
        except Invalid:
            continue  # told below
        if element is None:
            break
        if _names_different(element, options):
            return withheld("has several codes that name different nuclides: none is taken", element.path), True
    return first_clean(parts, lambda element: concept_of(_first_filled(element), options), "nuclide"), False


def _names_different(element: Element, options: Options) -> bool:
    if len(element.items) < 2:
        return False
    told = []
    for item in _filled(element):
        try:
            told.append(concept_of(replace(element, items=(item,)), options).value)
        except Invalid:
            told.append(None)
    return any(value is None or value != told[0] for value in told)


def _filled(element: Element) -> list[Item]:
    """The items that say anything."""
    return [item for item in element.items if (coded := read_coded(item)).value or coded.meaning]


def _first_filled(element: Element) -> Element:
    """All of them say the same, so the first will do."""
    return replace(element, items=tuple(_filled(element)[:1] or element.items[:1])) if len(element.items) > 1 else element


def _stated_seconds(parts: Parts) -> Decimal | None:
    """The half-life in s, as (0018,1075) has it where no unit stands beside it; ``None`` when it is absent or no number."""
    try:
        element = parts.first("half_life")
        return convert(values.decimal(one_value(element)), element.unit or "s", "s") if element else None
    except ValueError:
        return None


def half_life(parts: Parts, options: Options) -> Outcome:
    """The half-life in seconds: as stated when it is the nuclide's within 1 %, else the physical one, told; never another nuclide's."""
    nuclide = nuclide_of(parts.fields("nuclide"), options.codes)
    physical = nuclide.half_life_s if nuclide else None
    element = parts.first("value")
    if element is None:
        if nuclide is None or physical is None:
            return ABSENT
        note = Note(f"was not stated; the physical half-life of {nuclide.name} was taken", Severity.INFORMATION)
        return Outcome(value=_seconds(physical), notes=(note,), source=f"codes/{NUCLIDES_TABLE}.yaml")
    stated = convert(values.decimal(one_value(element)), unit_of(element, options), "s")
    if stated <= 0:
        raise Invalid("is not above zero")
    if nuclide is None or physical is None or half_life_fits(stated, nuclide):
        return Outcome(value=_seconds(stated), source=element.path)
    others = [other.name for other in options.codes.nuclides.known if half_life_fits(stated, other)]
    if others:
        return withheld(f"is that of {' or '.join(others)}, but the nuclide is {nuclide.name}", element.path)
    note = Note(f"differs by more than 1 % from that of {nuclide.name}, which was taken instead", Severity.WARNING)
    return Outcome(value=_seconds(physical), notes=(note,), source=f"codes/{NUCLIDES_TABLE}.yaml", repaired=True)


def activity(parts: Parts, options: Options) -> Outcome:
    """The administered activity: as declared when plausible for nuclide and agent; repaired when exactly one other unit is plausible.

    Else it is withheld, and what it may be is kept as ``<name>_candidates``. With a pinned unit nothing is repaired.
    """
    nuclide = nuclide_of(parts.fields("nuclide"), options.codes)
    agent_mbq = _agent_range(parts.fields("agent"), nuclide, options.codes)
    unit_out = options.unit_out or "MBq"

    def published(mbq: Decimal) -> JsonObject:
        return {"value": convert(mbq, "MBq", unit_out), "unit": unit_out}

    def read(element: Element) -> Outcome:
        unit_in = unit_of(element, options)
        number = values.decimal(one_value(element))
        stated: JsonObject = {"value": plain(number), "unit": spelled(unit_in)}
        reading = read_activity(number, unit_in, nuclide, agent_mbq=agent_mbq, pinned=options.pinned)
        if isinstance(reading, Withheld):
            candidates = tuple({**published(candidate.mbq), "stated": stated} for candidate in reading.candidates)
            return replace(withheld(reading.reason, element.path), candidates=candidates)
        value = published(reading.mbq)
        if not reading.repaired:
            return Outcome(value=value, stated=stated_in(element, options), source=element.path)
        name = nuclide.name if nuclide else "this nuclide"
        reason = f"stands in {reading.unit} where {unit_in} belongs: no other unit is plausible for {name}; it was repaired"
        note = Note(reason, Severity.WARNING)
        return Outcome(value=value, stated=stated, notes=(note,), source=element.path, repaired=True)

    element = parts.first("value")
    return read(element) if element else ABSENT


def nuclide_of(concept: Json, codes: Codes) -> Nuclide | None:
    """The nuclide behind a published concept."""
    return codes.nuclides.named(concept["text"]) if isinstance(concept, dict) and "text" in concept else None


def _agent_range(agent: Json, nuclide: Nuclide | None, codes: Codes) -> tuple[Decimal, Decimal] | None:
    """The range of an agent (MBq), where its table gives one and the nuclide is the agent's."""
    if not isinstance(agent, dict) or AGENTS_TABLE not in codes.tables:
        return None
    entry = codes.entry_of(AGENTS_TABLE, agent)
    if entry is None or (nuclide is not None and entry.nuclide not in (None, nuclide.name)):
        return None
    return entry.plausible_mbq


def _stated_nuclide(parts: Parts, codes: Codes) -> str | None:
    options = Options(codes=codes, table=NUCLIDES_TABLE)
    stated, _ = _stated(parts, options)
    nuclide = nuclide_of(stated.value, codes)
    return nuclide.name if nuclide else None


def _implied_nuclide(agent: JsonObject | None, codes: Codes) -> str | None:
    if not agent:
        return None
    entry: Entry | None = codes.entry_of(AGENTS_TABLE, agent) if AGENTS_TABLE in codes.tables else None
    return entry.nuclide if entry else codes.nuclides.recognise(agent["text"])


def _seconds(value: Decimal) -> JsonObject:
    return {"value": plain(value), "unit": "s"}


_NUCLIDE = Part(kind=Kind.FIELD, required=False)
TRACER: tuple[Converter, ...] = (
    Converter(
        name="radiopharmaceutical",
        convert=radiopharmaceutical,
        parts={"agent": Part(), "nuclide": Part(required=False)},
        takes_codes=True,
        reads_tables=(AGENTS_TABLE, NUCLIDES_TABLE),
        result="concept",
    ),
    Converter(
        name="radionuclide",
        convert=radionuclide,
        parts={"nuclide": Part(), "agent": Part(kind=Kind.FIELD, required=False), "half_life": Part(required=False)},
        takes_codes=True,
        reads_tables=(AGENTS_TABLE, NUCLIDES_TABLE),
        result="concept",
    ),
    Converter(
        name="half_life",
        convert=half_life,
        parts={"value": Part(), "nuclide": _NUCLIDE},
        takes_unit=True,
        reads_tables=(NUCLIDES_TABLE,),
        result="quantity",
    ),
    Converter(
        name="activity",
        convert=activity,
        parts={"value": Part(), "nuclide": _NUCLIDE, "agent": Part(kind=Kind.FIELD, required=False)},
        takes_unit=True,
        reads_tables=(AGENTS_TABLE, NUCLIDES_TABLE),
        result="quantity",
    ),
)
