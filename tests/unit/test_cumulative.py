"""Doses over cycles: added up only over a list that a person declared, only where every cycle tells one dose of the same thing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.gather.cumulative import cumulative_results
from gateway.model import Administration, DeclaredCycles, DoseResult

KIDNEY = {"system": "http://snomed.info/sct", "code": "64033007", "text": "Kidney"}
LIVER = {"system": "http://snomed.info/sct", "code": "10200004", "text": "Liver"}


def cycle(number: int) -> Administration:
    return Administration(
        key=f"a{number}",
        aliases=(),
        fields={"started_at": f"2026-0{number}-01T09:30:00+02:00"},
        study_uids=(),
        series_uids=(),
        mapping="m",
        issues=(),
    )


def dose(number: int, gray: str | None, *, status: str = "final", key: str = "", **fields: Any) -> DoseResult:
    value = {} if gray is None else {"value": {"value": Decimal(gray), "unit": "Gy"}}
    told = {"kind": "organ-absorbed-dose", "region": KIDNEY, "intent": "verified", **value, **fields}
    return DoseResult(
        key=key or f"d{number}",
        aliases=(),
        kind="organ-absorbed-dose",
        fields=told,
        status=status,
        administration=f"a{number}",
        document="doc",
        study_uids=(),
        mapping="m",
        label="",
    )


def declared(*numbers: int, region: str | None = None) -> DeclaredCycles:
    return DeclaredCycles(
        id=1, administrations=tuple(f"a{n}" for n in numbers), region=region, reason="all given", decided_by="P", decided_at=0.0
    )


def summed(results: list[DoseResult], *lists: DeclaredCycles, replaced: dict[str, str] | None = None) -> list[DoseResult]:
    return list(cumulative_results(results, [cycle(n) for n in (1, 2, 3)], lists, replaced or {}))


def test_nothing_is_added_up_that_nobody_declared() -> None:
    assert summed([dose(1, "4.3"), dose(2, "4.1")]) == []


def test_the_declared_cycles_are_added_up_and_name_their_parts() -> None:
    (found,) = summed([dose(1, "4.36"), dose(2, "4.1"), dose(3, "9")], declared(1, 2))
    assert found.fields["value"] == {"value": Decimal("8.46"), "unit": "Gy"}
    assert found.fields["members"] == ["d1", "d2"]
    assert (found.kind, found.status) == ("cumulative-absorbed-dose", "final")
    assert found.fields["at"] == "2026-02-01T09:30:00+02:00"
    assert found.fields["remarks"] == ["2 cycles declared complete by P on 1970-01-01: all given"]


def test_the_order_in_which_facts_are_known_does_not_matter() -> None:
    results = [dose(1, "4.36"), dose(2, "4.1")]
    assert summed(results, declared(1, 2)) == summed(results[::-1], declared(1, 2)) == summed(results, declared(2, 1))[0:1]


def test_a_part_that_is_preliminary_makes_the_sum_preliminary() -> None:
    (found,) = summed([dose(1, "4.36"), dose(2, "4.1", status="preliminary")], declared(1, 2))
    assert found.status == "preliminary"


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([dose(1, "4.3")], "1 of 2 cycles tell no dose"),
        ([dose(1, "4.3"), dose(2, None, absent="not-performed")], "without a number"),
        ([dose(1, "4.3"), dose(2, "4.1"), dose(2, "4.2", key="other")], "several doses"),
    ],
)
def test_what_cannot_be_added_up_is_not_known_and_says_why(results: list[DoseResult], reason: str) -> None:
    (found,) = summed(results, declared(1, 2))
    assert "value" not in found.fields
    assert found.fields["absent"] == "unknown"
    assert any(reason in issue.reason for issue in found.issues)


def test_another_side_intent_statistic_or_unit_is_never_mixed() -> None:
    left: dict[str, Any] = {"laterality": {"code": "7771000", "text": "Left"}}
    right: dict[str, Any] = {"laterality": {"code": "24028007", "text": "Right"}}
    found = summed([dose(1, "4", **left), dose(2, "5", **right)], declared(1, 2))
    assert len(found) == 2
    assert all("value" not in one.fields for one in found)
    predicted = summed([dose(1, "4"), dose(2, "5", intent="predicted")], declared(1, 2))
    assert all("value" not in one.fields for one in predicted)
    grey = dose(2, "5")
    grey.fields["value"]["unit"] = "mSv"
    (mixed,) = summed([dose(1, "4"), grey], declared(1, 2))
    assert "value" not in mixed.fields


def test_a_declaration_for_one_region_adds_up_that_region_only() -> None:
    results = [dose(n, "4") for n in (1, 2)] + [dose(n, "1", key=f"l{n}", region=LIVER) for n in (1, 2)]
    assert [one.fields["region"] for one in summed(results, declared(1, 2, region="kidney"))] == [KIDNEY]
    assert len(summed(results, declared(1, 2))) == 2


def test_an_administration_that_was_lost_to_another_still_counts_and_one_that_is_gone_does_not() -> None:
    (found,) = summed([dose(1, "4"), dose(2, "5")], declared(1, 9), replaced={"a9": "a2"})
    assert found.fields["value"]["value"] == 9
    (gone,) = summed([dose(1, "4"), dose(2, "5")], declared(1, 8))
    assert "value" not in gone.fields
    assert "1 of the declared cycles are not known" in gone.issues[0].reason


def test_an_administration_after_the_declared_cycles_is_told_and_not_added_up() -> None:
    (whole,) = summed([dose(n, "4") for n in (1, 2, 3)], declared(1, 2, 3))
    assert whole.issues == ()
    (part,) = summed([dose(n, "4") for n in (1, 2, 3)], declared(1, 2))
    assert part.fields["value"]["value"] == 8
    assert [issue.reason for issue in part.issues] == [
        "An administration of the same agent came after the cycles that were declared complete and is not added up."
    ]
    (earlier,) = summed([dose(n, "4") for n in (2, 3)], declared(2, 3))  # one before the first of them was another therapy
    assert earlier.issues == ()
