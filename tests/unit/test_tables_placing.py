"""Which administration a part belongs to, and which of two tables counts. Pure, over the whole set."""

from __future__ import annotations

import dataclasses
import itertools
from decimal import Decimal
from typing import Any

import pytest

from gateway.mapping.codes import Codes, load_codes
from gateway.model import Administration, JsonObject, SharedFields
from gateway.tables.placing import ToPlace, candidates, place
from tests.conftest import ROOT

LUTETIUM = {"system": "http://snomed.info/sct", "code": "447553000", "text": "Lu-177"}
KIDNEY = {"text": "Kidney", "code": "64033007"}


@pytest.fixture(scope="module")
def codes() -> Codes:
    return load_codes(ROOT / "mappings" / "codes")[0]


def given(key: str, start: str = "2026-03-03T09:30:00+01:00", activity: int = 7400, **more: Any) -> Administration:
    fields = {"started_at": start, "activity": {"value": activity, "unit": "MBq"}, "radionuclide": LUTETIUM, **more}
    return Administration(
        key=key, aliases=(key,), fields=fields, study_uids=(), series_uids=(), mapping="x", issues=(), event_uids=("2.25.1",)
    )


def part(
    number: int = 1,
    *,
    hint: JsonObject | None = None,
    results: tuple[JsonObject, ...] = (
        {"kind": "organ-absorbed-dose", "region": KIDNEY, "value": {"value": Decimal(4), "unit": "Gy"}},
    ),
    at: str = "2026-03-10",
    adapter: str = "one",
    **more: Any,
) -> ToPlace:
    told = {
        "started_at": "2026-03-03T09:35:00+01:00",
        "activity": {"value": Decimal(7390), "unit": "MBq"},
        "radionuclide": LUTETIUM,
    }
    fields = SharedFields(
        key=str(number),
        mapping="table",
        mapping_version="v",
        patient={},
        study={},
        series={},
        device={},
        document={"uid": f"2.25.{number}", "created_at": at, "template": adapter},
        results=tuple({**result, "administration": told if hint is None else hint} for result in results),
    )
    return ToPlace(id=number, fields=fields, **more)


def reason(codes: Codes, item: ToPlace, *administrations: Administration) -> str | None:
    return place([item], administrations, {}, codes).outcomes[item.id][1]


@pytest.mark.parametrize(
    ("hint", "fits"),
    [
        ({"started_at": "2026-03-03T10:00:00+01:00", "activity": {"value": 7400, "unit": "MBq"}, "radionuclide": LUTETIUM}, True),
        (
            {"started_at": "2026-03-03T10:00:01+01:00", "activity": {"value": 7400, "unit": "MBq"}, "radionuclide": LUTETIUM},
            False,
        ),
        ({"started_at": "2026-03-03T09:30:00+01:00", "activity": {"value": 8140, "unit": "MBq"}, "radionuclide": LUTETIUM}, True),
        (
            {"started_at": "2026-03-03T09:30:00+01:00", "activity": {"value": 8141, "unit": "MBq"}, "radionuclide": LUTETIUM},
            False,
        ),
        (
            {
                "started_at": "2026-03-03T09:30:00+01:00",
                "activity": {"value": Decimal("7.4"), "unit": "GBq"},
                "radionuclide": LUTETIUM,
            },
            True,
        ),
        ({"started_at": "2026-03-03", "activity": {"value": 7400, "unit": "MBq"}, "radionuclide": LUTETIUM}, False),
        ({"started_at": "2026-03-03T09:30:00+01:00", "activity": {"value": 7400, "unit": "MBq"}}, False),
        ({"started_at": "2026-03-03T09:30:00+01:00", "radionuclide": LUTETIUM}, False),
        ({"event_uid": "2.25.1"}, True),
        ({"event_uid": "2.25.2", "started_at": "2026-03-03T09:30:00+01:00"}, False),
        ({}, False),
    ],
)
def test_a_part_fits_by_the_tolerances_of_the_design(hint: JsonObject, fits: bool, codes: Codes) -> None:
    (candidate,) = candidates(part(hint=hint).fields, [given("a")], codes)
    assert candidate.fits is fits


def test_one_that_fits_is_taken_several_wait_none_waits(codes: Codes) -> None:
    placed = place([part()], [given("a"), given("b", "2026-05-03T09:30:00+01:00")], {}, codes)
    assert placed.outcomes == {1: ("a", None)}
    assert placed.records[0].results[0]["administration"]["id"] == "a"
    assert reason(codes, part(), given("a"), given("b", activity=7300)) == "2 administrations of the patient fit: choose one."
    assert "choose one" in str(reason(codes, part(), given("a", activity=3700)))
    assert reason(codes, part()) == "The patient has no administration yet."


def test_what_a_person_chose_holds_also_under_its_new_id(codes: Codes) -> None:
    far = given("new", "2026-01-01T09:30:00+01:00")
    assert place([part(administration_id="old")], [far], {"old": "new"}, codes).outcomes == {1: ("new", None)}
    assert "choose again" in str(reason(codes, part(administration_id="gone"), far))


def test_a_fact_that_needs_no_administration_does_not_wait(codes: Codes) -> None:
    free = part(hint={}, results=({"kind": "measurement", "text": "seen"},))
    assert place([free], [], {}, codes).outcomes == {1: (None, None)}


def facts(codes: Codes, *parts: ToPlace) -> list[tuple[str, str]]:
    """Kind and document of all that is left, in every order of the parts."""
    found = {
        tuple(
            sorted(
                (str(result["kind"]), str(record.document["uid"]))
                for record in place(order, [given("a")], {}, codes).records
                for result in record.results
            )
        )
        for order in itertools.permutations(parts)
    }
    (only,) = found
    return list(only)


DOSE = {"kind": "organ-absorbed-dose", "region": KIDNEY, "value": {"value": Decimal(4), "unit": "Gy"}}
BED = {"kind": "bed", "region": KIDNEY, "value": {"value": Decimal(5), "unit": "Gy{BED}"}}
RATE = {"kind": "dose-rate", "value": {"value": Decimal(18), "unit": "uSv/h"}, "at": "2026-03-04"}


def test_what_only_the_corrected_table_states_is_gone(codes: Codes) -> None:
    old, new = part(1, results=(DOSE, BED), at="2026-03-10"), part(2, results=(DOSE,), at="2026-03-11")
    assert facts(codes, old, new) == [("organ-absorbed-dose", "2.25.1"), ("organ-absorbed-dose", "2.25.2")]


def test_tables_of_two_layouts_complete_each_other(codes: Codes) -> None:
    one, two = part(1, results=(BED,), at="2026-03-10"), part(2, results=(DOSE,), at="2026-03-11", adapter="two")
    assert facts(codes, one, two) == [("bed", "2.25.1"), ("organ-absorbed-dose", "2.25.2")]


def test_other_regions_intents_and_software_are_not_corrected(codes: Codes) -> None:
    for other in (
        {"region": {"text": "Liver"}},
        {"intent": "predicted"},
        {"software": {"name": "B"}},
        {"laterality": {"text": "Left"}},
    ):
        one, two = part(1, results=({**BED, **other},)), part(2, results=(DOSE,), at="2026-03-11")
        assert ("bed", "2.25.1") in facts(codes, one, two)


def test_what_is_measured_again_stays(codes: Codes) -> None:
    one, two = part(1, results=(RATE,)), part(2, results=({**RATE, "at": "2026-03-05"},), at="2026-03-11")
    assert facts(codes, one, two) == [("dose-rate", "2.25.1"), ("dose-rate", "2.25.2")]


def test_tables_of_one_moment_correct_nothing_of_each_other(codes: Codes) -> None:
    assert facts(codes, part(1, results=(BED,)), part(2, results=(DOSE,))) == [
        ("bed", "2.25.1"),
        ("organ-absorbed-dose", "2.25.2"),
    ]


def test_a_table_with_its_own_administration_keeps_it_unless_a_person_chose(codes: Codes) -> None:
    own = part(1)
    fields = dataclasses.replace(own.fields, administrations=(dict(given("x").fields),))
    kept = place([dataclasses.replace(own, fields=fields)], [], {}, codes)
    assert kept.outcomes == {1: (None, None)}
    assert kept.records[0].results[0]["of_administration"] == 0
    chosen = place([dataclasses.replace(own, fields=fields, administration_id="a")], [given("a")], {}, codes)
    assert chosen.records[0].administrations == ()
    assert chosen.records[0].results[0]["administration"]["id"] == "a"
