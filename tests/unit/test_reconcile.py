"""Image headers and dose reports of one injection become one fact, whatever the order; anything uncertain stays apart and is told."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.gather.dossier import gather_dossier
from gateway.model import Dossier, JsonObject, SharedFields

NUCLIDES = {"Lu-177": ("447553000", "574300.8"), "F-18": ("77004003", "6586.2"), "O-15": ("129504001", "122.24")}


def header(study: str, *injections: JsonObject, modality: str = "NM") -> SharedFields:
    content: JsonObject = {
        "patient": {"id": "P1"},
        "study": {"uid": study, "started": "2026-03-02T13:00:00+01:00"},
        "series": {"uid": f"{study}.1", "modality": modality},
    }
    key = hashlib.sha256(json.dumps([content, injections], default=str).encode()).hexdigest()
    return SharedFields(
        key=key,
        mapping="dose_report" if modality == "SR" else "nm_image",
        mapping_version="v1",
        device={},
        administrations=injections,
        sources={"administration.activity": "sr 113507 DCM" if modality == "SR" else "RadionuclideTotalDose"},
        **content,
    )


def report(study: str, *injections: JsonObject) -> SharedFields:
    return header(study, *injections, modality="SR")


def injection(
    mbq: str | None = "7400", at: str | None = "09:30", *, nuclide: str = "Lu-177", event: str | None = None, **more: Any
) -> JsonObject:
    code, half_life = NUCLIDES[nuclide]
    fields: JsonObject = {
        "radionuclide": {"system": "http://snomed.info/sct", "code": code, "text": nuclide},
        "half_life": {"value": Decimal(half_life), "unit": "s"},
        "activity": {"value": Decimal(mbq), "unit": "MBq"} if mbq else None,
        "started_at": f"2026-03-02T{at}:00+01:00" if at else None,
        "event_uid": event,
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None}


def dossier(*records: SharedFields, known: dict[str, str] | None = None, replaced: dict[str, str] | None = None) -> Dossier:
    return gather_dossier("sys|P1", records, known=known or {}, replaced=replaced, mint=lambda name: f"id of {name}")


#: A therapy cycle: four scanners' headers repeat one injection, the dose report says it a little differently.
CYCLE = [
    *(header(f"1.{n}", injection("7400", "09:36")) for n in range(4)),
    report("1.9", injection("7386.4", "09:30", event="2.25.7", stopped_at="2026-03-02T10:00:00+01:00")),
]


def test_a_therapy_cycle_is_one_administration_in_every_order_of_arrival() -> None:
    expected = dossier(*CYCLE)
    (fact,) = expected.administrations
    assert fact.fields["activity"] == {"value": Decimal("7386.4"), "unit": "MBq"}
    assert fact.fields["started_at"] == "2026-03-02T09:30:00+01:00"
    assert fact.study_uids == ("1.0", "1.1", "1.2", "1.3", "1.9")
    assert (fact.mapping, fact.event_uids, fact.reconciled) == ("dose_report", ("2.25.7",), True)
    assert fact.sources["activity"] == "dose_report: sr 113507 DCM"
    assert "6 min later, with 0.2 % more activity" in fact.issues[0].reason
    for order in itertools.permutations(CYCLE):
        assert dossier(*order) == expected


def test_published_after_each_arrival_a_cycle_ends_as_one_active_administration() -> None:
    for order in itertools.permutations(CYCLE):
        known: dict[str, str] = {}
        replaced: dict[str, str] = {}
        ever: set[str] = set()
        for count in range(1, len(order) + 1):
            now = dossier(*order[:count], known=known, replaced=replaced)
            known, replaced = {**known, **now.minted}, now.replaced
            ever |= {fact.key for fact in now.administrations}
        assert len(now.administrations) == 1
        assert ever - {now.administrations[0].key} == set(now.replaced)
        again = dossier(*CYCLE, known=known, replaced=replaced)
        assert (again.administrations, again.replaced, again.minted) == (now.administrations, now.replaced, {})


@pytest.mark.parametrize(
    ("told", "one"),
    [
        (injection("7400", "10:00"), True),
        (injection("7400", "10:01"), False),
        (injection("8140", "09:30"), True),
        (injection("8141", "09:30"), False),
        (injection("7400", "09:30", nuclide="F-18"), False),
        (injection("7400", None), False),
        (injection(None, "09:30"), False),
    ],
)
def test_tolerances_are_thirty_minutes_and_ten_percent_of_the_same_nuclide(told: JsonObject, one: bool) -> None:
    assert len(dossier(header("1.1", told), report("1.2", injection("7400", "09:30", event="2.25.1"))).administrations) == 2 - one


def test_half_a_half_life_is_the_limit_of_short_lived_nuclides_and_very_short_ones_need_an_event_uid() -> None:
    carbon = {"value": Decimal(1223), "unit": "s"}
    near, far = injection("400", "09:40", half_life=carbon), injection("400", "09:41", half_life=carbon)
    given_at = injection("400", "09:30", event="2.25.1", half_life=carbon)
    assert len(dossier(header("1.1", near), report("1.2", given_at)).administrations) == 1
    assert len(dossier(header("1.1", far), report("1.2", given_at)).administrations) == 2
    water, told = injection("800", "09:30", nuclide="O-15"), injection("800", "09:30", nuclide="O-15", event="2.25.1")
    assert len(dossier(header("1.1", water), report("1.2", told)).administrations) == 2
    assert len(dossier(header("1.1", told), report("1.2", told)).administrations) == 1


def test_one_event_uid_joins_across_sources_and_tells_what_differs() -> None:
    image, told = injection("7000", "11:30", event="2.25.1"), injection("7400", "09:30", event="2.25.1")
    (fact,) = dossier(header("1.1", image), report("1.2", told)).administrations
    assert not fact.reconciled
    assert fact.fields["activity"]["value"] == 7400
    assert "120 min later, with 5.4 % less activity" in fact.issues[0].reason


def test_two_reports_or_two_headers_with_different_events_never_merge() -> None:
    first, second = injection(event="2.25.1"), injection(event="2.25.2")
    assert len(dossier(report("1.1", first), report("1.2", second)).administrations) == 2
    assert len(dossier(header("1.1", first), header("1.2", second)).administrations) == 2


def test_a_split_dose_that_fits_two_ways_stays_apart_and_is_told() -> None:
    found = dossier(
        header("1.1", injection("3700", "09:40")),
        report("1.8", injection("3700", "09:30", event="2.25.1")),
        report("1.9", injection("3650", "09:50", event="2.25.2")),
    )
    assert len(found.administrations) == 3
    assert all("kept apart" in fact.issues[0].reason for fact in found.administrations)


def test_tolerance_is_not_transitive() -> None:
    """A header near a report that another header fits as well: nobody can say which, so no chain of three is made."""
    chain = [
        header("1.1", injection("3700", "09:10")),
        report("1.8", injection("3700", "09:30", event="2.25.1")),
        header("1.2", injection("3700", "09:50")),
    ]
    assert len(dossier(*chain).administrations) == 3


def test_a_pair_that_is_certain_by_its_event_leaves_the_other_pair_unambiguous() -> None:
    found = dossier(
        header("1.1", injection("3700", "09:30", event="2.25.1"), injection("3700", "09:40", event="2.25.4")),
        report("1.8", injection("3700", "09:31", event="2.25.1")),
        report("1.9", injection("3700", "09:41", event="2.25.3")),
    )
    assert sorted(fact.event_uids for fact in found.administrations) == [("2.25.1",), ("2.25.3", "2.25.4")]


def test_agents_with_different_codes_are_never_one() -> None:
    dotatate, psma = ({"system": "s", "code": code, "text": code} for code in ("781259000", "1"))
    image = header("1.1", injection(agent=dotatate))
    assert len(dossier(image, report("1.2", injection(event="2.25.1", agent=psma))).administrations) == 2
    assert len(dossier(image, report("1.2", injection(event="2.25.1", agent={"text": "Lutathera 7.4 GBq"}))).administrations) == 1


def test_facts_of_the_same_day_that_are_too_far_apart_are_told_of_each_other() -> None:
    found = dossier(header("1.1", injection("7400", "10:15")), report("1.2", injection("7400", "09:30", event="2.25.1")))
    by_mapping = {fact.mapping: fact.issues[0].reason for fact in found.administrations}
    assert "45 min later" in by_mapping["dose_report"]
    assert "45 min earlier" in by_mapping["nm_image"]


def test_gaps_of_the_report_are_filled_from_headers_but_what_belongs_together_is_not_mixed() -> None:
    image = injection(
        "7400", "09:36", stopped_at="2026-03-02T10:10:00+01:00", activity_repaired=True, route={"text": "iv"}, event="2.25.1"
    )
    (fact,) = dossier(header("1.1", image), report("1.2", injection("7380", "09:30", event="2.25.1"))).administrations
    assert fact.fields["route"] == {"text": "iv"}
    assert not {"stopped_at", "activity_repaired"} & set(fact.fields)


def test_two_published_facts_that_prove_to_be_one_leave_a_survivor_and_a_loser() -> None:
    """Two headers were published apart; a third carries the event of one and the words of the other."""
    by_words, by_event = header("1.1", injection("7400", "09:30")), header("1.2", injection("7300", "09:31", event="2.25.1"))
    link = header("1.3", injection("7400", "09:30", event="2.25.1"))
    survivors = set()
    for first, second in ((by_words, by_event), (by_event, by_words)):
        one = dossier(first)
        both = dossier(first, second, known=one.minted)
        known = {**one.minted, **both.minted}
        (words,) = [fact.key for fact in both.administrations if not fact.event_uids]
        joined = dossier(first, second, link, known=known)
        (fact,) = joined.administrations
        survivors.add(fact.key)
        assert joined.replaced == {words: fact.key}
        known.update(joined.minted)
        assert set(known.values()) == {fact.key}
        again = dossier(first, second, link, known=known, replaced=joined.replaced)
        assert (again.replaced, again.minted) == (joined.replaced, {})
    assert survivors == {"id of sys|P1|event|2.25.1"}


def test_of_two_facts_without_event_uid_the_earlier_start_survives_whatever_its_zone() -> None:
    early = injection("7400", None, started_at="2026-03-02T09:35:00+02:00")
    late = injection("7400", None, started_at="2026-03-02T09:30:00+01:00")
    known = dossier(header("1.1", early), header("1.2", late)).minted
    events = [{**early, "event_uid": "2.25.1"}, {**late, "event_uid": "2.25.1"}]
    records = [header("1.1", early), header("1.2", late), *(header(f"2.{n}", told) for n, told in enumerate(events))]
    (fact,) = dossier(*records, known=known).administrations
    assert "09:35:00+02:00" in fact.key


def test_a_fact_that_proves_to_be_two_after_all_revives_nobody_elses_id() -> None:
    image, first = header("1.1", injection("3700", "09:40")), report("1.8", injection("3700", "09:30", event="2.25.1"))
    one = dossier(image, first)
    (merged,) = one.administrations
    apart = dossier(image, first, report("1.9", injection("3700", "09:50", event="2.25.2")), known=one.minted)
    keys = [fact.key for fact in apart.administrations]
    assert len(set(keys)) == 3
    assert next(fact.key for fact in apart.administrations if fact.event_uids == ("2.25.1",)) == merged.key
    assert apart.replaced == {}


def test_a_fact_whose_every_id_went_to_others_still_gets_one() -> None:
    told = [header("1.1", injection(event="2.25.1")), *(header(f"2.{n}", injection(event=f"2.25.{n}")) for n in (2, 3))]
    mine = "id of sys|P1|event|2.25.1"
    found = dossier(*told, known={"event|2.25.2": mine, "event|2.25.3": f"{mine}|apart"})
    assert {fact.key for fact in found.administrations} == {mine, f"{mine}|apart", f"{mine}|apart|apart"}


def test_a_lost_id_that_is_lost_again_leads_to_the_last_survivor() -> None:
    found = dossier(header("1.1", injection(event="2.25.1")), known={"event|2.25.1": "c"}, replaced={"a": "b", "b": "c"})
    assert found.replaced == {"a": "c", "b": "c"}


_INJECTIONS = st.builds(
    injection,
    mbq=st.sampled_from(["3700", "3900", "7400", None]),
    at=st.sampled_from(["09:00", "09:20", "09:40", None]),
    nuclide=st.sampled_from(["Lu-177", "F-18"]),
    event=st.sampled_from([None, "2.25.1", "2.25.2", "2.25.3"]),
    start_clock=st.sampled_from([None, "09:05:00", "09:40:00"]),
)


@given(st.lists(st.tuples(st.booleans(), st.lists(_INJECTIONS, min_size=1, max_size=2)), max_size=6), st.randoms())
def test_whatever_is_told_the_order_changes_nothing_and_one_source_never_merges_two_events(
    told: list[tuple[bool, list[JsonObject]]], order: random.Random
) -> None:
    records = [(report if is_report else header)(f"1.{n}", *items) for n, (is_report, items) in enumerate(told)]
    shuffled = records[:]
    order.shuffle(shuffled)
    found = dossier(*records)
    assert dossier(*shuffled) == found
    assert len({fact.key for fact in found.administrations}) == len(found.administrations)
    for fact in found.administrations:
        for modality in ("NM", "SR"):
            events = {
                item["event_uid"]
                for record in records
                if record.series["modality"] == modality
                for item in record.administrations
                if item.get("event_uid") in fact.event_uids
            }
            assert len(events) <= 1


@given(st.lists(st.tuples(st.booleans(), _INJECTIONS), min_size=1, max_size=5), st.randoms())
def test_published_step_by_step_no_id_ever_serves_two_facts_and_a_re_send_changes_nothing(
    told: list[tuple[bool, JsonObject]], order: random.Random
) -> None:
    records = [(report if is_report else header)(f"1.{n}", item) for n, (is_report, item) in enumerate(told)]
    order.shuffle(records)
    known: dict[str, str] = {}
    replaced: dict[str, str] = {}
    for count in range(1, len(records) + 1):
        now = dossier(*records[:count], known=known, replaced=replaced)
        keys = [fact.key for fact in now.administrations]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & set(now.replaced)
        known, replaced = {**known, **now.minted}, now.replaced
    again = dossier(*records, known=known, replaced=replaced)
    assert (again.administrations, again.replaced, again.minted) == (now.administrations, now.replaced, {})


def undated(study: str, day: str, clock: str | None = "09:36:00", mbq: str = "7400", **more: Any) -> SharedFields:
    """A scan of an older camera: its header knows when by the clock, not on which day."""
    told = header(study, injection(mbq, None, start_clock=clock, **more))
    study_fields = {**told.study, "started": f"2026-{day}T11:00:00+01:00"}
    return dataclasses.replace(told, key=f"{told.key}{day}", study=study_fields)


DAYS = ("03-02", "03-03", "03-05", "03-09")
OLD_CYCLE = [*(undated(f"1.{n}", day) for n, day in enumerate(DAYS)), report("1.9", injection("7386.4", "09:30", event="2.25.7"))]


def test_headers_that_know_the_clock_but_no_day_join_the_report_that_gives_it_in_every_order() -> None:
    expected = dossier(*OLD_CYCLE)
    (fact,) = expected.administrations
    assert fact.fields["started_at"] == "2026-03-02T09:30:00+01:00"
    assert len(fact.study_uids) == 5
    assert "that know no day" in fact.issues[0].reason
    assert "6 min later, with 0.2 % more activity" in fact.issues[0].reason
    assert all(dossier(*order) == expected for order in itertools.permutations(OLD_CYCLE))


def test_published_one_by_one_the_undated_facts_are_replaced_by_one_survivor() -> None:
    for order in itertools.permutations(OLD_CYCLE):
        known: dict[str, str] = {}
        replaced: dict[str, str] = {}
        ever: set[str] = set()
        for count in range(1, len(order) + 1):
            now = dossier(*order[:count], known=known, replaced=replaced)
            known, replaced = {**known, **now.minted}, now.replaced
            ever |= {fact.key for fact in now.administrations}
        (fact,) = now.administrations
        assert now.replaced == dict.fromkeys(ever - {fact.key}, fact.key)
        assert set(known.values()) == {fact.key}


@pytest.mark.parametrize(
    "stranger",
    [
        undated("2.1", "03-03", clock="10:10:00"),  # another time
        undated("2.1", "03-03", mbq="3700"),  # another activity
        undated("2.1", "05-04"),  # the next cycle: too long after this report
        undated("2.1", "02-27"),  # before it
        undated("2.1", "03-03", clock=None),  # no time at all
        undated("2.1", "03-03", nuclide="F-18"),
    ],
)
def test_an_undated_header_joins_only_what_fits(stranger: SharedFields) -> None:
    assert len(dossier(*OLD_CYCLE, stranger).administrations) == 2


def test_an_undated_header_that_fits_two_reports_or_tells_another_story_stays_apart() -> None:
    second = report("1.8", injection("7400", "09:40", event="2.25.8"))
    assert len(dossier(*OLD_CYCLE, second).administrations) == 6
    other_words = undated("2.1", "03-03", mbq="7300")
    found = dossier(*OLD_CYCLE, other_words)
    assert len(found.administrations) == 6
    assert all("not only one way" in fact.issues[-1].reason for fact in found.administrations)


def test_undated_headers_with_event_uids_of_their_own_are_never_made_one() -> None:
    events = [undated(f"1.{n}", day, event=f"2.25.{n}") for n, day in enumerate(DAYS[:2])]
    assert len(dossier(*events, OLD_CYCLE[-1]).administrations) == 3
    assert len(dossier(events[0], OLD_CYCLE[-1]).administrations) == 1
    dated = header("1.7", injection("7400", "09:31", event="2.25.99"))
    assert len(dossier(events[0], dated, OLD_CYCLE[-1]).administrations) == 2


def test_an_injection_before_midnight_and_a_report_after_it_are_close() -> None:
    late = undated("1.1", "03-04", clock="23:58:00")
    told = report("1.2", injection("7400", None, started_at="2026-03-04T00:05:00+01:00", event="2.25.1"))
    (fact,) = dossier(late, told).administrations
    assert "7 min earlier" in fact.issues[0].reason


def test_a_header_that_states_its_day_is_not_placed_on_another() -> None:
    told = undated("1.1", "03-05", started_at="2026-03-04")
    assert len(dossier(told, OLD_CYCLE[-1]).administrations) == 2


def test_two_injections_of_one_day_by_different_clocks_are_two() -> None:
    assert len(dossier(undated("1.1", "03-03"), undated("1.1", "03-03", clock="14:00:00")).administrations) == 2


def candidates(*mbq: str) -> list[JsonObject]:
    return [{"value": Decimal(one), "unit": "MBq"} for one in mbq]


@pytest.mark.parametrize("event", ["2.25.7", None])
@pytest.mark.parametrize(
    ("header_says", "report_says", "published", "repaired"),
    [
        (candidates("10", "370"), "372", "372", None),
        ("365", candidates("10", "370"), "370", True),
    ],
)
def test_an_independent_source_settles_an_ambiguous_activity(
    event: str | None, header_says: Any, report_says: Any, published: str, repaired: bool | None
) -> None:
    def told(says: Any, uid: str | None) -> JsonObject:
        more = {} if isinstance(says, str) else {"activity_candidates": says}
        return injection(says if isinstance(says, str) else None, nuclide="F-18", event=uid, **more)

    (fact,) = dossier(
        header("1", told(header_says, event), modality="PT"), report("2", told(report_says, "2.25.7"))
    ).administrations
    assert fact.fields["activity"] == {"value": Decimal(published), "unit": "MBq"}
    assert fact.fields.get("activity_repaired") is repaired
    assert "activity_candidates" not in fact.fields
    assert any("only one agrees" in issue.reason for issue in fact.issues)


@pytest.mark.parametrize("report_mbq", ["150", "3700", "0"])
def test_an_ambiguous_activity_that_no_source_settles_stays_withheld(report_mbq: str) -> None:
    more: dict[str, Any] = {"activity_candidates": candidates("10", "370")}
    facts = dossier(
        header("1", injection(None, nuclide="F-18", **more), modality="PT"), report("2", injection(report_mbq, nuclide="F-18"))
    ).administrations
    assert [fact.fields.get("activity", {}).get("value") for fact in facts if "activity_candidates" in fact.fields] == [None]
    assert len(facts) == 2


def with_document(shared: SharedFields, uid: str, **document: Any) -> SharedFields:
    return dataclasses.replace(shared, key=uid, document={"uid": uid, "class_uid": "c", **document})


def told_twice(*, other: JsonObject, verified: int | None = None, copies: int = 1) -> list[SharedFields]:
    """Reports of one event: the first as often as ``copies``, then one that says otherwise; ``verified`` is the place of one."""
    said = [*[injection("394", "08:00", event="2.25.1", agent={"text": "FDG"})] * copies, other]
    flags = [{"verification": "VERIFIED"} if place == verified else {} for place in range(len(said))]
    return [with_document(report("1.1", one), f"2.25.90{place}", **flags[place]) for place, one in enumerate(said)]


CONTRADICTIONS = [
    ("activity", injection("200", "08:00", event="2.25.1", agent={"text": "FDG"})),
    ("started_at", injection("394", "07:00", event="2.25.1", agent={"text": "FDG"})),
    ("radionuclide", injection("394", "08:00", nuclide="F-18", event="2.25.1", agent={"text": "FDG"})),
    ("agent", injection("394", "08:00", event="2.25.1", agent={"text": "DOTATATE"})),
]


@pytest.mark.parametrize(("name", "other"), CONTRADICTIONS)
def test_of_reports_of_equal_rank_that_contradict_each_other_neither_is_published(name: str, other: JsonObject) -> None:
    image = header("1.1", injection("394", "08:00", event="2.25.1", agent={"text": "FDG"}))
    for records in itertools.permutations([*told_twice(other=other), image]):
        (fact,) = dossier(*records).administrations
        assert name not in fact.fields
        reasons = [issue.reason for issue in fact.issues if issue.field == f"administration.{name}"]
        assert reasons == ["Two reports of equal rank give different values; none is published."]


@pytest.mark.parametrize("verified", [0, 1])
@pytest.mark.parametrize(("name", "other"), CONTRADICTIONS)
def test_a_verified_report_of_an_administration_counts_before_one_that_is_not(
    name: str, other: JsonObject, verified: int
) -> None:
    records = told_twice(other=other, verified=verified)
    for order in itertools.permutations(records):
        (fact,) = dossier(*order).administrations
        assert fact.fields[name] == records[verified].administrations[0][name]
        reasons = [issue.reason for issue in fact.issues if issue.field == f"administration.{name}"]
        assert reasons == [
            "A report that is not verified gives another value; it counts less than the verified one and is not published."
        ]


def test_most_reports_still_outvote_one() -> None:
    (fact,) = dossier(*told_twice(other=CONTRADICTIONS[0][1], copies=2)).administrations
    assert fact.fields["activity"]["value"] == 394
    assert "the most frequent is published" in fact.issues[0].reason


def test_two_items_of_one_event_in_one_report_that_differ_are_withheld() -> None:
    said = [
        injection(mbq, "08:00", event="2.25.1", activity_stated={"value": Decimal(mbq), "unit": "MBq"}) for mbq in ("394", "200")
    ]
    (fact,) = dossier(report("1.1", *said)).administrations
    assert not fact.fields.keys() & {"activity", "activity_stated"}
    assert [issue.reason for issue in fact.issues] == ["Two entries of one report give different values; none is published."]


def test_a_tie_of_headers_is_called_a_tie() -> None:
    (fact,) = dossier(
        *(header(f"1.{n}", injection(mbq, "08:00", event="2.25.1")) for n, mbq in enumerate(("394", "200")))
    ).administrations
    assert fact.fields["activity"]["value"] == 200
    (issue,) = fact.issues
    assert "most frequent" not in issue.reason
    assert "of a tie the first in the order of their text is published" in issue.reason
