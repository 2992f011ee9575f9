"""When was it injected? PET and NM headers often give a time without a date, or a date that belongs to another day.

Sources: PS3.3 C.8.9.2 (Radiopharmaceutical Start DateTime preferred, Start Time retired in its favour), and the vendor habits
listed in standards.md A.13 #2 and #3. Nothing here is guessed for nuclides that live longer than 11.5 h: their scans may
lie days after the injection.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.elements import Element
from gateway.dicom.values import Invalid, Moment, TimeOfDay
from gateway.mapping.conversion import ABSENT, Converter, Kind, Note, Options, Outcome, Part, Parts, withheld
from gateway.mapping.converters import one_value, told
from gateway.model import Severity

#: Above this half-life a time without date says nothing about the day (standards.md A.13 #2).
LONGEST_HALF_LIFE_FOR_A_TIME_ONLY_S = Decimal(41400)
#: A dynamic scan starts before the injection; up to this much later the injection still belongs to the scan's own hour.
LATEST_AFTER_SCAN_S = 3600
#: Start DateTime and Start Time of one injection may differ by rounding; beyond this they contradict each other.
MOST_CLOCK_DIFFERENCE_MIN = 5
#: Further back than this many half-lives nothing is left to see: a day found by calculation must not lie there.
MOST_HALF_LIVES = 10
#: A dose report may be made, and get a study of its own, this long after what it tells of; of long-lived nuclides ten half-lives.
MOST_DAYS_BEFORE_STUDY = 30
_DAY = dt.timedelta(days=1)
_WHOLE_DAY = len("2026-03-02")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is known around an injection: start of the scan, half-life (s), and other days that the header names."""

    start: dt.datetime | None
    half_life_s: Decimal | None
    other_days: frozenset[str]
    zone: dt.tzinfo

    @property
    def may_search(self) -> bool:
        """True when the day of an injection can be calculated from the scan."""
        short = self.half_life_s is not None and self.half_life_s <= LONGEST_HALF_LIFE_FOR_A_TIME_ONLY_S
        return short and self.start is not None

    def elapsed_s(self, moment: dt.datetime) -> float:
        """Seconds from a moment to the start of the scan; negative when it lies after."""
        assert self.start is not None  # noqa: S101
        return (self.start - moment).total_seconds()


def injection_time(parts: Parts, options: Options) -> Outcome:
    """The start of the administration: the date-time as stated unless its date is impossible, else the time on the fitting day."""
    scan = _scan(parts)
    stated, time = parts.first("datetime"), parts.first("time")
    if stated is not None:
        moment = values.moment(one_value(stated), scan.zone)
        if moment.at is None:
            return told(moment, stated.path)
        own_time = values.split_datetime(one_value(stated))[1]
        assert own_time is not None  # noqa: S101  a moment with an instant has a time
        return _compared(_check_day(moment, own_time, scan, stated.path), moment, time, scan.zone)
    if time is None:
        return ABSENT
    if scan.half_life_s is None or scan.start is None:
        return withheld("is a time without a date, and half-life or scan time are unknown", time.path)
    if not scan.may_search:
        return withheld("is a time without a date, and the nuclide lives too long to tell the day", time.path)
    found = _fitting(values.time_of_day(one_value(time)), scan)
    if found is None:
        return withheld("is a time without a date that fits no day before the scan", time.path)
    return told(found, f"{time.path} + scan date")


def reported_start(parts: Parts, options: Options) -> Outcome:
    """The start that a dose report tells, unless it cannot be that of an administration which its study is about.

    Withheld, because one of the two days is wrong and nobody knows which: a start more than a day after the study, or longer before it
    than 30 days and ten half-lives. Studies of a therapy, and reports that are made weeks later, stay within.
    """
    element = parts.first("datetime")
    if element is None:
        return ABSENT
    moment = values.moment(one_value(element), parts.zone())
    study, half_life = parts.fields("study"), parts.fields("half_life")
    if isinstance(study, str) and len(study) >= _WHOLE_DAY and len(moment.text) >= _WHOLE_DAY:
        before = dt.date.fromisoformat(study[:_WHOLE_DAY]) - dt.date.fromisoformat(moment.text[:_WHOLE_DAY])
        seconds = half_life["value"] if isinstance(half_life, dict) else Decimal(0)
        most_days = max(MOST_DAYS_BEFORE_STUDY, int(MOST_HALF_LIVES * seconds / 86400) + 1)
        if before < -_DAY:
            return withheld(f"lies {-before.days} days after the study that the report belongs to: withheld", element.path)
        if before.days > most_days:
            return withheld(f"lies {before.days} days before the study that the report belongs to: withheld", element.path)
    return told(moment, element.path)


def injection_end(parts: Parts, options: Options) -> Outcome:
    """The end of the administration: as stated when it follows the start within a day, else its time of day after the start."""
    stated, time = parts.first("datetime"), parts.first("time")
    source = stated or time
    if source is None:
        return ABSENT
    started = parts.fields("started")
    start = values.instant(started) if isinstance(started, str) else None
    if start is None:
        return withheld("cannot be dated, because the start is unknown", source.path)
    if stated is not None:
        moment = values.moment(one_value(stated), parts.zone())
        if moment.at is None:
            return told(moment, stated.path)
        if moment.at == start:
            return ABSENT  # senders repeat the start where they know no end
        if dt.timedelta(0) <= moment.at - start < _DAY:
            return Outcome(value=moment.text, source=stated.path)
    clock = values.split_datetime(one_value(stated))[1] if stated else values.time_of_day(one_value(source))
    if clock is None:
        return withheld("has no time of day", source.path)
    return _end_after(start, clock, parts.zone(), source.path, repaired=stated is not None)


def _end_after(start: dt.datetime, clock: TimeOfDay, zone: dt.tzinfo, source: str, *, repaired: bool) -> Outcome:
    day = start.astimezone(zone).date()
    moments = [values.at(day + shift * _DAY, clock, zone) for shift in (0, 1)]
    fitting = [m for m in moments if m.at is not None and dt.timedelta(0) <= m.at - start < _DAY / 2]
    if not fitting:
        return withheld("does not follow the start within half a day", source)
    if not repaired:
        return told(fitting[0], source)
    note = Note("had a date that does not fit the start; the time was kept, the date corrected", Severity.WARNING)
    return Outcome(value=fitting[0].text, source=source, notes=(note,), repaired=True)


def _check_day(moment: Moment, time: TimeOfDay, scan: Scan, source: str) -> Outcome:
    """Keep a stated date-time, correct its day, or withhold it."""
    assert moment.at is not None  # noqa: S101
    outcome = Outcome(value=moment.text, source=source)
    if scan.start is None:
        return outcome
    elapsed = scan.elapsed_s(moment.at)
    if not scan.may_search or scan.half_life_s is None:
        return withheld("lies after the scan", source) if elapsed < -LATEST_AFTER_SCAN_S else outcome
    if -LATEST_AFTER_SCAN_S <= elapsed <= 2 * scan.half_life_s:
        return outcome
    if elapsed > 0 and (moment.text[:10] in scan.other_days or moment.text[:10] == scan.start.date().isoformat()):
        late = elapsed > MOST_HALF_LIVES * scan.half_life_s
        note = Note(f"lies more than {MOST_HALF_LIVES} half-lives before the scan", Severity.WARNING)
        return Outcome(value=moment.text, source=source, notes=(note,) if late else ())
    found = _fitting(time, scan)
    if found is None:
        return withheld("does not fit the time of the scan, on whatever day", source)
    reason = "had a date that does not fit the scan; the time was kept, the date taken from the series"
    return Outcome(value=found.text, source=source, notes=(Note(reason, Severity.WARNING),), repaired=True)


def _compared(outcome: Outcome, moment: Moment, time: Element | None, zone: dt.tzinfo) -> Outcome:
    """Tell when the time that stands beside a date-time is another one: which of them is meant, nobody can know here."""
    if time is None or moment.at is None or outcome.value is None:
        return outcome
    try:
        clock, local = values.time_of_day(one_value(time)), moment.at.astimezone(zone)
    except (Invalid, OverflowError):
        return outcome  # a broken time is told where it is read for itself; the year 1 has no day before it
    if clock.minute is None:
        return outcome
    apart_min = abs((local.hour * 60 + local.minute) - (clock.hour * 60 + clock.minute))
    apart_min = min(apart_min, _DAY // dt.timedelta(minutes=1) - apart_min)  # 23:59 and 00:01 are neighbours
    if apart_min <= MOST_CLOCK_DIFFERENCE_MIN:
        return outcome
    reason = f"contradicts the time that stands beside it by {apart_min} minutes; the date-time was taken"
    return replace(outcome, notes=(*outcome.notes, Note(reason, Severity.WARNING)))


def _fitting(time: TimeOfDay, scan: Scan) -> Moment | None:
    """The time on the scan's day or the day before, whichever makes sense (an injection before midnight, a scan after it)."""
    assert scan.start is not None  # noqa: S101
    assert scan.half_life_s is not None  # noqa: S101
    day = scan.start.astimezone(scan.zone).date()
    furthest = max(MOST_HALF_LIVES * scan.half_life_s, Decimal(LATEST_AFTER_SCAN_S))
    for candidate in (values.at(day, time, scan.zone), values.at(day - _DAY, time, scan.zone)):
        if candidate.at is not None and -LATEST_AFTER_SCAN_S <= scan.elapsed_s(candidate.at) <= furthest:
            return candidate
    return None


def _scan(parts: Parts) -> Scan:
    half_life = parts.fields("half_life")
    zone = parts.zone()
    return Scan(
        start=_scan_start(parts, zone),
        half_life_s=half_life["value"] if isinstance(half_life, dict) else None,
        other_days=frozenset(_days(parts)),
        zone=zone,
    )


def _scan_start(parts: Parts, zone: dt.tzinfo) -> dt.datetime | None:
    day, time = parts.first("scan_date"), parts.first("scan_time")
    if day is None or time is None:
        return None
    try:
        return values.at(values.full_date(one_value(day)), values.time_of_day(one_value(time)), zone).at
    except Invalid:
        return None  # the scan's own fields tell that it is broken


def _days(parts: Parts) -> Iterable[str]:
    for element in parts.elements("other_dates"):
        try:
            yield values.date(one_value(element))
        except Invalid:
            continue


_HALF_LIFE = Part(kind=Kind.FIELD, required=False)
_OPTIONAL = Part(required=False)
TIMES: tuple[Converter, ...] = (
    Converter(
        name="injection_time",
        convert=injection_time,
        parts={
            "datetime": _OPTIONAL,
            "time": _OPTIONAL,
            "scan_date": Part(),
            "scan_time": Part(),
            "other_dates": _OPTIONAL,
            "half_life": _HALF_LIFE,
        },
    ),
    Converter(
        name="reported_start",
        convert=reported_start,
        parts={
            "datetime": Part(),
            "study": Part(kind=Kind.FIELD, required=False),
            "half_life": _HALF_LIFE,
        },
    ),
    Converter(
        name="injection_end",
        convert=injection_end,
        parts={"datetime": _OPTIONAL, "time": _OPTIONAL, "started": Part(kind=Kind.FIELD)},
    ),
)
