"""The longitudinal view of one patient: cycles, administered activities, organ doses over cycles, and what was declared complete.

The command line and the page call the same functions. Raises :class:`~gateway.errors.Rejected` with a sentence for people.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from gateway.contents import gathered_dossier
from gateway.errors import Rejected
from gateway.line import Line
from gateway.model import Administration, DeclaredCycles, DoseResult, Dossier, JsonObject
from gateway.spool.decisions import BAD_REQUEST, CONFLICT, By
from gateway.spool.study_view import NOT_FOUND

_SHORTEST = 4
_SHOWN = ("organ-absorbed-dose", "equivalent-dose", "effective-dose", "bed", "eqd2", "cumulative-absorbed-dose")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity of one region over the cycles; ``cells`` in the order of the cycles, ``total`` where it was added up."""

    region: str
    quantity: str
    cells: tuple[str, ...]
    total: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    patient_key: str
    cycles: tuple[Administration, ...]
    rows: tuple[Row, ...]
    declared: tuple[DeclaredCycles, ...]
    remarks: tuple[str, ...]


def patient_named(line: Line, patient: str) -> str:
    """The key of the one known patient with this id of the site, or with this key. Raises :class:`Rejected`."""
    tables = line.ledger.tables
    named = (line.understanding.patients.named(patient), patient)
    found = [key for key in named if tables.is_known(key)] or tables.known_with_id(patient)
    if len(found) != 1:
        told = (
            "No known patient has this id" if not found else "Several patients of other issuers have this id; name one by its key"
        )
        raise Rejected(f"{told}.", status=NOT_FOUND)
    return found[0]


def history(line: Line, patient_key: str) -> History:
    """Everything over time that is known now."""
    records = [stored.fields for stored in line.ledger.subjects.dossier_shared(patient_key)]
    dossier, _, _ = gathered_dossier(patient_key, records, line)
    return history_of(dossier, line.ledger.declarations.of_patient(patient_key))


def history_of(dossier: Dossier, declared: Sequence[DeclaredCycles]) -> History:
    """The administrations by start, and a row for each quantity of each region."""
    cycles = dossier.administrations
    groups: dict[tuple[str, str], list[DoseResult]] = defaultdict(list)
    for result in dossier.results:
        if result.kind in _SHOWN:
            groups[_region(result.fields), _quantity(result)].append(result)
    sums = {
        (region, _of(found[0])): "; ".join(_told(one) for one in found)
        for (region, _), found in groups.items()
        if found[0].kind == "cumulative-absorbed-dose"
    }
    rows = [
        Row(
            region=region,
            quantity=quantity,
            cells=tuple("; ".join(_told(one) for one in found if one.administration == cycle.key) or "-" for cycle in cycles),
            total=sums.get((region, _of(found[0])), "") if found[0].kind == "organ-absorbed-dose" else "",
        )
        for (region, quantity), found in sorted(groups.items())
        if found[0].kind != "cumulative-absorbed-dose"
    ]
    remarks = [issue.reason for result in dossier.results if result.kind == "cumulative-absorbed-dose" for issue in result.issues]
    return History(
        patient_key=dossier.patient_key,
        cycles=cycles,
        rows=tuple(rows),
        declared=tuple(declared),
        remarks=tuple(dict.fromkeys(remarks)),
    )


def _region(fields: JsonObject) -> str:
    lesion = fields.get("lesion") or {}
    words = [(fields.get(name) or {}).get("text") for name in ("region", "laterality")]
    words.append(lesion.get("label") or lesion.get("tracking_id"))
    return ", ".join(str(word) for word in words if word) or "whole body"


def _quantity(result: DoseResult) -> str:
    return f"{result.kind} {_of(result)}".strip()


def _of(result: DoseResult) -> str:
    """Statistic and intent: a sum stands only beside the doses that it is made of."""
    told = [(result.fields.get("statistic") or {}).get("text"), result.fields.get("intent")]
    return " ".join(str(word).lower() for word in told if word)


def _told(result: DoseResult) -> str:
    value = result.fields.get("value")
    words = f"{value['value']} {value['unit']}" if value else f"not known ({result.fields.get('absent', 'no number')})"
    return words if result.status in ("final", "amended") else f"{words} (preliminary)"


def complete(line: Line, patient_key: str, cycles: Sequence[str], region: str | None, by: By) -> int:
    """These cycles are all. ``cycles``: their numbers in the history, or first digits of ids. Returns the declaration's number."""
    found = history(line, patient_key)
    chosen = [_cycle(found.cycles, word) for word in cycles]
    if any(set(item.administrations) == set(chosen) and item.region == region for item in found.declared):
        raise Rejected("The same cycles are declared complete already; nothing was changed.", status=CONFLICT)
    return line.ledger.declarations.declare(patient_key, chosen, region, by)


def _cycle(cycles: Sequence[Administration], word: str) -> str:
    if word.isdigit() and len(word) < _SHORTEST and 1 <= int(word) <= len(cycles):
        return cycles[int(word) - 1].key
    found = [one.key for one in cycles if len(word) >= _SHORTEST and one.key.startswith(word)]
    if len(found) != 1:
        raise Rejected("This patient has no such cycle, or several; see 'isobridge dose history'.", status=BAD_REQUEST)
    return found[0]


def history_lines(found: History, zone: ZoneInfo) -> Iterator[str]:
    """For the operator's own terminal. Patient ids are shown, names are not."""
    yield f"patient {found.patient_key}"
    yield "administrations"
    for number, cycle in enumerate(found.cycles, 1):
        yield f"  {number}. {cycle.key}  {cycle_words(cycle)}"
    if not found.cycles:
        yield "  none"
    yield "doses"
    for row in found.rows:
        total = f"  declared cycles together: {row.total}" if row.total else ""
        yield f"  {row.region}: {row.quantity}: {' | '.join(row.cells)}{total}"
    if not found.rows:
        yield "  none"
    for remark in found.remarks:
        yield f"  {remark}"
    if found.declared:
        yield "declared complete"
    for item in found.declared:
        yield f"  {item.id}: {declared_words(item, zone)}"


def cycle_words(cycle: Administration) -> str:
    fields = cycle.fields
    agent = (fields.get("agent") or fields.get("radionuclide") or {}).get("text", "unknown agent")
    activity = fields.get("activity")
    amount = f"{activity['value']} {activity['unit']}" if activity else "activity unknown"
    return f"{fields.get('started_at', 'start unknown')}  {agent}  {amount}"


def declared_words(item: DeclaredCycles, zone: ZoneInfo) -> str:
    when = dt.datetime.fromtimestamp(item.decided_at, zone).isoformat(timespec="seconds")
    region = f" for {item.region}" if item.region else ""
    return f"{len(item.administrations)} cycles{region}, by {item.decided_by} at {when}: {item.reason}"


def history_json(found: History) -> JsonObject:
    """The same for programs."""
    cycles: list[Any] = [
        {"number": number, "id": cycle.key, **{name: cycle.fields.get(name) for name in ("started_at", "activity", "agent")}}
        for number, cycle in enumerate(found.cycles, 1)
    ]
    rows = [
        {"region": row.region, "quantity": row.quantity, "cycles": list(row.cells), "total": row.total or None}
        for row in found.rows
    ]
    declared = [
        {"id": one.id, "cycles": list(one.administrations), "region": one.region, "by": one.decided_by, "reason": one.reason}
        for one in found.declared
    ]
    return {
        "patient": found.patient_key,
        "administrations": cycles,
        "doses": rows,
        "declared": declared,
        "remarks": list(found.remarks),
    }
