"""BED and EQD2 against the dose that they were made of: transported values are checked by their formula, never computed for a reader.

    BED = D + D^2 / (alpha/beta) * T_rep / (T_rep + T_eff)        one exponential, standards.md C.1
    EQD2 = BED / (1 + 2 Gy / (alpha/beta))

Checked where one document tells all that the formula needs of one region. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from gateway.model import DoseResult, Issue, Severity

#: How far a transported value may lie from its formula before somebody is told.
TOLERANCE = Decimal("0.02")
_BED, _EQD2, _DOSE, _HALF_LIFE = "bed", "eqd2", "organ-absorbed-dose", "effective-half-life"
_MEAN = "373098007"


def checked(results: Sequence[DoseResult]) -> tuple[DoseResult, ...]:
    """The results; a BED or EQD2 that is off carries an issue."""
    groups: dict[tuple[str, str], list[DoseResult]] = defaultdict(list)
    for one in results:
        if one.fields.get("group"):
            groups[one.document, str(one.fields["group"])].append(one)
    issues = {key: issue for group in groups.values() for key, issue in _of_group(group)}
    return tuple(replace(one, issues=(*one.issues, issues[one.key])) if one.key in issues else one for one in results)


def _of_group(group: Sequence[DoseResult]) -> Iterator[tuple[str, Issue]]:
    told = {kind: found[0] for kind in (_BED, _EQD2, _DOSE, _HALF_LIFE) if len(found := _plain(group, kind)) == 1}
    bed, eqd2 = told.get(_BED), told.get(_EQD2)
    expected = _expected_bed(told)
    if bed is not None and expected is not None and _off(bed, expected):
        yield bed.key, _issue(_BED, "BED does not follow from the absorbed dose, alpha/beta, half-life and repair half-time")
    from_bed = _value(bed) or expected
    ratio = _ratio(told)
    if eqd2 is not None and from_bed is not None and ratio and _off(eqd2, from_bed / (1 + 2 / ratio)):
        source = "BED" if _value(bed) else "the absorbed dose"
        yield eqd2.key, _issue(_EQD2, f"EQD2 does not follow from {source} and alpha/beta")


def _plain(group: Sequence[DoseResult], kind: str) -> list[DoseResult]:
    """Of the mean, or of no statistic: the formula is one of means."""
    return [one for one in group if one.kind == kind and (one.fields.get("statistic") or {}).get("code") in (None, _MEAN)]


def _expected_bed(told: Mapping[str, DoseResult]) -> Decimal | None:
    dose, effective, ratio = _value(told.get(_DOSE)), _value(told.get(_HALF_LIFE)), _ratio(told)
    repair = next((found for kind in (_BED, _EQD2) if (found := _member(told.get(kind), "repair_half_time"))), None)
    if dose is None or not effective or not ratio or repair is None:
        return None
    return dose + dose**2 / ratio * repair / (repair + effective)


def _ratio(told: Mapping[str, DoseResult]) -> Decimal | None:
    """Exactly one alpha/beta: two differing ones are two models."""
    found = {ratio for kind in (_BED, _EQD2) if (ratio := _member(told.get(kind), "alpha_beta"))}
    return found.pop() if len(found) == 1 else None


def _value(result: DoseResult | None) -> Decimal | None:
    return _member(result, "value")


def _member(result: DoseResult | None, name: str) -> Decimal | None:
    quantity = result.fields.get(name) if result else None
    return Decimal(quantity["value"]) if isinstance(quantity, dict) else None


def _off(result: DoseResult, expected: Decimal) -> bool:
    value = _value(result)
    return value is not None and expected > 0 and abs(value / expected - 1) > TOLERANCE


def _issue(kind: str, reason: str) -> Issue:
    return Issue(field=kind, reason=f"{reason}: published as told.", severity=Severity.WARNING)
