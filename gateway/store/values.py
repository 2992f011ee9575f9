"""From a FHIR value to the rows of one index table, and the same normal forms for what a query asks (R4 search.html).

Every function yields plain tuples without parameter and row id. A value that has no searchable form yields nothing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from gateway.store import dates

#: Longest text kept in an index. A PostgreSQL index entry must stay below 2.7 kB, and nobody searches for an essay.
MAX_INDEXED_CHARS = 200

_DICOM_UID = re.compile(r"[0-2](?:\.\d+)+", re.ASCII)
_RELATIVE = re.compile(r"(?P<kind>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?")
_ADDRESS_PARTS = ("line", "city", "district", "state", "postalCode", "country", "text")
_TOKEN_KEYS = {"Coding": "code", "Identifier": "value", "ContactPoint": "value"}
_NUMBERS = frozenset({"integer", "decimal", "positiveInt", "unsignedInt"})
_NAME_PARTS = ("family", "given", "prefix", "suffix", "text")


def key(text: str) -> str:
    """A text as it stands in an index: long ones by a prefix and a digest, so that equality stays exact."""
    if len(text) <= MAX_INDEXED_CHARS and "\x00" not in text:
        return text
    text = text.replace("\x00", "")  # PostgreSQL has no place for it
    if len(text) <= MAX_INDEXED_CHARS:
        return text
    return f"{text[:100]}#{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """Without case, accents and repeated blanks: the default way FHIR compares strings."""
    decomposed = unicodedata.normalize("NFKD", text.replace("\x00", "").casefold())
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(plain.split())[:MAX_INDEXED_CHARS]


def tokens(kind: str, value: Any) -> Iterator[tuple[str, str]]:
    """(code, system); an empty system means that there is none."""
    if kind == "CodeableConcept":
        for coding in value.get("coding", ()):
            yield from tokens("Coding", coding)
    elif kind in _TOKEN_KEYS:
        code = value.get(_TOKEN_KEYS[kind])
        if code:
            # the system of a ContactPoint says phone or email; it is no code system
            yield key(code), "" if kind == "ContactPoint" else key(value.get("system", ""))
    elif kind == "boolean":
        yield ("true" if value else "false"), ""
    elif isinstance(value, str):
        yield key(value), ""


def token_texts(kind: str, value: Any) -> Iterator[str]:
    """What ``:text`` searches: the words that come with a code."""
    if kind == "CodeableConcept":
        if "text" in value:
            yield value["text"]
        for coding in value.get("coding", ()):
            yield from token_texts("Coding", coding)
    elif kind == "Coding":
        if "display" in value:
            yield value["display"]
    elif kind == "Identifier" and "text" in value.get("type", {}):
        yield value["type"]["text"]


def uid_forms(code: str) -> tuple[str, ...]:
    """A DICOM UID is found bare and as ``urn:oid:``, whichever way it was stored or asked."""
    bare = code.removeprefix("urn:oid:")
    return (bare, f"urn:oid:{bare}") if _DICOM_UID.fullmatch(bare) else (code,)


def references(kind: str, value: Any) -> Iterator[tuple[str, str]]:
    """(target id, target type); what is not of the form ``Type/id`` is kept whole, with an empty type."""
    text = value if kind != "Reference" else value.get("reference", "")
    if not text or text.startswith("#"):
        return
    match = _RELATIVE.fullmatch(text)
    if match and kind == "Reference":
        yield match["id"], match["kind"]
    else:
        yield key(text), ""
        if kind == "canonical" and "|" in text:
            yield key(text.partition("|")[0]), ""


def strings(kind: str, value: Any) -> Iterator[str]:
    if kind in ("HumanName", "Address"):
        for part in _NAME_PARTS if kind == "HumanName" else _ADDRESS_PARTS:
            found = value.get(part, ())
            yield from (found,) if isinstance(found, str) else (text for text in found if text)
    elif isinstance(value, str):
        yield value


def intervals(kind: str, value: Any, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    try:
        if kind == "Period":
            yield dates.period(value, zone)
        elif kind == "Timing":
            yield from _timing(value, zone)
        elif kind in ("date", "dateTime", "instant"):
            yield dates.parse(value, zone)
    except ValueError:
        return  # a date the calendar does not have: the resource is kept, but no date search finds it


def _timing(value: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    events = [dates.parse(event, zone) for event in value.get("event", ()) if event]
    bounds = value.get("repeat", {}).get("boundsPeriod")
    if bounds:
        events.append(dates.period(bounds, zone))
    if events:
        yield min(event.low for event in events), max(event.high for event in events)


def quantities(kind: str, value: Any) -> Iterator[tuple[float, float, str, str, str]]:
    """(low, high, system, code, unit); low and high differ only for a Range."""
    if kind == "Range":
        low, high = value.get("low", {}), value.get("high", {})
        unit = _unit(low or high)
        yield float(low.get("value", "-inf")), float(high.get("value", "inf")), *unit
    elif kind == "Money":
        if "value" in value:
            number = float(value["value"])
            yield number, number, "urn:iso:std:iso:4217", key(value.get("currency", "")), ""
    elif kind in _NUMBERS:
        yield float(value), float(value), "", "", ""
    elif kind != "SampledData" and "value" in value:
        number = float(value["value"])
        yield number, number, *_unit(value)


def _unit(value: Mapping[str, Any]) -> tuple[str, str, str]:
    return key(value.get("system", "")), key(value.get("code", "")), key(value.get("unit", ""))


def uris(_kind: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield key(value)
