"""The bounds of a Group, asked of the store itself on both databases; and that they cost little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Rejected
from gateway.store import FhirStore
from gateway.store.export import Wanted
from gateway.store.export_jobs import ExportJobs, Order
from gateway.store.history import HistoryQuery
from gateway.store.reach import Reach
from tests.fhir_samples import OBSERVATIONS, PATIENT, filled, transaction

LUNG = Reach("lung")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FhirStore]:
    """Patient p2 is a member; p1 was one, and everything of the samples is his."""
    sqlite = request.param == "sqlite"
    url: str = f"sqlite:///{tmp_path / 'store.db'}" if sqlite else request.getfixturevalue("postgres_url")
    opened = filled(FhirStore(url))
    members = [{"entity": {"reference": "Patient/p1"}, "inactive": True}, {"entity": {"reference": "Patient/p2"}}]
    own: dict[str, Any] = {**OBSERVATIONS[0], "id": "own", "subject": {"reference": "Patient/p2"}, "derivedFrom": []}
    del own["derivedFrom"]
    own["device"] = {"reference": "Device/d1"}
    group = {"resourceType": "Group", "id": "lung", "type": "person", "actual": True, "member": members}
    vouched = {
        "resourceType": "Provenance",
        "id": "v",
        "target": [{"reference": "Observation/own"}],
        "recorded": "2026-11-01T10:00:00Z",
        "agent": [{"who": {"display": "somebody"}}],
    }
    opened.transact(transaction({**PATIENT, "id": "p2"}, {**own, "subject": {"reference": "Patient/p1"}}, group, vouched))
    opened.transact(transaction(own))
    yield opened
    opened.close()


def found(store: FhirStore, kind: str, *parameters: tuple[str, str], reach: Reach = LUNG) -> set[str]:
    return {f"{entry.stored.type}/{entry.stored.id}" for entry in store.search(kind, parameters, reach=reach).entries}


def test_the_store_shows_the_group_and_nothing_else(store: FhirStore) -> None:
    assert found(store, "Patient") == {"Patient/p2"}
    assert found(store, "Observation") == {"Observation/own"}
    assert found(store, "ImagingStudy") == set()
    assert found(store, "Device") == {"Device/d1"}
    assert found(store, "Provenance") == {"Provenance/v"}
    assert found(store, "Group", ("_include", "Group:member")) == {"Group/lung", "Patient/p2"}
    assert found(store, "Device", ("_revinclude", "Observation:device")) == {"Device/d1", "Observation/own"}
    assert found(store, "Patient", ("_has:Observation:subject:_id", "o1")) == set()
    assert found(store, "Patient", ("_has:Observation:subject:_id", "own")) == {"Patient/p2"}
    whole = store.everything("p2", [], reach=LUNG)
    assert whole is not None
    assert {entry.stored.id for entry in whole.entries} == {"p2", "own", "d1", "v", "lung"}
    assert store.everything("p1", [], reach=LUNG) is None
    assert store.read("Observation", "o1", reach=LUNG) is None
    with pytest.raises(Rejected) as caught:
        store.read("Observation", "own", reach=Reach("no-such"))
    assert caught.value.status == 403


def test_what_names_somebody_outside_is_not_even_counted(store: FhirStore) -> None:
    """A second look at each body hides it; the answer must not tell that there was something to hide."""
    own = next(entry.stored for entry in store.search("Observation", [("_id", "own")]).entries).resource()
    mixed = {**own, "id": "mixed", "performer": [{"reference": "Patient/p1"}]}
    device = {"resourceType": "Device", "id": "his", "patient": {"reference": "Patient/p1"}}
    store.transact(transaction(mixed, {**own, "id": "beside", "device": {"reference": "Device/his"}}, device))
    asked = [("_id", "mixed"), ("performer", "Patient/p1")]
    assert [store.search("Observation", [one, ("_summary", "count")], reach=LUNG).total for one in asked] == [0, 0]
    assert [store.search("Observation", [one, ("_summary", "count")]).total for one in asked] == [1, 1]
    assert found(store, "Patient", ("_has:Observation:subject:performer", "Patient/p1")) == set()
    assert store.search("Device", [("_id", "his")], reach=LUNG).total == 0
    assert store.search("Observation", [("device:Device._id", "his")], reach=LUNG).total == 0
    assert store.search("Observation", [], reach=LUNG).total == 2


@pytest.mark.parametrize(
    "question",
    [
        "_has:Observation:has-member:_has:Observation:has-member:_has:Observation:has-member:_id",
        "_has:Provenance:target:_has:Provenance:entity:_has:Observation:performer:_id",
        "subject:Patient._has:Provenance:target:_has:Observation:performer:_id",
        "device.organization.partof.name",
    ],
)
def test_long_chains_are_answered_within_the_bounds_too(store: FhirStore, question: str) -> None:
    """SQLite's parser holds a hundred levels; the bounds stand in every link."""
    assert found(store, "Observation", (question, "x")) == set()


def test_versions_of_the_time_before_are_not_seen(store: FhirStore) -> None:
    assert store.vread("Observation", "own", 1, reach=LUNG) is None
    assert store.vread("Observation", "own", 2, reach=LUNG) is not None
    page = store.history_page(HistoryQuery(count=2), reach=LUNG)
    seen = [(one.type, one.version) for one in page.versions]
    while page.next:
        page = store.history_page(HistoryQuery(count=2, start=page.next), reach=LUNG)
        seen += [(one.type, one.version) for one in page.versions]
    assert sorted(seen) == [("Device", 2), ("Group", 1), ("Observation", 2), ("Patient", 1), ("Provenance", 1)]


def test_exports_are_of_the_group(store: FhirStore) -> None:
    exporter = store.exporter(LUNG)
    until = exporter.moment()

    def exported(kind: str, reach: Reach = LUNG) -> set[str]:
        return {one.id for one in store.exporter(reach).resources(Wanted(kind, until))}

    assert (exported("Patient"), exported("Observation"), exported("Device")) == ({"p2"}, {"own"}, {"d1"})
    assert exported("Group") == set()
    assert exported("Patient", Reach("lung", frozenset({"Observation"}), None)) == set()


def test_what_was_exported_is_given_only_while_all_its_patients_are_members(store: FhirStore, tmp_path: Path) -> None:
    jobs = ExportJobs(tmp_path / "exports", store.exporter())
    job_id = jobs.start(Order("x", within="lung"))
    jobs.wait(job_id, 20)
    done = jobs.get(job_id, "", LUNG)
    assert done is not None
    assert {item.type for item in done.output} >= {"Patient", "Observation"}
    group = store.search("Group", [("_id", "lung")]).entries[0].stored.resource()
    group["member"].append({"entity": {"reference": "Patient/p3"}})
    store.transact(transaction(group))
    assert jobs.get(job_id, "", LUNG) is not None
    group["member"][1]["inactive"] = True
    store.transact(transaction(group))
    assert jobs.get(job_id, "", LUNG) is None
    assert jobs.get(job_id, "", Reach("other")) is None


def test_types_that_may_not_be_read_are_not_included(store: FhirStore) -> None:
    reach = Reach(None, frozenset({"Observation"}), frozenset({"Observation"}))
    page = store.search("Observation", [("_id", "own"), ("_include", "*")], reach=reach)
    assert [entry.stored.type for entry in page.entries] == ["Observation"]
    assert "may not read" in page.warnings[0]
    for parameter in ("patient.family", "_has:Provenance:target:_id", "device.patient.family"):
        with pytest.raises(Rejected) as caught:
            store.search("Observation", [(parameter, "x")], reach=reach)
        assert caught.value.status == 403


def test_of_a_type_no_more_is_seen_than_the_queries_find(store: FhirStore) -> None:
    only = Reach(only=(("Observation", ("_id=own", "_id=none&status=final")),))
    assert found(store, "Observation", reach=only) == {"Observation/own"}
    assert found(store, "Observation", ("_id", "o1"), reach=only) == set()
    assert found(store, "Patient", ("_has:Observation:subject:_id", "o1"), reach=only) == set()
    assert found(store, "Patient", ("_has:Observation:subject:_id", "own"), reach=only) == {"Patient/p2"}
    assert store.read("Observation", "o1", reach=only) is None
    exporter = store.exporter(only)
    assert {one.id for one in exporter.resources(Wanted("Observation", exporter.moment()))} == {"own"}
    both = Reach("lung", only=(("Observation", ("_id=o1",)),))
    assert found(store, "Observation", reach=both) == set(), "of another patient"
