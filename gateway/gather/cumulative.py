"""Absorbed dose over the cycles of a therapy: added up only over a list that a person declared complete, and only where each cycle
tells exactly one dose of the same region, side, lesion, statistic and intent, in the same unit. Else the fact says that it is not known.

Pure: a function of the results, the administrations and the declarations.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.dicom.values import instant
from gateway.model import Administration, DeclaredCycles, DoseResult, Issue, JsonObject, Severity

_SUMMED, _SUM = "organ-absorbed-dose", "cumulative-absorbed-dose"
#: What must be equal in all cycles, besides the unit.
_EQUAL = ("region", "laterality", "statistic", "intent", "target_definition")
_ABSENT = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cycles:
    """A declaration with the administrations that it means today."""

    declared: DeclaredCycles
    administrations: tuple[Administration, ...]
    missing: int
    later: int = 0  #: administrations of the same agent after the last of them


def cumulative_results(
    results: Sequence[DoseResult],
    administrations: Sequence[Administration],
    declared: Sequence[DeclaredCycles],
    replaced: Mapping[str, str],
) -> Iterator[DoseResult]:
    """``replaced``: administrations that were lost to others since."""
    for declaration in declared:
        cycles = _cycles(declaration, administrations, replaced)
        if cycles.administrations:
            yield from _of_declaration(cycles, results)


def _cycles(declaration: DeclaredCycles, administrations: Sequence[Administration], replaced: Mapping[str, str]) -> _Cycles:
    keys = set(dict.fromkeys(_survivor(key, replaced) for key in declaration.administrations))
    found = tuple(one for one in administrations if one.key in keys)
    starts = [at for one in found if (at := _start(one))]
    agents = {_agent(one) for one in found}
    others = (at for one in administrations if one.key not in keys and _agent(one) in agents and (at := _start(one)))
    later = sum(at > max(starts) for at in others) if starts else 0
    return _Cycles(declared=declaration, administrations=found, missing=len(keys) - len(found), later=later)


def _start(item: Administration) -> dt.datetime | None:
    started = item.fields.get("started_at")
    return instant(started) if isinstance(started, str) else None


def _agent(item: Administration) -> str:
    told = item.fields.get("agent") or item.fields.get("radionuclide") or {}
    return str(told.get("code") or told.get("text") or "")


def _survivor(key: str, replaced: Mapping[str, str]) -> str:
    seen: set[str] = set()
    while key in replaced and key not in seen:
        seen.add(key)
        key = replaced[key]
    return key


def _of_declaration(cycles: _Cycles, results: Sequence[DoseResult]) -> Iterator[DoseResult]:
    keys = {one.key for one in cycles.administrations}
    groups: dict[tuple[str, ...], list[DoseResult]] = defaultdict(list)
    for result in results:
        if result.kind == _SUMMED and result.administration in keys and _is_region(result.fields, cycles.declared.region):
            groups[_words(result.fields)].append(result)
    for words, members in sorted(groups.items()):
        yield _sum(cycles, words, members)


def _is_region(fields: JsonObject, wanted: str | None) -> bool:
    region = fields.get("region") or {}
    return wanted is None or wanted.lower() in {str(region.get(name, "")).lower() for name in ("code", "text")}


def _words(fields: JsonObject) -> tuple[str, ...]:
    lesion = fields.get("lesion") or {}
    told = [fields.get(name) for name in _EQUAL]
    words = [(one.get("code") or one.get("text")) if isinstance(one, dict) else one for one in told]
    return tuple(
        str(word or "-") for word in (*words, lesion.get("tracking_uid") or lesion.get("tracking_id") or lesion.get("label"))
    )


def _sum(cycles: _Cycles, words: tuple[str, ...], members: Sequence[DoseResult]) -> DoseResult:
    by_cycle = {one.key: [item for item in members if item.administration == one.key] for one in cycles.administrations}
    ordered = [item for one in cycles.administrations for item in by_cycle[one.key]]
    reasons = list(_why_not(cycles, by_cycle, ordered))
    last = ordered[-1]
    fields: JsonObject = {
        **{name: last.fields[name] for name in (*_EQUAL, "lesion") if name in last.fields},
        "kind": _SUM,
        "at": max(str(one.fields.get("started_at") or "") for one in cycles.administrations) or None,
        "method": {"text": "Sum of the absorbed doses of the declared cycles"},
        "use": "therapeutic",
        "members": [item.key for item in ordered],
        "remarks": [_declared_words(cycles.declared, len(cycles.administrations))],
    }
    if reasons:
        fields["absent"] = _ABSENT
    else:
        unit = ordered[0].fields["value"]["unit"]
        fields["value"] = {"value": sum((Decimal(item.fields["value"]["value"]) for item in ordered), Decimal(0)), "unit": unit}
    name = f"declared|{cycles.declared.id}|{'|'.join(words)}"
    return DoseResult(
        key="",
        aliases=(name,),
        kind=_SUM,
        fields={key: value for key, value in fields.items() if value is not None},
        status="final" if all(item.status in ("final", "amended") for item in ordered) and not reasons else "preliminary",
        administration=None,
        document=last.document,
        study_uids=tuple(sorted({uid for item in ordered for uid in item.study_uids})),
        mapping=last.mapping,
        label="",
        issues=tuple(Issue(field=_SUM, reason=reason, severity=Severity.WARNING) for reason in (*reasons, *_since(cycles))),
    )


def _why_not(cycles: _Cycles, by_cycle: Mapping[str, Sequence[DoseResult]], ordered: Sequence[DoseResult]) -> Iterator[str]:
    if cycles.missing:
        yield f"Not added up: {cycles.missing} of the declared cycles are not known any more."
    empty = sum(not found for found in by_cycle.values())
    if empty:
        yield f"Not added up: {empty} of {len(by_cycle)} cycles tell no dose of this region, side and intent."
    if any(len(found) > 1 for found in by_cycle.values()):
        yield "Not added up: a cycle tells several doses of this region, side and intent."
    if any("value" not in item.fields for item in ordered):
        yield "Not added up: a cycle tells a dose without a number."
    if len({item.fields["value"]["unit"] for item in ordered if "value" in item.fields}) > 1:
        yield "Not added up: the cycles tell doses of different kinds."


def _since(cycles: _Cycles) -> Iterator[str]:
    if cycles.later:
        what = "An administration" if cycles.later == 1 else f"{cycles.later} administrations"
        yield f"{what} of the same agent came after the cycles that were declared complete and is not added up."


def _declared_words(declared: DeclaredCycles, count: int) -> str:
    when = dt.datetime.fromtimestamp(declared.decided_at, dt.UTC).date().isoformat()
    return f"{count} cycles declared complete by {declared.decided_by} on {when}: {declared.reason}"
