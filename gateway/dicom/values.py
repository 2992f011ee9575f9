"""DICOM values as text -> plain JSON values. Pure; each function raises :class:`Invalid` rather than guess.

Value representations are those of PS3.5 section 6.2. Dates and times become FHIR ``date`` and ``dateTime`` strings
(FHIR R4 datatypes): partial ones stay partial, a time always carries its zone.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal

from gateway.model import JsonObject


class Invalid(ValueError):
    """An element is present but its value cannot be used. The message continues a sentence: "is not a number"."""


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A DICOM TM as written: minute and second may be missing; second 60 is a leap second; ``day_shift`` 1 for 24:00."""

    hour: int
    minute: int | None = None
    second: int | None = None
    fraction: str = ""  #: digits after the point, without trailing zeros
    day_shift: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as FHIR text, and as an aware ``datetime`` when it is precise enough to calculate with."""

    text: str
    at: dt.datetime | None = None
    warning: str | None = None


_UID = re.compile(r"\d+(\.\d+)*", re.ASCII)
_LEADING_ZERO = re.compile(r"(?:^|\.)0\d", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:[.-]?(\d{2}))?(?:[.-]?(\d{2}))?", re.ASCII)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME = re.compile(r"(\d{8}|\d{6}|\d{4})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
#: A DS has at most 16 characters (PS3.5 table 6.2-1); binary doubles need more. No quantity here is beyond 10 to this power.
_MOST_DIGITS = 32
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text(value: str) -> str:
    """Text without control characters, which FHIR strings must not hold. Raises when nothing printable is left."""
    cleaned = _CONTROL.sub("", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not cleaned:
        raise Invalid("holds no printable text")
    return cleaned


def uid(value: str) -> str:
    """A UID (PS3.5 section 9): digits and points, at most 64 characters. Leading zeros, which section 9.1 forbids, exist: they stay."""
    if len(value) > 64 or not _UID.fullmatch(value):
        raise Invalid("is not a UID")
    return value


def has_leading_zero(value: str) -> bool:
    """Whether a component of a UID begins with a zero that PS3.5 9.1 forbids: ``1.02``. The UID without it is another one."""
    return _LEADING_ZERO.search(value) is not None


def legal_uid(value: str) -> str:
    """A UID that we may write."""
    if has_leading_zero(value):
        raise Invalid("is not a UID: a component has a leading zero")
    return uid(value)


def integer(value: str) -> int:
    """An Integer String (PS3.5 table 6.2-1)."""
    if not _INTEGER.fullmatch(value):
        raise Invalid("is not a whole number")
    return int(value)


def decimal(value: str) -> Decimal:
    """A Decimal String, exactly as written. ``NaN``, units and decimal commas are refused."""
    if len(value) > _MOST_DIGITS or not _DECIMAL.fullmatch(value):
        raise Invalid("is not a number")
    number = Decimal(value)
    if number and abs(number.adjusted()) > _MOST_DIGITS:
        raise Invalid("is a number of impossible size")
    return number


def date(value: str) -> str:
    """A DICOM DA (or its old form with points) as a FHIR date; a year or a year and month stay partial."""
    found = _DATE.fullmatch(value)
    if not found:
        raise Invalid("is not a date")
    return _checked_date(found[1], found[2], found[3])


def full_date(value: str) -> dt.date:
    """A DICOM DA that must have year, month and day."""
    whole = date(value)
    if len(whole) != 10:
        raise Invalid("is not a full date")
    return dt.date.fromisoformat(whole)


def time_of_day(value: str) -> TimeOfDay:
    """A DICOM TM (or its old form with colons). ``240000`` is midnight at the end of the day."""
    found = _TIME.fullmatch(value)
    if not found:
        raise Invalid("is not a time")
    hour, minute, second = int(found[1]), _maybe(found[2]), _maybe(found[3])
    fraction = (found[4] or "").rstrip("0")
    if hour == 24 and not minute and not second and not fraction:
        return TimeOfDay(0, 0, 0, "", 1)
    if hour > 23 or (minute or 0) > 59 or (second or 0) > 60:
        raise Invalid("is not a time")
    return TimeOfDay(hour, minute, second, fraction)


def clock(value: str) -> str:
    """A DICOM TM as a FHIR time, whole seconds. Hours alone say too little, 24:00 is another day's."""
    time = time_of_day(value)
    if time.minute is None or time.day_shift:
        raise Invalid("is not a time with minutes")
    return f"{time.hour:02}:{time.minute:02}:{min(time.second or 0, 59):02}"


def utc_offset(value: str) -> dt.timezone:
    """A DICOM offset ``&ZZXX`` (PS3.5 DT; TimezoneOffsetFromUTC), -1200 to +1400."""
    found = _OFFSET.fullmatch(value)
    minutes = int(found[2]) * 60 + int(found[3]) if found else 0
    if not found or int(found[3]) > 59:
        raise Invalid("is not an offset from UTC")
    signed = -minutes if found[1] == "-" else minutes
    if not -720 <= signed <= 840:
        raise Invalid("is not an offset from UTC")
    return dt.timezone(dt.timedelta(minutes=signed))


def moment(value: str, zone: dt.tzinfo) -> Moment:
    """A DICOM DT. Its own offset counts, else ``zone``. Year, month or day alone give a partial FHIR dateTime."""
    day, time, own_zone = split_datetime(value)
    if len(day) < 10 or time is None:
        return Moment(day)
    return at(dt.date.fromisoformat(day), time, own_zone or zone)


def split_datetime(value: str) -> tuple[str, TimeOfDay | None, dt.timezone | None]:
    """A DICOM DT in its parts: FHIR date (maybe partial), time of day, offset."""
    found = _DATETIME.fullmatch(value)
    if not found:
        raise Invalid("is not a date and time")
    day = date(found[1])
    time = time_of_day(found[2]) if found[2] else None
    offset = utc_offset(found[3]) if found[3] else None
    if time is not None and len(day) < 10:
        raise Invalid("is not a date and time")
    return day, time, offset


def at(day: dt.date, time: TimeOfDay, zone: dt.tzinfo) -> Moment:
    """A day and a time of day in a zone.

    An hour without minutes gives the day only: FHIR has no such precision; missing seconds become :00, as FHIR R4 dateTime
    allows. A local time that a clock change skips or repeats gives the day only, with a warning: which instant it was
    cannot be known. Second 60 stays in the text and counts as the following second.
    """
    day += dt.timedelta(days=time.day_shift)
    if time.minute is None:
        return Moment(day.isoformat(), None, "has hours but no minutes: only the day is kept")
    second = time.second or 0
    local = dt.datetime(day.year, day.month, day.day, time.hour, time.minute, min(second, 59), tzinfo=zone)
    offset = local.utcoffset()
    if offset is None or offset != local.replace(fold=1).utcoffset():
        return Moment(day.isoformat(), None, "falls into a clock change: only the day is kept")
    if offset.seconds % 60:
        return Moment(day.isoformat(), None, "is older than time zones: only the day is kept")
    exact = local + dt.timedelta(seconds=second - min(second, 59), microseconds=int(time.fraction.ljust(6, "0") or 0))
    fraction = f".{time.fraction}" if time.fraction else ""
    return Moment(f"{day}T{time.hour:02}:{time.minute:02}:{second:02}{fraction}{_offset_text(offset)}", exact)


def instant(text: str) -> dt.datetime | None:
    """FHIR dateTime text as :func:`at` writes it -> an aware ``datetime``; ``None`` for a day alone. A leap second counts as :59."""
    if "T" not in text:
        return None
    return dt.datetime.fromisoformat(text.replace(":60", ":59") if text[16:19] == ":60" else text)


def person_name(value: str) -> JsonObject:
    """A PN (PS3.5 section 6.2.1): ``family^given^middle^prefix^suffix``, groups ``alphabetic=ideographic=phonetic``.

    The first group that is filled is the name itself; the others stand beside it under their own names.
    """
    groups = [_name_group(group) for group in value.split("=")[:3]]
    groups += [{}] * (3 - len(groups))
    alphabetic, ideographic, phonetic = groups
    if not any(groups):
        raise Invalid("is an empty name")
    name = dict(alphabetic or ideographic or phonetic)
    if alphabetic and ideographic:
        name["ideographic"] = ideographic
    if (alphabetic or ideographic) and phonetic:
        name["phonetic"] = phonetic
    return name


def _name_group(group: str) -> JsonObject:
    parts = [_CONTROL.sub("", part).strip() for part in group.split("^")]
    if not any(parts):
        return {}
    family, given, middle, prefix, suffix = (parts + [""] * 5)[:5]
    name: JsonObject = {
        "family": family,
        "given": [*given.split(), *middle.split()],
        "prefix": [prefix] if prefix else [],
        "suffix": [suffix] if suffix else [],
        "text": " ".join(part for part in (prefix, given, middle, family, suffix) if part),
    }
    return {key: part for key, part in name.items() if part}


def _checked_date(year: str, month: str | None, day: str | None) -> str:
    try:
        checked = dt.date(int(year), int(month or 1), int(day or 1))
    except ValueError as error:
        raise Invalid("is not a date") from error
    return checked.isoformat()[: 10 if day else 7 if month else 4]


def _maybe(digits: str | None) -> int | None:
    return int(digits) if digits is not None else None


def _offset_text(offset: dt.timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
