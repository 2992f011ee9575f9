"""An activity whose unit is ambiguous, and an independent source that settles it (design.md section 4).

"10" in a PET header may be 10 MBq or 10 mCi: the mapping withholds it and keeps both as ``activity_candidates``. Where image headers
and a dose report tell of one injection, and the clean number of one agrees within tolerance with exactly one candidate of the other,
that candidate is what the other meant: it is taken, marked as repaired, and told. Two headers, or two reports, settle nothing: they may
repeat one mistake. Without such a source, or with two candidates that agree, the number stays withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from gateway.gather.readings import Account, Reading, Source, injection
from gateway.model import Issue, JsonObject, Severity
from gateway.nuclear.sameness import ACTIVITY_TOLERANCE, Injection
from gateway.nuclear.units import convert

CANDIDATES = "activity_candidates"
_WORDS = {Source.IMAGE: ("image headers", "dose report"), Source.REPORT: ("dose report", "image headers")}
#: Who may settle whose number. A table settles nothing and is settled by nobody: its units are declared.
_OTHERS = {Source.IMAGE: Source.REPORT, Source.REPORT: Source.IMAGE}


def assumed(of: Account, reference: Injection) -> Injection:
    """What an account tells, its ambiguous activity read as the reference says, where that is possible in one way only."""
    told = of.injection
    if told.activity_mbq is not None or reference.activity_mbq is None:
        return told
    found = _agreeing(of.readings, reference.activity_mbq)
    return replace(told, activity_mbq=_mbq(found)) if found else told


def corroborated(item: Account) -> tuple[Account, tuple[Issue, ...]]:
    """An account of both kinds of source with its ambiguous activities settled, and what was settled."""
    readings, issues = list(item.readings), []
    for source, other in _OTHERS.items():
        others = injection(item.of(other))
        mine = item.of(source)
        if others.activity_mbq is None or any("activity" in reading.fields for reading in mine):
            continue
        found = _agreeing(mine, others.activity_mbq)
        if found:
            readings = [_settled(reading, found) if reading in mine else reading for reading in readings]
            issues.append(_told(source, len(mine[0].fields.get(CANDIDATES, ()))))
    return (replace(item, readings=tuple(readings)), tuple(issues)) if issues else (item, ())


def _agreeing(readings: Sequence[Reading], mbq: Decimal) -> JsonObject | None:
    """The one candidate of the readings that lies within the tolerance, when they all leave the same choice."""
    choices = [reading.fields[CANDIDATES] for reading in readings if CANDIDATES in reading.fields]
    if not choices or any(choice != choices[0] for choice in choices):
        return None
    near = [candidate for candidate in choices[0] if abs(_mbq(candidate) - mbq) <= ACTIVITY_TOLERANCE * mbq]
    return near[0] if len(near) == 1 else None


def _settled(reading: Reading, activity: JsonObject) -> Reading:
    if CANDIDATES not in reading.fields:
        return reading
    fields = {name: value for name, value in reading.fields.items() if name != CANDIDATES}
    stated = {"activity_stated": activity["stated"]} if "stated" in activity else {}
    taken = {name: activity[name] for name in ("value", "unit")}
    return replace(reading, fields={**fields, **stated, "activity": taken, "activity_repaired": True})


def _told(source: Source, choices: int) -> Issue:
    own, other = _WORDS[source]
    reason = f"The number in the {own} is ambiguous; of its {choices} readings only one agrees with the {other}: it was taken."
    return Issue(field="administration.activity", reason=reason, severity=Severity.WARNING)


def _mbq(quantity: JsonObject) -> Decimal:
    return convert(Decimal(quantity["value"]), quantity["unit"], "MBq")
