"""SQL of our own: values never stand in the text, and the text of a question depends on its shape alone."""

from __future__ import annotations

import datetime as dt
import sqlite3
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.store.asked import asked_of
from gateway.store.index import ParamIds, wanted_parameters
from gateway.store.predicates import Scope, condition
from gateway.store.query import parse
from gateway.store.sql import FALSE, TRUE, Sql, all_of, any_of, for_driver, is_one_of, listed, named_once, negated, sql

IDS: ParamIds = {pair: number for number, pair in enumerate(wanted_parameters(), start=1)}
SCOPE = Scope(IDS, ZoneInfo("UTC"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "http://here/fhir")
NAMES = (
    "code", "code:text", "code:not", "subject", "subject:identifier", "patient.name:contains", "date", "value-quantity", "_id",
    "code-value-quantity", "code-value-concept", "instantiates-canonical", "_lastUpdated", "_has:Provenance:target:recorded",
)  # fmt: skip


def written(name: str, *values: str) -> str:
    """The text of a search for all of these."""
    asked = asked_of(parse("Observation", [(name, value) for value in values]).filters, SCOPE)
    return all_of([*([asked.rows.source()] if asked.rows else []), *asked.conditions]).text


@given(st.sampled_from(NAMES), st.text(min_size=1, max_size=40))
def test_no_value_stands_in_the_text(name: str, value: str) -> None:
    marked = f"quaint'{value}\"; --"
    for asked in (marked, f"s|{marked}", f"{marked}$gt5", "gt5|s|" + marked, f"a${marked}"):
        try:
            found = [condition(one, SCOPE) for one in parse("Observation", [(name, asked)]).filters]
        except Rejected:
            continue
        for part in found:
            assert "quaint" not in part.text
            assert part.text.count("?") == len(part.values)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("code", "http://loinc.org|1234-5", "urn:x|'"),
        ("code", "a,b,c", "d,e,f,g"),
        ("subject", "Patient/1", "Patient/2"),
        ("date", "ge2026-01-01", "ge1999"),
        ("value-quantity", "gt5.4|http://unitsofmeasure.org|Gy", "gt0|s|c"),
        ("patient.identifier", "s|1", "s|2"),
    ],
)
def test_the_same_question_has_the_same_text(name: str, one: str, other: str) -> None:
    assert written(name, one) == written(name, other)


def test_parts_take_their_places_with_their_values() -> None:
    inner = sql("b = {} AND {}", 2, is_one_of(Sql("c"), ["x", "y", "z"]))
    whole = sql("SELECT {} FROM t WHERE a = {} AND {} LIMIT {}", Sql("a"), 1, negated(inner), 9)
    assert whole == Sql(
        "SELECT a FROM t WHERE a = ? AND NOT (b = ? AND c IN (?, ?, ?, ?)) LIMIT ?", (1, 2, "x", "y", "z", "z", 9)
    )


@pytest.mark.parametrize("parts", [(), (1, 2)])
def test_a_pattern_has_as_many_places_as_parts(parts: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        sql("a = {}", *parts)


@pytest.mark.parametrize("pattern", ["a = ?", "a LIKE '%x'"])
def test_a_pattern_has_nothing_that_a_driver_takes_for_a_value(pattern: str) -> None:
    with pytest.raises(AssertionError):
        sql(pattern)  # type: ignore[arg-type, unused-ignore]


def test_nothing_to_hold_is_true_and_nothing_to_choose_is_false() -> None:
    assert (all_of([]), any_of([]), is_one_of(Sql("a"), [])) == (TRUE, FALSE, FALSE)
    assert all_of([TRUE, FALSE]).text == "(TRUE AND FALSE)"
    assert listed([Sql("a"), sql("{} AS b", 1)]) == Sql("a, ? AS b", (1,))


def test_what_is_named_stands_once_at_the_head_before_what_names_it() -> None:
    first = named_once("n", 0, sql("SELECT {} AS v", 1))
    second = named_once("n", 1, sql("SELECT v + {} AS v FROM {}", 10, first))
    statement = sql("SELECT v FROM {} WHERE {} UNION ALL SELECT v FROM {}", second, sql("v > {}", 0), first)
    text, values = for_driver(statement, "sqlite")
    assert text.startswith("WITH n0 AS (SELECT ? AS v), n1 AS (SELECT v + ? AS v FROM n0) SELECT")
    assert sorted(sqlite3.connect(":memory:").execute(text, values).fetchall()) == [(1,), (11,)]
    assert for_driver(statement, "postgresql")[0] == text.replace("?", "%s")


@given(st.lists(st.integers(), min_size=1, max_size=70, unique=True), st.integers())
def test_a_list_that_is_filled_up_names_the_same(wanted: list[int], value: int) -> None:
    text, values = for_driver(sql("SELECT {}", is_one_of(sql("{}", value % 100), [one % 100 for one in wanted])), "sqlite")
    found = sqlite3.connect(":memory:").execute(text, values).fetchone()[0]
    assert bool(found) == (value % 100 in {one % 100 for one in wanted})
