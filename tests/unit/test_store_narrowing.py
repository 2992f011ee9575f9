"""Conditions are put together only where that says the same; and what is asked of one patient never walks all resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.store import FhirStore
from gateway.store.narrowing import date_windows, paired
from gateway.store.query import Condition, parse
from gateway.store.reader import Reader
from tests.fhir_samples import transaction

MONTH = [("date", "ge2026-01-01"), ("date", "lt2026-02-01")]


def windows(kind: str, *parameters: tuple[str, str]) -> list[list[str]]:
    filters = parse(kind, parameters).filters
    return [[found.values[0] for found in window] for window in date_windows(filters)]


def codes(*parameters: tuple[str, str]) -> list[str]:
    return [found.code for found in paired(parse("Observation", parameters).filters) if isinstance(found, Condition)]


def test_a_date_that_is_there_once_is_asked_for_from_both_sides_at_once() -> None:
    assert windows("Observation", *MONTH, ("code", "a")) == [["ge2026-01-01", "lt2026-02-01"]]
    assert windows("ImagingStudy", ("started", "2026-01")) == [["2026-01"]]


@pytest.mark.parametrize(
    "asked",
    [[("date", "ge2026-01-01")], [("date", "ge2026"), ("date", "gt2025")], [("date", "ge2026,lt2020"), ("date", "lt2026-02")]],
)
def test_what_is_open_at_one_side_or_names_alternatives_is_no_window(asked: list[tuple[str, str]]) -> None:
    assert windows("Observation", *asked) == []


def test_a_date_that_may_repeat_may_meet_each_condition_by_another_value() -> None:
    assert windows("Patient", ("_lastUpdated", "ge2026-01-01"), ("_lastUpdated", "lt2026-02-01")) == []
    assert windows("DiagnosticReport", ("issued", "ge2026"), ("issued", "lt2027")) == [["ge2026", "lt2027"]]
    assert windows("Encounter", ("location-period", "ge2026"), ("location-period", "lt2027")) == []  # location 0..*


def test_a_code_and_a_value_of_an_observation_are_one_pair() -> None:
    assert codes(("code", "s|a"), ("value-quantity", "gt4||Gy")) == ["code-value-quantity"]
    assert codes(("code", "a"), ("value-quantity", "gt4"), ("date", "2026")) == ["code-value-quantity", "date"]


@pytest.mark.parametrize(
    "asked",
    [
        [("code:not", "a"), ("value-quantity", "gt4")],
        [("code", "a,b"), ("value-quantity", "gt4")],
        [("code", "a"), ("value-quantity", "gt4"), ("value-quantity", "lt9")],
        [("code", "a$b"), ("value-quantity", "gt4")],
        [("combo-code", "a"), ("value-quantity", "gt4")],
    ],
)
def test_what_is_no_pair_stays_as_it_is(asked: list[tuple[str, str]]) -> None:
    assert "code-value-quantity" not in codes(*asked)


@pytest.mark.parametrize(
    "asked",
    [
        [("patient", "p"), ("date", "ge2020"), ("code", "s|c"), ("_sort", "-date")],
        [("code", "s|c"), ("date", "ge2020"), ("value-quantity", "lt4,gt9")],
        [*MONTH, ("code", "s|c"), ("_sort", "date")],
    ],
)
def test_no_search_walks_what_fits_the_wider_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str]]
) -> None:
    store = FhirStore(f"sqlite:///{tmp_path / 'store.db'}")
    plans: list[str] = []

    run = Reader.run

    def explained(reader: Reader, text: str, values: Any = ()) -> Any:
        if text.startswith("SELECT"):
            plans.extend(row[3] for row in run(reader, f"EXPLAIN QUERY PLAN {text}", values))
        return run(reader, text, values)

    monkeypatch.setattr(Reader, "run", explained)
    store.search("Observation", asked)
    store.close()
    assert plans
    for plan in plans:
        assert "SCAN res" not in plan
        if asked[0] not in MONTH:  # there the window itself is what is walked
            assert "dat_by_high" not in plan
        assert "qty USING PRIMARY KEY" not in plan


def test_a_canonical_that_is_asked_for_with_its_version_and_without_is_found_once(tmp_path: Path) -> None:
    store = FhirStore(f"sqlite:///{tmp_path / 'store.db'}")
    code = {
        "resourceType": "CodeSystem",
        "id": "c",
        "status": "draft",
        "content": "supplement",
        "supplements": "http://x.example/s|1",
    }
    store.transact(transaction(code))
    page = store.search("CodeSystem", [("supplements", "http://x.example/s|1,http://x.example/s")])
    assert ([entry.stored.id for entry in page.entries], page.total) == (["c"], 1)
    store.close()
