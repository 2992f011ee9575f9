"""How values look to people: FHIR datatypes, sizes, times. Pure; but for :func:`breakable` nothing here makes HTML."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

from gateway.model import Json, JsonObject

NOTHING = "–"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_SEXES = {"male": "male", "female": "female", "other": "other sex", "unknown": "sex unknown"}


def fhir(value: Json) -> str:
    """One FHIR value in a few words."""
    if isinstance(value, dict):
        return _datatype(value)
    if isinstance(value, list):
        return "; ".join(fhir(item) for item in value)
    return str(value)


def _datatype(value: JsonObject) -> str:
    if "value" in value and ("unit" in value or "code" in value):
        return f"{value['value']} {value.get('unit') or value.get('code')}"
    if "text" in value:
        return str(value["text"])
    if "coding" in value:
        return ", ".join(str(item.get("display") or item.get("code", "")) for item in value["coding"])
    for key in ("reference", "value", "display", "code"):
        if key in value:
            return str(value[key])
    return ", ".join(fhir(item) for item in value.values())


def short_quantity(value: JsonObject) -> str:
    """A quantity for a list: four digits are enough to know it again; the resource has them all."""
    number = value.get("value")
    if isinstance(number, Decimal) and number.is_finite():
        places = max(0, 3 - number.adjusted())
        return fhir({**value, "value": f"{number:.{places}f}".rstrip("0").rstrip(".") if places else f"{number:.0f}"})
    return fhir(value)


def field(value: Json) -> str:
    """One value of a record: a quantity, a concept, a name, a list, a plain one."""
    if isinstance(value, dict):
        if value.keys() == {"value", "unit"}:
            return f"{value['value']} {value['unit']}"
        if "text" in value:
            return str(value["text"])
        return ", ".join(f"{key} {field(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(field(item) for item in value)
    return str(value)


def size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return NOTHING


def count(number: int) -> str:
    """With thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def day(text: str | None) -> str:
    """The day of a FHIR date or dateTime."""
    return (text or "")[:10] or NOTHING


def minute(text: str | None) -> str:
    """A FHIR dateTime to the minute; a mere date as it is."""
    return (text or "")[:16].replace("T", " ") or NOTHING


def clock(seconds: float, zone: dt.tzinfo) -> str:
    """Seconds since 1970 in the site's zone."""
    return dt.datetime.fromtimestamp(seconds, zone).strftime("%Y-%m-%d %H:%M:%S")


def person(patient: JsonObject) -> str:
    """A Patient's name: family first, as work lists have it."""
    name: JsonObject = next(iter(patient.get("name", ())), {})
    given = " ".join(str(part) for part in name.get("given", ()))
    return ", ".join(part for part in (str(name.get("family", "")), given) if part) or str(name.get("text", "")) or "no name"


def about(patient: JsonObject) -> str:
    """Birth date and sex, as far as known."""
    parts = (str(patient.get("birthDate", "")), _SEXES.get(str(patient.get("gender", "")), ""))
    return " · ".join(part for part in parts if part)


def breakable(path: str) -> Markup:
    """A long path that may break after its points. The only place where markup is made from a value: it is escaped first."""
    return Markup(".<wbr>").join(escape(part) for part in path.split("."))


FILTERS: dict[str, Callable[..., Any]] = {
    "fhir": fhir, "field": field, "size": size, "count": count, "day": day, "minute": minute, "person": person, "about": about,
    "breakable": breakable,
}  # fmt: skip
