"""Weight and height from headers and reports: one fact for each visit, the report counts first, a difference is told."""

from __future__ import annotations

import dataclasses
import itertools
from decimal import Decimal

import pytest

from gateway.model import DoseResult, JsonObject, SharedFields
from tests.unit.test_gather_results import Ledger, report, with_facts
from tests.unit.test_reconcile import header, injection

WEIGHT = {"system": "http://loinc.org", "code": "29463-7", "text": "Body weight"}


def weight(kilograms: str, at: str | None = None) -> JsonObject:
    told = {"kind": "patient-characteristic", "code": WEIGHT, "value": {"value": Decimal(kilograms), "unit": "kg"}, "at": at}
    return {name: value for name, value in told.items() if value is not None}


def image(study: str, kilograms: str, at: str, *, tracers: int = 1) -> SharedFields:
    given = [injection("7386.4", f"09:3{number}", event=f"2.25.{7 + number}") for number in range(tracers)]
    return with_facts(header(study, *given), {}, weight(kilograms, at))


def weights(*records: SharedFields) -> tuple[DoseResult, ...]:
    return tuple(one for one in Ledger().seal(list(records)).results if one.kind == "patient-characteristic")


def test_a_report_and_a_header_of_one_visit_tell_one_weight_in_any_order() -> None:
    told = [report("2.25.31", weight("75")), image("1.9", "75", "2026-03-02T08:00:00+01:00")]
    (alone,) = weights(*told)
    assert (alone.fields["value"]["value"], alone.issues, alone.document) == (Decimal(75), (), "2.25.31")
    for order in itertools.permutations(told):
        ledger = Ledger()
        ledger.seal([order[0]])
        (kept,) = ledger.seal(list(order)).results
        assert kept.document == "2.25.31"
        assert not ledger.replaced_results


def test_where_they_differ_the_report_is_published_and_somebody_is_told() -> None:
    (one,) = weights(report("2.25.31", weight("75")), image("1.9", "80", "2026-03-02T08:00:00+01:00"))
    assert one.fields["value"]["value"] == Decimal(75)
    assert [issue.reason for issue in one.issues] == [
        "An image header gives another value, which counts less and is not published."
    ]


@pytest.mark.parametrize("measured_at", [None, "2026-03-02T07:45:00+01:00"])
def test_a_study_days_later_has_a_weight_of_its_own(measured_at: str | None) -> None:
    told = report("2.25.31", weight("75", measured_at)), image("1.9", "75", "2026-03-02T08:00:00+01:00")
    found = weights(*told, image("1.10", "73", "2026-03-05T08:00:00+01:00"))
    assert sorted((str(one.fields["value"]["value"]), one.study_uids) for one in found) == [("73", ("1.10",)), ("75", ("1.9",))]
    assert not [issue for one in found for issue in one.issues]


def test_all_series_of_a_study_tell_one_weight_also_with_two_tracers() -> None:
    at = "2026-03-02T08:00:00+01:00"
    (one,) = weights(image("1.9", "75", at, tracers=2), image("1.9", "75.0", at, tracers=2))
    assert (one.administration, one.issues) == (None, ())
    apart = weights(image("1.9", "75", at, tracers=2), image("1.9", "80", at, tracers=2))
    assert len(apart) == 2
    assert all("different values" in issue.reason for one in apart for issue in one.issues)


@pytest.mark.parametrize("tracers", [0, 1, 2])
def test_the_ct_of_the_visit_repeats_the_weight_and_alone_it_tells_it(tracers: int) -> None:
    at = "2026-03-02T08:00:00+01:00"
    pet, ct = image("1.9", "75", at, tracers=tracers), image("1.9", "75", at, tracers=0)
    ct = dataclasses.replace(ct, key="ct", series={**ct.series, "uid": "1.9.9", "modality": "CT"}, mapping="ct_image")
    for records in itertools.permutations([pet, ct]):
        (one,) = weights(*records)
        assert (one.fields["value"]["value"], bool(one.administration)) == (Decimal(75), tracers == 1)
    (alone,) = weights(ct)
    assert alone.administration is None


@pytest.mark.parametrize("tracers", [1, 2])
def test_a_weight_has_one_id_whatever_came_before_its_administration(tracers: int) -> None:
    at = "2026-03-02T08:00:00+01:00"
    pet, ct = image("1.9", "75", at, tracers=tracers), image("1.9", "75", at, tracers=0)
    ct = dataclasses.replace(ct, key="ct", series={**ct.series, "uid": "1.9.9", "modality": "CT"}, mapping="ct_image")
    ids = set()
    for arrivals in ([[pet, ct]], [[ct], [ct, pet]], [[pet], [pet, ct]]):
        ledger = Ledger()
        for known in arrivals:
            results = ledger.seal(known).results
        ids |= {one.key for one in results if one.kind == "patient-characteristic"}
    assert len(ids) == 1
