"""Runs the tests inside adapters: a table as text, and what must be read from it. Expected objects and lists are parts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from gateway.errors import Rejected
from gateway.mapping.codes import Codes
from gateway.model import Json, JsonObject
from gateway.tables.library import Adapters
from gateway.tables.rules import Adapter, AdapterTest
from gateway.tables.understand import Part, Understood

ZONE = ZoneInfo("Europe/Brussels")
_SUFFIX = {"csv": "csv", "xlsx": "xlsx", "report": "txt", "json": "json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTest:
    """What came of one test of an adapter. ``reasons`` is empty when it passed."""

    adapter: str
    name: str
    where: str
    reasons: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.reasons


def run_adapter_tests(adapters: Adapters) -> list[TableTest]:
    """Every test of every adapter."""
    return [run_adapter_test(adapter, test, adapters.codes) for adapter in adapters for test in adapter.tests]


def run_adapter_test(adapter: Adapter, test: AdapterTest, codes: Codes) -> TableTest:
    alone = Adapters(adapters=(adapter,), codes=codes)
    reasons: Iterable[str]
    try:
        understood = alone.read(table_of(adapter, test.given), test.filename or f"test.{_SUFFIX[adapter.read.format]}", ZONE)
    except Rejected as error:
        wanted = test.expect.get("rejected")
        reasons = [] if wanted and wanted in error.reason else [f"was rejected: {error.reason}"]
    else:
        reasons = ["was not rejected"] if "rejected" in test.expect else _differences(understood, test.expect)
    return TableTest(adapter=adapter.name, name=test.name, where=test.where, reasons=tuple(reasons))


def table_of(adapter: Adapter, given: Any) -> bytes:
    """The table of a test as a file: text in the adapter's encoding, or rows as a workbook."""
    if adapter.read.format != "xlsx":
        return str(given).encode(adapter.read.encodings[0])
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(adapter.read.sheet.replace("*", "") or "Sheet")
    for row in given if isinstance(given, list) else []:
        sheet.append([float(value) if isinstance(value, Decimal) else value for value in row])
    kept = io.BytesIO()
    book.save(kept)
    return kept.getvalue()


def _differences(understood: Understood, expect: JsonObject) -> Iterator[str]:
    parts = understood.parts
    if "parts" in expect and len(parts) != expect["parts"]:
        yield f"there should be {expect['parts']} parts, one for each patient and administration, and there are {len(parts)}"
    for level in ("patient", "device", "administration", "document"):
        if level in expect:
            yield from _compare(level, getattr(parts[0], level), expect[level])
    results = [result for part in parts for result in part.results]
    for index, wanted in enumerate(expect.get("results", ())):
        if not any(not list(_compare("", result, wanted)) for result in results):
            near = next((result for result in results if result.get("kind") == (wanted or {}).get("kind")), None)
            told = "; ".join(_compare("", near, wanted)) if near else "there is none of this kind"
            yield f"results[{index}] is not among the {len(results)} that were read: {told}"
    said = [f"{issue.field} {issue.reason}" for issue in understood.issues]
    for words in expect.get("issues", ()):
        if not any(words in text for text in said):
            yield f"no issue says '{words}'; there are: {said}"
    if expect.get("issues") == []:
        yield from (f"there is an issue: {text}" for text in said)


def _compare(name: str, found: Json, wanted: Json) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if value is None and key not in found:
                continue
            yield from _compare(f"{name}.{key}".lstrip("."), found.get(key), value)
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield f"{name} should have {len(wanted)} entries and has {len(found)}"
        for index, (one, other) in enumerate(zip(found, wanted, strict=False)):
            yield from _compare(f"{name}[{index}]", one, other)
    elif wanted != {} and not _same(found, wanted):
        yield f"{name} should be {wanted!r} and is {found!r}"


def _same(found: Json, wanted: Json) -> bool:
    numbers = (int, Decimal)
    if isinstance(found, numbers) and isinstance(wanted, numbers) and type(found) is not bool and type(wanted) is not bool:
        return Decimal(found) == Decimal(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def part_lines(part: Part) -> Iterator[str]:
    """A part for people: no identifiers."""
    start = part.administration.get("started_at", "an unknown start")
    yield f"administration: {_short(part.administration)} at {start}"
    for result in part.results:
        where = " ".join(str((result.get(name) or {}).get("text", "")) for name in ("laterality", "region")).strip()
        value = result.get("value")
        told = (
            f"{value['value']} {value['unit']}"
            if value
            else f"{len(result.get('points', ()))} points"
            if "points" in result
            else ""
        )
        yield f"  {result['kind']}  {where}  {told}  [{part.sources.get(str(result['label']) + '.value', '')}]"
    for issue in part.issues:
        yield f"  {issue.severity}: {issue.field} {issue.reason}"


def _short(administration: JsonObject) -> str:
    agent = (administration.get("agent") or administration.get("radionuclide") or {}).get("text", "unknown agent")
    activity = administration.get("activity")
    return f"{agent}, {activity['value']} {activity['unit']}" if activity else str(agent)
