"""What headers and reports tell of injections, and which of that is surely one: by event UID, or word for word the same.

Many headers tell of one injection: every slice of every series, in every study of a therapy cycle. Two readings are one account
when they carry the same event UID (0008,3012 in images, 113503 DCM in reports), or, where no UID is given, when nuclide, agent,
start and activity are all equal and one kind of source tells them. Anything less certain is left to ``reconcile``.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any

from gateway.dicom.values import instant
from gateway.gather.choose import by_majority
from gateway.model import JsonObject, SharedFields
from gateway.nuclear.results import is_final
from gateway.nuclear.sameness import Injection
from gateway.nuclear.units import convert

_STRUCTURED_REPORT = "SR"


class Source(IntEnum):
    """The kind of document that tells, the one to believe first.

    Who measured the syringe knows better than who did the dosimetry elsewhere, and both know better than the scanner's console.
    """

    REPORT = 0
    TABLE = 1
    IMAGE = 2


def source_of(shared: SharedFields) -> Source:
    """The kind of document that a record was read from. A table says so itself (``document.source``)."""
    told = shared.document.get("source")
    if told == "table":
        return Source.TABLE
    return Source.REPORT if told == "report" or shared.series.get("modality") == _STRUCTURED_REPORT else Source.IMAGE


#: The end of a fact's name, by who tells it: two kinds of source never share a name.
_TOLD_BY = {Source.REPORT: "|report", Source.TABLE: "|table", Source.IMAGE: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One administration as one header or report tells it."""

    fields: JsonObject
    shared: SharedFields
    source: Source
    label: str  #: how ``shared.sources`` calls it
    event: str | None  #: its name by event UID
    fact: str  #: its name by what it says
    words: str  #: the same without the day of an injection that has no start
    index: int = 0  #: its place among the administrations of its record

    @property
    def verified(self) -> bool:
        """True for what a verified report tells."""
        return self.source is Source.REPORT and is_final(self.shared.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Readings that surely tell of one injection. ``names`` are what it is known by, the surest first."""

    names: tuple[str, ...]
    readings: tuple[Reading, ...]

    @property
    def sources(self) -> frozenset[Source]:
        return frozenset(reading.source for reading in self.readings)

    def of(self, source: Source) -> tuple[Reading, ...]:
        return tuple(reading for reading in self.readings if reading.source is source)

    @property
    def injection(self) -> Injection:
        return injection(self.readings)

    @property
    def scan(self) -> dt.datetime | None:
        """When the last of its series started."""
        told = (reading.shared.series.get("started") or reading.shared.study.get("started") for reading in self.readings)
        return max((at for text in told if isinstance(text, str) and (at := instant(text))), default=None)

    @property
    def words(self) -> frozenset[str]:
        """What its readings say, whatever the day on which they say it."""
        return frozenset(reading.words for reading in self.readings)

    @property
    def facts(self) -> list[str]:
        """Its names that are no event UIDs."""
        return [name for name in self.names if name.startswith("fact|")]


def accounts(records: Sequence[SharedFields]) -> list[Account]:
    """Group all readings over the whole set; those without event UID join the only account that says the same.

    A fact that several events tell names none of them: it would lead a later reading to the wrong one.
    """
    by_event: dict[str, list[Reading]] = defaultdict(list)
    by_fact: dict[str, list[Reading]] = defaultdict(list)
    for reading in (reading for shared in records for reading in _readings(shared)):
        (by_event[reading.event] if reading.event else by_fact[reading.fact]).append(reading)
    tellers: dict[str, set[str]] = defaultdict(set)
    for event, group in by_event.items():
        for reading in group:
            tellers[reading.fact].add(event)
    made: list[Account] = []
    for _, group in sorted(by_event.items()):
        sure = sorted(fact for fact in {reading.fact for reading in group} if len(tellers[fact]) == 1)
        made.append(account([*group, *(reading for fact in sure for reading in by_fact.pop(fact, ()))], sure))
    return [*made, *(account(group, [fact]) for fact, group in sorted(by_fact.items()))]


def account(readings: Iterable[Reading], facts: Iterable[str]) -> Account:
    """Names in the order of their sureness: events of reports, events of images, then facts, the earliest first."""
    ordered = tuple(sorted(readings, key=lambda reading: (reading.source, reading.shared.key, reading.label)))
    sureness: dict[str, tuple[int, str]] = {}
    for reading in reversed(ordered):
        if reading.event:
            sureness[reading.event] = (int(reading.source), "")
    for fact in facts:
        starts = [str(start) for reading in ordered if reading.fact == fact and (start := reading.fields.get("started_at"))]
        sureness[fact] = (len(Source), min((_utc(start) for start in starts), default="~"))
    return Account(names=tuple(sorted(sureness, key=lambda name: (sureness[name], name))), readings=ordered)


def injection(readings: Sequence[Reading]) -> Injection:
    """What these readings tell, by majority, in the words of arithmetic. Beside a verified report others do not count."""
    counting = readings
    if any(reading.verified for reading in readings):
        counting = [reading for reading in readings if reading.verified or reading.source is not Source.REPORT]
    return injection_of(by_majority((dict(reading.fields), 1) for reading in counting))


def injection_of(fields: JsonObject) -> Injection:
    """What the fields of an administration tell of an injection."""
    started, clock = fields.get("started_at"), fields.get("start_clock")
    return Injection(
        nuclide=_code(fields.get("radionuclide"), or_text=True),
        agent=_code(fields.get("agent"), or_text=False),
        activity_mbq=_number(fields.get("activity"), "MBq"),
        start=instant(started) if isinstance(started, str) else None,
        half_life_s=_number(fields.get("half_life"), "s"),
        clock=dt.time.fromisoformat(clock) if isinstance(clock, str) else None,
    )


def _readings(shared: SharedFields) -> Iterable[Reading]:
    source = source_of(shared)
    repeats: Counter[str] = Counter()
    for index, fields in enumerate(shared.administrations):
        fact = _fact_name(fields, shared) + _TOLD_BY[source]
        event = f"event|{fields['event_uid']}" if fields.get("event_uid") else None
        repeats[fact] += event is None
        if repeats[fact] > 1:  # two equal items in one header are two administrations, not one told twice
            fact = f"{fact}|{repeats[fact]}"
        label = "administration" if len(shared.administrations) == 1 else f"administration[{index}]"
        words = fact if fields.get("started_at") else fact.replace(_day(shared), "some day")
        yield Reading(fields=fields, shared=shared, source=source, label=label, event=event, fact=fact, words=words, index=index)


def _fact_name(fields: JsonObject, shared: SharedFields) -> str:
    """What a reading says, as a name. A reading without a start holds only for its own day."""
    start = fields.get("started_at") or f"{_day(shared)} {fields.get('start_clock') or ''}".strip()
    nuclide = fields.get("radionuclide") or {}
    agent = fields.get("agent") or {}
    activity = fields.get("activity") or {}
    words = (
        nuclide.get("code") or nuclide.get("text"),
        agent.get("code") or agent.get("text"),
        start,
        f"{activity['value']} {activity['unit']}" if activity else None,
    )
    return "fact|" + "|".join(str(word) if word else "-" for word in words)


def _day(shared: SharedFields) -> str:
    return f"on {str(shared.study.get('started') or shared.study.get('uid'))[:10]}"


def _code(concept: Any, *, or_text: bool) -> str | None:
    if not isinstance(concept, dict):
        return None
    return concept.get("code") or (concept.get("text") if or_text else None)


def _number(quantity: Any, unit: str) -> Decimal | None:
    return convert(Decimal(quantity["value"]), quantity["unit"], unit) if isinstance(quantity, dict) else None


def _utc(started: str) -> str:
    """Sorts by the instant, whatever zone it is written in."""
    moment = instant(started)
    return f"{moment.timestamp():017.6f}" if moment else "~"
