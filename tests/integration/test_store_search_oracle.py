"""The search answers what a slow, plain reading of the specification answers, for resources and questions drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store import FhirStore
from gateway.store.dates import Interval, parse, period
from tests.fhir_samples import DCM, UCUM, transaction

ZONE = ZoneInfo("Europe/Brussels")
CODES = ["a", "b", "c"]
MAX_RESOURCES = 8
UNITS = ["MBq", "mL"]

_days = st.sampled_from(["2025-12-31", "2026-01-01", "2026-01-02", "2026-02-01"])
_moments = st.builds(
    "{}T{}:00:00{}".format, _days, st.sampled_from(["00", "09", "23"]), st.sampled_from(["Z", "+01:00", "-08:00"])
)
_dates = st.one_of(st.sampled_from(["2025", "2026", "2026-01", "2026-02"]), _days, _moments)
_numbers = st.sampled_from(["0", "1", "1.4", "1.5", "1.50", "2", "2.4", "2.5", "-1", "15", "1e1"])
_when = st.one_of(
    _dates.map(lambda text: {"effectiveDateTime": text}),
    st.builds(lambda start, end: {"effectivePeriod": {"start": start, "end": end}}, _days, st.just("2026-03-01")),
    _days.map(lambda text: {"effectivePeriod": {"start": text}}),
    st.just({}),
)
_value = st.one_of(
    st.builds(
        lambda n, u: {"valueQuantity": {"value": Decimal(n), "system": UCUM, "code": u, "unit": u}},
        _numbers,
        st.sampled_from(UNITS),
    ),
    st.just({}),
)


@st.composite
def observations(draw: st.DrawFn) -> list[dict[str, Any]]:
    drawn = draw(
        st.lists(st.tuples(st.sets(st.sampled_from(CODES), min_size=1), _when, _value), min_size=1, max_size=MAX_RESOURCES)
    )
    return [
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final",
            "code": {"coding": [{"system": DCM, "code": code} for code in sorted(codes)]},
            **when,
            **value,
        }
        for number, (codes, when, value) in enumerate(drawn)
    ]


PREFIXES = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]
_dates_asked = st.tuples(st.just("date"), st.sampled_from(PREFIXES), _dates, st.just(""))
_numbers_asked = st.tuples(
    st.just("value-quantity"), st.sampled_from(PREFIXES), _numbers, st.sampled_from(["", "||MBq", f"|{UCUM}|mL", "||other"])
)
_codes_asked = st.tuples(
    st.sampled_from(["code", "code:not"]), st.just(""), st.sampled_from([*CODES, f"{DCM}|a", "|a", "a,b"]), st.just("")
)
_missing_asked = st.tuples(
    st.sampled_from(["date:missing", "value-quantity:missing", "code:missing"]),
    st.just(""),
    st.sampled_from(["true", "false"]),
    st.just(""),
)
Question = tuple[str, str, str, str]
_questions = st.lists(st.one_of(_dates_asked, _numbers_asked, _codes_asked, _missing_asked), min_size=1, max_size=3)


def holds(resource: dict[str, Any], question: Question) -> bool:
    """R4 search.html, word by word, for one resource."""
    name, prefix, text, unit = question
    code, _, modifier = name.partition(":")
    if modifier == "missing":
        present = any(key.startswith({"date": "effective", "value-quantity": "value", "code": "code"}[code]) for key in resource)
        return present != (text == "true")
    if code == "code":
        found = any(has_code(resource, part) for part in text.split(","))
        return found != (modifier == "not")
    if code == "date":
        return any(compare_dates(prefix, interval, parse(text, ZONE)) for interval in when(resource))
    return compare_numbers(resource, prefix, Decimal(text), unit)


def has_code(resource: dict[str, Any], asked: str) -> bool:
    system, bar, code = asked.rpartition("|")
    return any(c["code"] == code and (not bar or c["system"] == system) for c in resource["code"]["coding"])


def when(resource: dict[str, Any]) -> list[Interval]:
    if "effectiveDateTime" in resource:
        return [parse(resource["effectiveDateTime"], ZONE)]
    return [period(resource["effectivePeriod"], ZONE)] if "effectivePeriod" in resource else []


def compare_dates(prefix: str, target: Interval, asked: Interval) -> bool:
    contained = asked.low <= target.low and target.high <= asked.high
    answers: dict[str, Callable[[], bool]] = {
        "": lambda: contained,
        "eq": lambda: contained,
        "ne": lambda: not contained,
        "gt": lambda: target.high > asked.high,
        "lt": lambda: target.low < asked.low,
        "ge": lambda: target.high > asked.high or contained,
        "le": lambda: target.low < asked.low or contained,
        "sa": lambda: target.low >= asked.high,
        "eb": lambda: target.high <= asked.low,
    }
    return answers[prefix]()


def compare_numbers(resource: dict[str, Any], prefix: str, asked: Decimal, unit: str) -> bool:
    if "valueQuantity" not in resource:
        return False
    quantity = resource["valueQuantity"]
    if unit and unit.rpartition("|")[2] != quantity["code"]:
        return False
    half = Decimal(5).scaleb(int(asked.as_tuple().exponent) - 1)
    value = quantity["value"]
    rounds_to = asked - half <= value < asked + half
    answers: dict[str, Callable[[], bool]] = {
        "": lambda: rounds_to,
        "eq": lambda: rounds_to,
        "ne": lambda: not rounds_to,
        "gt": lambda: value > asked,
        "lt": lambda: value < asked,
        "ge": lambda: value >= asked,
        "le": lambda: value <= asked,
        "sa": lambda: value > asked,
        "eb": lambda: value < asked,
    }
    return answers[prefix]()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirStore]:
    opened = FhirStore(f"sqlite:///{tmp_path_factory.mktemp('oracle') / 'store.db'}")
    yield opened
    opened.close()


@settings(max_examples=150, deadline=None)
@given(resources=observations(), questions=st.lists(_questions, min_size=4, max_size=8))
def test_search_agrees_with_a_plain_reading_of_the_specification(
    store: FhirStore, resources: list[dict[str, Any]], questions: list[list[Question]]
) -> None:
    bundle = transaction(*resources)
    for number in range(len(resources), MAX_RESOURCES):  # what an earlier example left behind
        bundle["entry"].append({"request": {"method": "DELETE", "url": f"Observation/o{number}"}})
    store.transact(bundle)
    for asked in questions:
        parameters = [(name, prefix + text + unit) for name, prefix, text, unit in asked]
        page = store.search("Observation", parameters)
        expected = [item["id"] for item in resources if all(holds(item, question) for question in asked)]
        assert [entry.stored.id for entry in page.entries] == expected, parameters
        assert page.total == len(expected)
