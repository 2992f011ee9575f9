"""Gathering is a function of the set of records: any order, any repetition, the same study and the same facts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.gather.dossier import gather_dossier
from gateway.gather.patient import PatientKeys, demographics, identifier_of
from gateway.gather.study import Member, gather_study
from gateway.model import Dossier, Issue, JsonObject, SharedFields

KEYS = PatientKeys(system="urn:site:pid")


def shared(
    *,
    patient: str = "P1",
    study: str = "1.1",
    series: str = "1.1.1",
    administrations: tuple[JsonObject, ...] = (),
    **changes: JsonObject,
) -> SharedFields:
    fields: JsonObject = {
        "patient": {"id": patient, **changes.get("patient_fields", {})},
        "study": {"uid": study, "started": "2026-03-02T09:00:00+01:00", **changes.get("study_fields", {})},
        "series": {"uid": series, "modality": "PT", **changes.get("series_fields", {})},
    }
    key = hashlib.sha256(json.dumps([fields, administrations], default=str, sort_keys=True).encode()).hexdigest()
    return SharedFields(
        key=key,
        mapping="pet_image",
        mapping_version="v1",
        device={"manufacturer": "ACME"},
        administrations=administrations,
        **fields,
    )


def member(number: int, fields: SharedFields, *, held: bool = False) -> Member:
    return Member(
        member_id=number,
        patient_key=KEYS.of(fields),
        shared=fields,
        instance={"uid": f"1.9.{number}", "number": number},
        held=held,
    )


def injection(**changes: object) -> JsonObject:
    fields: JsonObject = {
        "agent": {"system": "http://snomed.info/sct", "code": "35321007", "text": "FDG"},
        "radionuclide": {"system": "http://snomed.info/sct", "code": "77004003", "text": "F-18"},
        "activity": {"value": Decimal("394"), "unit": "MBq"},
        "started_at": "2026-03-02T08:00:00+01:00",
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def dossier(*records: SharedFields, known: dict[str, str] | None = None) -> Dossier:
    return gather_dossier("urn:site:pid|P1", records, known=known or {}, mint=lambda alias: f"id of {alias}")


def test_a_study_counts_its_series_and_instances_and_lists_its_modalities() -> None:
    ct = shared(series="1.1.2", series_fields={"modality": "CT"})
    study = gather_study("1.1", [member(1, shared()), member(2, shared()), member(3, ct)])
    assert study.fields["modalities"] == ["CT", "PT"]
    assert (study.fields["number_of_series"], study.fields["number_of_instances"]) == (2, 3)
    assert [len(series.instances) for series in study.series] == [2, 1]


@given(st.randoms())
def test_the_order_of_arrival_changes_nothing(order: random.Random) -> None:
    variants = [shared(study_fields={"description": text}) for text in ("PET", "PET", "pet/ct")]
    members = [member(number, variants[number % 3]) for number in range(9)]
    shuffled = members[:]
    order.shuffle(shuffled)
    assert gather_study("1.1", shuffled) == gather_study("1.1", members)


def test_where_headers_disagree_the_majority_speaks_and_a_tie_has_one_winner() -> None:
    many, one = shared(study_fields={"description": "b"}), shared(study_fields={"description": "a"})
    assert gather_study("1.1", [member(1, many), member(2, many), member(3, one)]).fields["description"] == "b"
    assert gather_study("1.1", [member(1, many), member(2, one)]).fields["description"] == "a"


def test_two_patients_in_one_study_are_never_merged() -> None:
    ours, other = shared(), shared(patient="P2")
    study = gather_study("1.1", [member(1, ours), member(2, ours), member(3, other)])
    assert study.patient_key == "urn:site:pid|P1"
    assert set(study.hold) == {3}
    assert study.other_patients == {"urn:site:pid|P2"}
    assert study.fields["number_of_instances"] == 2


def test_a_held_group_that_becomes_the_larger_is_released_and_the_other_held() -> None:
    ours, other = shared(), shared(patient="P2")
    members = [member(1, ours), member(2, other, held=True), member(3, other)]
    study = gather_study("1.1", members)
    assert study.patient_key == "urn:site:pid|P2"
    assert study.release == (2,)
    assert set(study.hold) == {1}


def test_all_slices_of_all_series_tell_of_one_injection() -> None:
    records = [shared(series=f"1.1.{number}", administrations=(injection(event_uid="2.25.1"),)) for number in range(5)]
    (fact,) = dossier(*records).administrations
    assert fact.fields["activity"] == {"value": Decimal("394"), "unit": "MBq"}
    assert len(fact.series_uids) == 5
    assert fact.issues == ()


def test_an_injection_told_in_two_studies_is_one_fact() -> None:
    (fact,) = dossier(
        shared(administrations=(injection(),)), shared(study="1.2", series="1.2.1", administrations=(injection(),))
    ).administrations
    assert fact.study_uids == ("1.1", "1.2")


def test_a_header_without_event_uid_joins_the_only_fact_that_says_the_same() -> None:
    records = (shared(administrations=(injection(event_uid="2.25.1"),)), shared(series="1.1.2", administrations=(injection(),)))
    (fact,) = dossier(*records).administrations
    assert len(fact.aliases) == 2


def test_different_event_uids_never_merge_even_when_all_else_is_equal() -> None:
    first, second = injection(event_uid="2.25.1"), injection(event_uid="2.25.2")
    assert len(dossier(shared(administrations=(first, second))).administrations) == 2
    ambiguous = shared(series="1.1.2", administrations=(injection(),))
    assert len(dossier(shared(administrations=(first, second)), ambiguous).administrations) == 3


def test_no_id_ever_serves_two_facts_however_the_knowledge_grew() -> None:
    plain = shared(administrations=(injection(),))
    first = dossier(plain)
    one_event = shared(series="1.1.2", administrations=(injection(event_uid="2.25.1"),))
    second = dossier(plain, one_event, known=dict(first.minted))
    assert len(second.administrations) == 1
    other_event = shared(series="1.1.3", administrations=(injection(event_uid="2.25.2"),))
    third = dossier(plain, one_event, other_event, known={**first.minted, **second.minted})
    assert len({fact.key for fact in third.administrations}) == 3
    assert next(fact.key for fact in third.administrations if "event|2.25.1" in fact.aliases) == first.administrations[0].key


def test_an_event_uid_under_two_patients_is_two_facts() -> None:
    """A study sent again under a corrected id must not take the injection away from anybody."""
    told = (injection(event_uid="2.25.1"),)
    ours = gather_dossier("urn:site:pid|P1", [shared(administrations=told)], known={}, mint=str.upper)
    theirs = gather_dossier("urn:site:pid|P2", [shared(patient="P2", administrations=told)], known={}, mint=str.upper)
    assert ours.administrations[0].key != theirs.administrations[0].key


def test_two_equal_items_in_one_header_stay_two() -> None:
    assert len(dossier(shared(administrations=(injection(), injection()))).administrations) == 2


@pytest.mark.parametrize(
    "change",
    [{"activity": {"value": Decimal("395"), "unit": "MBq"}}, {"started_at": "2026-03-02T08:01:00+01:00"}, {"agent": None}],
)
def test_what_is_not_certainly_the_same_stays_apart(change: JsonObject) -> None:
    records = (shared(administrations=(injection(),)), shared(series="1.1.2", administrations=(injection(**change),)))
    assert len(dossier(*records).administrations) == 2


def test_without_a_start_an_injection_holds_only_for_its_own_day() -> None:
    undated = injection(started_at=None)
    other_day = shared(study="1.2", study_fields={"started": "2026-04-02T09:00:00+01:00"}, administrations=(undated,))
    assert len(dossier(shared(administrations=(undated,)), other_day).administrations) == 2


def test_headers_of_one_event_that_disagree_are_flagged() -> None:
    other = injection(event_uid="2.25.1", activity={"value": Decimal("400"), "unit": "MBq"})
    records = [shared(series=f"1.1.{n}", administrations=(injection(event_uid="2.25.1"),)) for n in range(2)]
    (fact,) = dossier(*records, shared(series="1.1.9", administrations=(other,))).administrations
    assert fact.fields["activity"]["value"] == 394
    assert [issue.field for issue in fact.issues] == ["administration.activity"]


def test_a_minted_id_stays_when_more_is_learnt() -> None:
    first = dossier(shared(administrations=(injection(),)))
    more = shared(series="1.1.2", administrations=(injection(event_uid="2.25.1"),))
    second = dossier(shared(administrations=(injection(),)), more, known=dict(first.minted))
    assert second.administrations[0].key == first.administrations[0].key
    assert set(second.minted) == {"event|2.25.1"}


@given(st.permutations(range(6)))
def test_facts_do_not_depend_on_the_order_of_records(order: list[int]) -> None:
    records = [
        shared(series=f"1.1.{n}", administrations=(injection(event_uid=f"2.25.{n % 2}" if n < 4 else None),)) for n in range(6)
    ]
    assert dossier(*[records[n] for n in order]) == dossier(*records)


def test_a_patient_is_known_by_issuer_and_id() -> None:
    assert KEYS.of(shared()) == "urn:site:pid|P1"
    assert KEYS.of(shared(patient_fields={"id_system": "HOSP B"})) == "urn:site:pid:HOSP%20B|P1"
    assert KEYS.of(shared(patient_fields={"id_system": "2.999.4"})) == "urn:oid:2.999.4|P1"
    assert KEYS.of(shared(patient_fields={"id_system": "https://b.example/id"})) == "https://b.example/id|P1"


def test_patients_without_an_id_never_meet() -> None:
    first, second = KEYS.of(shared(patient="")), KEYS.of(shared(patient="", study="1.2"))
    assert first != second
    assert identifier_of(first) is None


def test_demographics_come_from_the_latest_study_that_gives_them() -> None:
    old = shared(patient_fields={"gender": "female", "birth_date": "1970"})
    new = shared(study="1.2", study_fields={"started": "2026-05-01T09:00:00+02:00"}, patient_fields={"birth_date": "1970-02-03"})
    for records in ([old, new], [new, old]):
        merged = demographics("urn:site:pid|P1", records)
        assert (merged["birth_date"], merged["gender"]) == ("1970-02-03", "female")
        assert (merged["id_system"], merged["id"]) == ("urn:site:pid", "P1")


def refused(name: str, reason: str) -> tuple[Issue, ...]:
    return (Issue(field=f"administration.{name}", reason=reason),)


def test_what_was_stated_and_not_believed_is_told_on_the_fact_unless_another_source_gives_it() -> None:
    bare = {name: value for name, value in injection(event_uid="1.9").items() if name != "activity"}
    header = dataclasses.replace(shared(administrations=(bare,)), issues=refused("activity", "is not above zero"))
    (one,) = gather_dossier("P1", [header, header], known={}, mint=str).administrations
    assert [issue.reason for issue in one.issues] == ["The activity is not above zero; it is not published."]
    report = shared(series="1.1.2", administrations=(injection(event_uid="1.9"),), series_fields={"modality": "SR"})
    (both,) = gather_dossier("P1", [header, report], known={}, mint=str).administrations
    assert both.fields["activity"] == injection()["activity"]
    assert not any("not published" in issue.reason for issue in both.issues)
