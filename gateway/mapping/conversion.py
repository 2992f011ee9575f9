"""What a converter is: a named, tested function from elements to one JSON value. The language has no other way to calculate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from zoneinfo import ZoneInfo

from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid
from gateway.mapping.codes import Codes
from gateway.model import Json, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteContext:
    """What a header does not say and a site knows. ``timezone`` counts where TimezoneOffsetFromUTC is absent."""

    timezone: ZoneInfo


class Kind(StrEnum):
    """What a part of a converter reads."""

    ELEMENT = "element"  #: DICOM paths, tried in order
    FIELD = "field"  #: the value of another field of the mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One named input of a converter."""

    kind: Kind = Kind.ELEMENT
    required: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """Something a converter must tell: becomes an Issue under the field's name."""

    reason: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a conversion. ``value`` ``None`` with an ERROR note: present but withheld; without a note: absent."""

    value: Json = None
    notes: tuple[Note, ...] = ()
    source: str = ""
    repaired: bool = False  #: also sets the field ``<name>_repaired``
    stated: Json = None  #: number and unit as the source coded them, where they differ; sets the field ``<name>_stated``
    candidates: tuple[Json, ...] = ()  #: of a withheld value: what it may be; sets the field ``<name>_candidates``


ABSENT = Outcome()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the mapping file adds to a converter: code table and units."""

    codes: Codes
    table: str | None = None
    unit_in: str | None = None
    unit_out: str | None = None
    pinned: bool = False  #: a site swears to ``unit_in``: nothing is repaired


@dataclass(frozen=True)
class Parts:
    """The inputs of one conversion, read when asked for."""

    elements: Callable[[str], Iterator[Element]]  #: all present alternatives of a part; may raise Invalid between them
    fields: Callable[[str], Json]  #: the value of a field part, or None
    zone: Callable[[], dt.tzinfo]  #: of the sender; raises Invalid when its offset is not one

    def first(self, part: str) -> Element | None:
        """The first alternative that is present."""
        return next(self.elements(part), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter:
    """A converter as the language knows it: its name, its parts, what it may be given besides."""

    name: str
    convert: Callable[[Parts, Options], Outcome]
    parts: dict[str, Part] = field(default_factory=lambda: {"value": Part()})
    takes_codes: bool | None = False  #: ``None``: may
    takes_unit: bool = False
    reads_tables: tuple[str, ...] = ()  #: code tables it consults besides ``codes``
    #: ``quantity``, ``concept``, ``name``, ``number``, ``list`` (of items) or ``value``: what templates can read inside
    result: str = "value"

    @property
    def has_range(self) -> bool:
        """Whether a ``range`` can be asked of what it makes."""
        return self.result in ("quantity", "number")

    @property
    def describe(self) -> str:
        """The converter's own words, for the guide and for editors."""
        return (self.convert.__doc__ or "").strip()


def withheld(reason: str, source: str = "") -> Outcome:
    """Present, but not to be published."""
    return Outcome(notes=(Note(reason),), source=source)


def first_clean(parts: Parts, convert: Callable[[Element], Outcome], part: str = "value") -> Outcome:
    """Try the alternatives in order: the first without a complaint wins, else the first with a value, else the first complaint."""
    tried: list[Outcome] = []
    alternatives = parts.elements(part)
    while True:
        try:
            element = next(alternatives, None)
            if element is None:
                break
            outcome = convert(element)
        except Invalid as error:
            outcome = withheld(str(error))
        if outcome.value is not None and not outcome.notes:
            return _after_failures(outcome, tried)
        tried.append(outcome)
    with_value = next((outcome for outcome in tried if outcome.value is not None), None)
    return with_value or (tried[0] if tried else ABSENT)


def _after_failures(clean: Outcome, tried: list[Outcome]) -> Outcome:
    """A later alternative was taken: a broken earlier one is still told, as a warning."""
    broken = [outcome for outcome in tried if outcome.value is None and outcome.notes]
    if not broken:
        return clean
    reason = f"{broken[0].notes[0].reason} in its first place; {clean.source} was taken"
    return Outcome(value=clean.value, stated=clean.stated, source=clean.source, notes=(Note(reason, Severity.WARNING),))
