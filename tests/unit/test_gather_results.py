"""Facts of dosimetry from reports, tables and headers: linked to their administration, told once, corrected, whatever the order."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gather.choose import canonical
from gateway.gather.dossier import gather_dossier
from gateway.model import DoseResult, Dossier, JsonObject, SharedFields
from tests.unit.test_reconcile import header, injection

KIDNEY = {"system": "http://snomed.info/sct", "code": "64033007", "text": "Kidney"}
LIVER = {"system": "http://snomed.info/sct", "code": "10200004", "text": "Liver"}
LEFT = {"system": "http://snomed.info/sct", "code": "7771000", "text": "Left"}
HINT = {
    "started_at": "2026-03-02T09:31:00+01:00",
    "activity": {"value": Decimal(7400), "unit": "MBq"},
    "radionuclide": {"system": "http://snomed.info/sct", "code": "447553000", "text": "Lu-177"},
}


def dose(gray: str | None = "4.36", region: JsonObject | None = KIDNEY, **more: Any) -> JsonObject:
    told = {"kind": "organ-absorbed-dose", "region": region, "value": gy(gray), **more}
    return {name: value for name, value in told.items() if value is not None}


def gy(number: str | None) -> JsonObject | None:
    return {"value": Decimal(number), "unit": "Gy"} if number else None


def with_facts(shared: SharedFields, document: JsonObject, *results: JsonObject) -> SharedFields:
    text = json.dumps([shared.key, document, results], default=str, sort_keys=True)
    return dataclasses.replace(shared, key=hashlib.sha256(text.encode()).hexdigest(), document=document, results=results)


def report(
    uid: str, *results: JsonObject, study: str = "1.9", told: tuple[JsonObject, ...] | None = None, **document: Any
) -> SharedFields:
    injections = (injection("7386.4", "09:30", event="2.25.7"),) if told is None else told
    return with_facts(header(study, *injections, modality="SR"), {"uid": uid, "class_uid": "c", **document}, *results)


def table(
    name: str,
    *results: JsonObject,
    created: str = "2026-03-10T10:00:00+01:00",
    told: tuple[JsonObject, ...] = (),
    **document: Any,
) -> SharedFields:
    shared = dataclasses.replace(header("", *told, modality=""), study={}, series={}, mapping="example_table")
    return with_facts(shared, {"uid": name, "source": "table", "created_at": created, **document}, *results)


@dataclasses.dataclass
class Ledger:
    """What the ledger remembers of a patient between two quiet windows."""

    known: dict[str, str] = dataclasses.field(default_factory=dict)
    replaced: dict[str, str] = dataclasses.field(default_factory=dict)
    results: dict[str, str] = dataclasses.field(default_factory=dict)
    replaced_results: dict[str, str] = dataclasses.field(default_factory=dict)

    def seal(self, records: list[SharedFields]) -> Dossier:
        found = gather_dossier(
            "sys|P1",
            records,
            known=self.known,
            replaced=self.replaced,
            mint=lambda name: f"id of {name}",
            known_results=self.results,
            replaced_results=self.replaced_results,
        )
        self.known |= found.minted
        self.replaced = found.replaced
        self.results |= found.minted_results
        self.replaced_results = found.replaced_results
        return found


def gathered(*records: SharedFields) -> Dossier:
    return Ledger().seal(list(records))


def only(dossier: Dossier) -> DoseResult:
    (result,) = dossier.results
    return result


def told(dossier: Dossier) -> bytes:
    """All that a dossier says, without the ids that were minted on the way."""
    names = {item.key: canonical([item.fields, item.study_uids]).decode() for item in dossier.administrations}
    facts = [
        [
            names.get(item.administration or "", "-"),
            item.kind,
            item.fields,
            item.status,
            sorted({issue.reason for issue in item.issues}),
        ]
        for item in dossier.results
    ]
    documents = [[item.key, item.superseded, sorted(issue.reason for issue in item.issues)] for item in dossier.documents]
    return canonical([sorted(names.values()), sorted(facts, key=canonical), documents])


def test_a_result_is_bound_to_the_administration_that_its_report_tells_it_of() -> None:
    two = (injection("7400", "09:30", event="2.25.7"), injection("185", "11:00", nuclide="F-18", event="2.25.8"))
    found = gathered(report("1", dose(of_administration=0), dose("0.004", of_administration=1), told=two))
    by_key = {item.key: item.event_uids for item in found.administrations}
    assert {by_key[item.administration or ""]: item.fields["value"]["value"] for item in found.results} == {
        ("2.25.7",): Decimal("4.36"),
        ("2.25.8",): Decimal("0.004"),
    }


def test_a_table_finds_its_administration_by_start_activity_and_nuclide() -> None:
    found = gathered(report("1"), table("t", dose(administration=HINT)))
    assert only(found).administration == found.administrations[0].key
    assert only(found).issues == ()


@pytest.mark.parametrize(
    "hint",
    [
        {**HINT, "started_at": "2026-03-02T10:31:00+01:00"},
        {**HINT, "activity": {"value": Decimal(5000), "unit": "MBq"}},
        {**HINT, "radionuclide": {"text": "F-18"}},
    ],
    ids=["an hour later", "another activity", "another nuclide"],
)
def test_a_table_whose_words_fit_no_administration_stays_apart_and_says_so(hint: JsonObject) -> None:
    result = only(gathered(report("1"), table("t", dose(administration=hint))))
    assert result.administration is None
    assert "belongs to no known administration: none fits" in result.issues[0].reason


def test_of_two_administrations_that_fit_none_is_chosen() -> None:
    two = (injection("7400", "09:25", event="2.25.7"), injection("7400", "09:40", event="2.25.8"))
    result = only(gathered(report("1", told=two), table("t", dose(administration=HINT))))
    assert result.administration is None
    assert "more than one fits" in result.issues[0].reason


def test_a_result_without_words_about_it_takes_the_only_administration_of_its_document_or_of_its_study() -> None:
    assert only(gathered(report("1", dose()))).administration is not None
    other = report("2", dose(), study="1.9", told=())
    assert only(gathered(report("1"), other)).administration is not None
    assert only(gathered(report("1"), report("2", dose(), study="1.8", told=()))).administration is None


def test_report_table_and_headers_tell_of_one_kidney_dose_in_every_order() -> None:
    spect = [header(f"1.{n}", injection("7400", "09:36")) for n in range(4)]
    rrdsr = report("1", dose("4.36", of_administration=0))
    csv = table("t", dose("4.5", administration=HINT))
    records = [*spect, rrdsr, csv]
    expected = told(gathered(*records))
    for order in itertools.permutations(records):
        found = gathered(*order)
        assert len(found.administrations) == 1
        result = only(found)
        assert result.fields["value"] == gy("4.36")
        assert told(found) == expected
    assert [issue.reason for issue in only(gathered(*records)).issues] == [
        "A table gives another value, which counts less and is not published."
    ]


def test_the_same_number_written_coarser_is_the_same_fact() -> None:
    result = only(gathered(report("1", dose("4.36", of_administration=0)), table("t", dose("4.3604", administration=HINT))))
    assert result.issues == ()
    assert result.fields["value"] == gy("4.36")  # the report counts first, however coarse


def test_two_reports_that_differ_stay_apart_and_say_so() -> None:
    found = gathered(report("1", dose("4.36", of_administration=0)), report("2", dose("5.1", of_administration=0)))
    assert sorted(item.fields["value"]["value"] for item in found.results) == [Decimal("4.36"), Decimal("5.1")]
    assert all("kept apart" in item.issues[0].reason for item in found.results)


def test_one_report_that_gives_two_values_of_one_organ_says_so_of_both() -> None:
    found = gathered(report("1", dose("8.27", of_administration=0), dose("99", of_administration=0)))
    assert sorted(item.fields["value"]["value"] for item in found.results) == [Decimal("8.27"), Decimal(99)]
    assert all("gives different values for it" in item.issues[0].reason for item in found.results)


def test_one_report_that_repeats_a_value_or_tells_of_another_side_does_not_contradict_itself() -> None:
    twice = gathered(report("1", dose("4.36", of_administration=0), dose("4.360", of_administration=0)))
    sides = gathered(report("1", dose("4.36", of_administration=0), dose("5", of_administration=0, laterality=LEFT)))
    lacking = gathered(report("1", dose("4.36", of_administration=0), dose(None, of_administration=0, absent="unknown")))
    for found in (twice, sides, lacking):
        assert [item.issues for item in found.results] == [(), ()]


def test_two_corrections_of_one_report_that_differ_stay_apart() -> None:
    first = report("1", dose("4.36", of_administration=0))
    others = [report(uid, dose(value, of_administration=0), predecessors=["1"]) for uid, value in (("2", "4.9"), ("3", "5.1"))]
    found = gathered(first, *others)
    assert sorted(item.fields["value"]["value"] for item in found.results) == [Decimal("4.9"), Decimal("5.1")]
    assert len({item.key for item in found.results}) == 2


def test_a_verified_report_counts_before_one_that_is_not() -> None:
    result = only(
        gathered(
            report("1", dose("5.1", of_administration=0)),
            report("2", dose("4.36", of_administration=0), verification="VERIFIED"),
        )
    )
    assert (result.fields["value"], result.status) == (gy("4.36"), "final")


def test_a_successor_takes_the_place_of_its_predecessor_and_what_it_changed_is_amended() -> None:
    first = report("1", dose("4.36", of_administration=0), dose("1.2", LIVER, of_administration=0), verification="VERIFIED")
    second = report(
        "2",
        dose("4.51", of_administration=0),
        dose("1.2", LIVER, of_administration=0),
        verification="VERIFIED",
        predecessors=["1"],
    )
    ledger = Ledger()
    before = {item.fields["region"]["text"]: item.key for item in ledger.seal([first]).results}
    after = ledger.seal([second, first])
    assert {item.fields["region"]["text"]: (item.key, item.status) for item in after.results} == {
        "Kidney": (before["Kidney"], "amended"),
        "Liver": (before["Liver"], "final"),
    }
    assert {item.key: item.superseded for item in after.documents} == {"1": True, "2": False}
    assert told(gathered(second, first)) == told(after)


def test_what_a_successor_does_not_tell_any_more_is_gone() -> None:
    first = report("1", dose(of_administration=0), dose("1.2", LIVER, of_administration=0))
    second = report("2", dose(of_administration=0), predecessors=["1"])
    assert only(gathered(first, second)).fields["region"] == KIDNEY


def test_an_unverified_correction_of_a_verified_report_waits() -> None:
    first = report("1", dose("4.36", of_administration=0), verification="VERIFIED")
    second = report("2", dose("4.51", of_administration=0), predecessors=["1"])
    found = gathered(first, second)
    assert only(found).fields["value"] == gy("4.36")
    assert "stays published until this one is verified" in found.documents[1].issues[0].reason


def test_a_predecessor_may_come_after_its_successor_and_leaves_the_id_alone() -> None:
    first, second = (
        report("1", dose("4.36", of_administration=0), told=()),
        report("2", dose("4.51", of_administration=0), told=(), predecessors=["1"]),
    )
    plain = [
        dataclasses.replace(one, results=tuple({k: v for k, v in r.items() if k != "of_administration"} for r in one.results))
        for one in (first, second)
    ]
    ledger = Ledger()
    before = only(ledger.seal([plain[1]]))
    assert only(ledger.seal(plain)).key == before.key


def test_documents_that_name_each_other_in_a_circle_all_stand() -> None:
    one = report("1", dose("4.36", of_administration=0), predecessors=["2"])
    other = report("2", dose("5.1", of_administration=0), predecessors=["1"])
    found = gathered(one, other)
    assert [item.superseded for item in found.documents] == [False, False]


def test_a_newer_table_takes_the_place_of_an_older_one() -> None:
    approved = {"by": "MPE-7", "at": "2026-03-10", "accepted": True}
    older = table("t1", dose("4.36", administration=HINT, approved=approved))
    newer = table("t2", dose("4.51", administration=HINT, approved=approved), created="2026-03-11T10:00:00+01:00")
    for order in ((older, newer), (newer, older)):
        result = only(gathered(report("1"), *order))
        assert (result.fields["value"], result.status) == (gy("4.51"), "amended")


@pytest.mark.parametrize(
    ("approved", "status"),
    [
        ({}, "preliminary"),
        ({"by": "MPE-7"}, "preliminary"),
        ({"by": "MPE-7", "at": "2026-03-10"}, "preliminary"),
        ({"by": "MPE-7", "at": "2026-03-10", "accepted": True}, "final"),
    ],
)
def test_a_table_is_final_only_with_an_approver_a_date_and_a_site_that_accepts_them(approved: JsonObject, status: str) -> None:
    assert only(gathered(report("1"), table("t", dose(administration=HINT, approved=approved)))).status == status


def test_an_effective_dose_is_published_only_where_the_procedure_is_diagnostic() -> None:
    effective = {"kind": "effective-dose", "value": {"value": Decimal("6.65"), "unit": "mSv"}, "of_administration": 0}
    assert only(gathered(report("1", {**effective, "use": "diagnostic"}))).kind == "effective-dose"
    for use in ({}, {"use": "therapeutic"}):
        found = gathered(report("1", {**effective, **use}))
        assert found.results == ()
        assert "explicitly diagnostic" in found.documents[0].issues[0].reason


def test_a_dose_of_no_region_is_withheld() -> None:
    found = gathered(report("1", dose(region=None, of_administration=0)))
    assert found.results == ()
    assert "names no region" in found.documents[0].issues[0].reason


def test_sides_lesions_and_intents_are_facts_of_their_own() -> None:
    told_of = [
        dose(of_administration=0),
        dose(laterality=LEFT, of_administration=0),
        dose(lesion={"tracking_uid": "2.25.1"}, of_administration=0),
        dose(intent="predicted", of_administration=0),
        dose(software={"name": "SW-X"}, of_administration=0),
        dose(statistic={"code": "56851009", "text": "Maximum"}, of_administration=0),
    ]
    assert len(gathered(report("1", *told_of)).results) == len(told_of)


def test_when_two_administrations_prove_to_be_one_their_doses_follow_and_the_lost_one_leads_there() -> None:
    """The table's own administration, and its dose, were published before the report came."""
    lone = table("t", dose("4.36", of_administration=0), told=(injection("7400", "09:31"),))
    ledger = Ledger()
    before = ledger.seal([lone])
    after = ledger.seal([lone, report("1", dose("4.36", of_administration=0))])
    assert len(after.administrations) == len(after.results) == 1
    assert after.results[0].administration == after.administrations[0].key
    assert after.results[0].key == before.results[0].key or after.replaced_results == {
        before.results[0].key: after.results[0].key
    }


def test_a_table_alone_tells_of_an_administration_where_its_adapter_says_so() -> None:
    found = gathered(table("t", dose(of_administration=0), told=(injection("2000", "10:00"),)))
    assert only(found).administration == found.administrations[0].key


def test_an_eqd2_that_does_not_follow_from_its_bed_is_told_and_published() -> None:
    parts = [{"code": {"code": "bed", "text": "BED"}, "value": {"value": Decimal("4.75"), "unit": "Gy{BED}"}}]
    eqd2 = {
        "kind": "eqd2",
        "region": KIDNEY,
        "value": {"value": Decimal("2.64"), "unit": "Gy{EQD2}"},
        "alpha_beta": {"value": Decimal("2.5"), "unit": "Gy"},
        "components": parts,
        "of_administration": 0,
    }
    assert only(gathered(report("1", eqd2))).issues == ()
    wrong = {**eqd2, "value": {"value": Decimal("4.75"), "unit": "Gy{EQD2}"}}
    assert "does not follow" in only(gathered(report("1", wrong))).issues[0].reason


# -- Any history ----------------------------------------------------------------------------------------------------------------

_TIMES, _ACTIVITIES = ("09:30", "09:36", "11:00"), ("7400", "7386.4", "3700")


@st.composite
def documents(draw: st.DrawFn) -> SharedFields:
    """A header, a report or a table of one of a few injections in one of a few studies, with a few doses."""
    number = draw(st.integers(0, 5))
    study, at, mbq = f"1.{draw(st.integers(0, 2))}", draw(st.sampled_from(_TIMES)), draw(st.sampled_from(_ACTIVITIES))
    nuclide = draw(st.sampled_from(["Lu-177", "Lu-177", "F-18", "O-15"]))
    event = draw(st.sampled_from([None, None, "2.25.7", "2.25.8"]))
    kind = draw(st.sampled_from(["header", "report", "table"]))
    if kind == "header":  # some cameras know no day, or tell of two tracers at once
        second = [injection("185", at, nuclide="F-18")] if draw(st.booleans()) else []
        return header(
            study,
            injection(mbq, draw(st.sampled_from([at, None])), nuclide=nuclide, event=event, start_clock=f"{at}:00"),
            *second,
        )
    regions = draw(st.lists(st.sampled_from([KIDNEY, LIVER]), max_size=2))
    values = [draw(st.sampled_from(["4.36", "4.4", "5.1"])) for _ in regions]
    if kind == "table":
        hint = {**HINT, "started_at": f"2026-03-02T{at}:00+01:00", "activity": {"value": Decimal(mbq), "unit": "MBq"}}
        own = draw(st.booleans())
        link = {"of_administration": 0} if own else {"administration": hint}
        doses = [dose(value, region, **link) for value, region in zip(values, regions, strict=True)]
        created = f"2026-03-1{draw(st.integers(0, 2))}T10:00:00+01:00"
        return table(f"t{number}", *doses, created=created, told=(injection(mbq, at),) if own else ())
    doses = [dose(value, region, of_administration=0) for value, region in zip(values, regions, strict=True)]
    more: JsonObject = {"verification": "VERIFIED"} if draw(st.booleans()) else {}
    before = draw(st.sampled_from([None, 0, 1, 2]))
    if before is not None and before != number:
        more["predecessors"] = [f"r{before}"]
    return report(f"r{number}", *doses, study=study, told=(injection(mbq, at, nuclide=nuclide, event=event),), **more)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[SharedFields], list[SharedFields], list[bool]]:
    """Documents with different names, another order of them, and after which of those the patient is quiet."""
    found = {str(one.document.get("uid") or one.key): one for one in draw(st.lists(documents(), min_size=1, max_size=6))}
    records = list(found.values())
    order = draw(st.permutations(records))
    return records, order, draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))


@given(histories())
@settings(max_examples=200, deadline=None)
def test_any_history_gives_the_same_facts_in_every_order_of_arrival(
    history: tuple[list[SharedFields], list[SharedFields], list[bool]],
) -> None:
    records, order, quiet = history
    expected = gathered(*records)
    ledger, come = Ledger(), list[SharedFields]()
    for record, is_quiet in zip(order, quiet, strict=True):
        come.append(record)
        if is_quiet:
            ledger.seal(list(come))
    found = ledger.seal(list(come))
    assert told(found) == told(expected)
    keys = [item.key for item in found.results]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(found.replaced_results)
    again = ledger.seal(list(come))
    assert (told(again), again.minted_results) == (told(found), {})
