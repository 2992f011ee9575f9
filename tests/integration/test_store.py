"""Promises of the embedded store, kept on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.errors import Misconfigured, Rejected, Retryable
from gateway.r4.validate import validate
from gateway.store import FhirStore
from tests.fhir_samples import DCM, OBSERVATIONS, PATIENT, PT_STUDY, UCUM, deletion, filled, transaction


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    opened: str = request.getfixturevalue("postgres_url")
    return opened


@pytest.fixture
def store(url: str) -> Iterator[FhirStore]:
    opened = FhirStore(url)
    yield opened
    opened.close()


def find(store: FhirStore, kind: str, query: str) -> list[str]:
    parameters = [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]
    page = store.search(kind, parameters)
    assert page.warnings == ()
    return [entry.stored.id for entry in page.entries if entry.mode == "match"]


def statuses(response: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["response"]["status"], entry["response"].get("etag", "")) for entry in response["entry"]]


def test_a_transaction_answers_each_entry_in_order(store: FhirStore) -> None:
    response = store.transact(transaction(PATIENT, PT_STUDY))
    assert validate(response) == []
    assert statuses(response) == [("201 Created", 'W/"1"')] * 2
    assert response["entry"][1]["response"]["location"] == "ImagingStudy/pt/_history/1"


def test_an_identical_put_makes_no_new_version(store: FhirStore) -> None:
    first = store.transact(transaction(PATIENT, PT_STUDY))
    echoed = {**PATIENT, "meta": {"versionId": "77", "lastUpdated": "2001-01-01T00:00:00Z"}}
    shuffled = dict(reversed(PT_STUDY.items()))
    again = store.transact(transaction(echoed, shuffled))
    assert statuses(again) == [("200 OK", 'W/"1"')] * 2
    assert again["entry"][0]["response"]["lastModified"] == first["entry"][0]["response"]["lastModified"]
    assert len(store.history("Patient", "p1")) == 1


def test_a_change_makes_one_new_version_and_keeps_the_old_one(store: FhirStore) -> None:
    store.transact(transaction(PATIENT, PT_STUDY))
    response = store.transact(transaction({**PATIENT, "gender": "other"}, PT_STUDY))
    assert statuses(response) == [("200 OK", 'W/"2"'), ("200 OK", 'W/"1"')]
    assert [(item.version, item.resource()["gender"]) for item in store.history("Patient", "p1")] == [(2, "other"), (1, "female")]
    assert find(store, "Patient", "gender=female") == []
    assert find(store, "Patient", "gender=other") == ["p1"]


def test_what_is_read_is_what_was_written_and_valid(store: FhirStore) -> None:
    store.transact(transaction(PATIENT, *OBSERVATIONS))
    read = store.read("Observation", "o2")
    assert read is not None
    resource = read.resource()
    assert validate(resource) == []
    assert resource.pop("meta")["versionId"] == "1"
    assert resource == OBSERVATIONS[1]
    assert b'"value":1.50' in read.body


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda b: b.update(type="batch"), "type transaction"),
        (lambda b: b["entry"].append(b["entry"][0]), "changed twice"),
        (lambda b: b["entry"][1]["request"].update(method="POST"), "only PUT and DELETE"),
        (lambda b: b["entry"][1]["request"].update(url="Patient/other"), "type and id"),
        (lambda b: b["entry"][1]["request"].update(url="Nonsense/1"), "known type"),
        (lambda b: b["entry"][1]["request"].update(url="Patient/a b"), "known type"),
        (lambda b: b["entry"][1]["request"].update(ifMatch='W/"4"'), "version expected"),
        (lambda b: b["entry"][1]["resource"].update(name="no list"), "shape"),
        (lambda b: b["entry"][1]["resource"].update(x=Decimal("NaN")), "JSON"),
    ],
)
def test_a_transaction_that_cannot_be_done_leaves_nothing_behind(store: FhirStore, spoil: Any, expected: str) -> None:
    bundle = transaction(PT_STUDY, {**PATIENT})
    spoil(bundle)
    with pytest.raises(Rejected, match=expected) as caught:
        store.transact(bundle)
    assert caught.value.status in (400, 412)
    assert store.counts() == {}


def test_a_version_expected_lets_the_right_writer_through(store: FhirStore) -> None:
    store.transact(transaction(PATIENT))
    bundle = transaction({**PATIENT, "gender": "other"})
    bundle["entry"][0]["request"]["ifMatch"] = 'W/"1"'
    assert statuses(store.transact(bundle)) == [("200 OK", 'W/"2"')]


def test_references_between_new_entries_are_resolved(store: FhirStore) -> None:
    bundle = transaction(PATIENT, {**PT_STUDY, "subject": {"reference": "urn:uuid:1"}})
    bundle["entry"][0]["fullUrl"] = "urn:uuid:1"
    store.transact(bundle)
    read = store.read("ImagingStudy", "pt")
    assert read is not None
    assert read.resource()["subject"] == {"reference": "Patient/p1"}


def test_deleting_hides_a_resource_and_putting_it_back_continues_its_history(store: FhirStore) -> None:
    store.transact(transaction(PATIENT))
    assert statuses(store.transact(deletion("Patient", "p1"))) == [("204 No Content", 'W/"2"')]
    assert statuses(store.transact(deletion("Patient", "p1"))) == [("204 No Content", 'W/"2"')]
    assert find(store, "Patient", "") == []
    assert find(store, "Patient", "identifier=H1") == []
    assert statuses(store.transact(transaction(PATIENT))) == [("201 Created", 'W/"3"')]
    assert find(store, "Patient", "identifier=H1") == ["p1"]
    assert statuses(store.transact(deletion("Patient", "never"))) == [("204 No Content", "")]


def test_an_empty_transaction_is_done_at_once(store: FhirStore) -> None:
    assert validate(store.transact({"resourceType": "Bundle", "type": "transaction"})) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("family=mul", True),
        ("family=MÜLLER", True),
        ("family=Muller&given=zoe", True),
        ("family:exact=Müller", True),
        ("family:exact=Muller", False),
        ("family:contains=LLE", True),
        ("given=ne", False),
        ("name=anne", True),
        ("gender=female", True),
        ("gender=http://hl7.org/fhir/administrative-gender|female", True),
        ("gender:not=male", True),
        ("gender:not=female", False),
        ("identifier=H1", True),
        ("identifier=urn:hospital|H1", True),
        ("identifier=|H1", False),
        ("identifier=urn:hospital|", True),
        ("identifier=other|H1", False),
        ("identifier=x,urn:hospital|H1", True),
        ("birthdate=1970-02-03", True),
        ("birthdate=1970-02", True),
        ("birthdate=1970", True),
        ("birthdate=1970-02-03T10:00", False),
        ("birthdate=ne1970-02-03", False),
        ("birthdate=gt1970-02-02", True),
        ("birthdate=gt1970-02-03", False),
        ("birthdate=ge1970-02-03", True),
        ("birthdate=lt1970-02-03", False),
        ("birthdate=le1970-02-03", True),
        ("birthdate=sa1970-02-02", True),
        ("birthdate=sa1970", False),
        ("birthdate=eb1970-02-04", True),
        ("birthdate=ap1970-03", True),
        ("deceased=false", True),
        ("death-date:missing=true", True),
        ("identifier:missing=true", False),
        ("_id=p1", True),
        ("_id:not=p1", False),
        ("_lastUpdated=ge2020-01-01", True),
        ("_lastUpdated=lt2020-01-01", False),
        ("_has:Observation:patient:code=126401", True),
        ("_has:Observation:patient:code=1", False),
        ("_has:ImagingStudy:patient:modality=PT", True),
        ("_has:Observation:patient:derived-from:ImagingStudy.modality=NM", False),
    ],
)
def test_a_patient_is_found_by(store: FhirStore, query: str, expected: bool) -> None:
    store.transact(transaction(PATIENT, PT_STUDY, *OBSERVATIONS))
    assert find(store, "Patient", query) == (["p1"] if expected else [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("value-quantity=1.50", ["o2"]),
        ("value-quantity=1.5", ["o2"]),
        ("value-quantity=2", ["o2"]),  # a rounded 2 is anything from 1.5 up to 2.5
        ("value-quantity=1.500", ["o2"]),
        ("value-quantity=ge5.5", ["o6", "o7", "o8"]),
        ("value-quantity=gt5.5", ["o7", "o8"]),
        ("value-quantity=lt1.5", ["o1"]),
        ("value-quantity=le1.5|http://unitsofmeasure.org|g/ml{SUVbw}", ["o1", "o2"]),
        ("value-quantity=1.5||g/ml", ["o2"]),
        ("value-quantity=1.5||g/ml{SUVbw}", ["o2"]),
        ("value-quantity=1.5||MBq", []),
        ("value-quantity=ap5.5", ["o6"]),
        ("value-quantity=ne1.5&value-quantity=lt3", ["o1", "o3"]),
        ("code=126401&value-quantity=gt6", ["o7", "o8"]),
        (f"code={DCM}|126401&date=2026-01-11", ["o1"]),
        ("code:text=suv&date=le2026-01-12", ["o1", "o2"]),
        ("derived-from=ImagingStudy/pt&date=eb2026-01-12", ["o1"]),
        ("derived-from:ImagingStudy=pt&date=eb2026-01-12", ["o1"]),
        ("subject:Group=p1", []),
        ("derived-from.modality=PT&date=sa2026-01-17", ["o8"]),
        ("_sort=-date&_count=2", ["o8", "o7"]),
        ("_sort=value-quantity&_count=2", ["o1", "o2"]),
        ("_sort=-_id&_count=1", ["o8"]),
        ("_sort=code,-date&_count=1", ["o8"]),
    ],
)
def test_observations_are_found_by(store: FhirStore, query: str, expected: list[str]) -> None:
    store.transact(transaction(PATIENT, PT_STUDY, *OBSERVATIONS))
    assert find(store, "Observation", query) == expected


def test_an_administered_activity_is_found_by_time_and_tracer(store: FhirStore) -> None:
    administration = {
        "resourceType": "MedicationAdministration",
        "id": "a1",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        "status": "completed",
        "medicationReference": {"reference": "Medication/m1"},
        "subject": {"reference": "Patient/p1", "identifier": {"system": "urn:hospital", "value": "H1"}},
        "effectivePeriod": {"start": "2026-01-02T10:00:00+01:00"},
        "dosage": {"dose": {"value": Decimal("394.0"), "system": UCUM, "code": "MBq"}},
    }
    medication = {"resourceType": "Medication", "id": "m1", "code": {"text": "18F-FDG"}}
    store.transact(transaction(administration, medication))
    assert find(store, "MedicationAdministration", "effective-time=ge2026-01-02&identifier=1.2.3") == ["a1"]
    assert find(store, "MedicationAdministration", "effective-time=lt2026-01-02") == []
    assert find(store, "MedicationAdministration", "subject:identifier=urn:hospital|H1") == ["a1"]
    assert find(store, "MedicationAdministration", "medication.code:text=18f") == ["a1"]
    page = store.search("MedicationAdministration", [("_include", "MedicationAdministration:medication")])
    assert [entry.stored.type for entry in page.entries] == ["MedicationAdministration", "Medication"]


@pytest.mark.parametrize("sort", ["", "_id", "-date", "-_lastUpdated,value-quantity", "subject,-value-quantity"])
def test_pages_show_every_match_once_though_others_write_in_between(store: FhirStore, sort: str) -> None:
    store.transact(transaction(*OBSERVATIONS))
    parameters = [("_count", "3"), ("code", "126401")] + ([("_sort", sort)] if sort else [])
    seen: list[str] = []
    page = store.search("Observation", parameters)
    while True:
        seen += [entry.stored.id for entry in page.entries]
        assert page.total == len(OBSERVATIONS)
        if page.next is None:
            break
        store.transact(transaction({**PATIENT, "id": f"new{len(seen)}"}))
        page = store.search("Observation", [*parameters, ("_page", page.next)])
    assert sorted(seen) == [f"o{number}" for number in range(1, 9)]


def test_dates_without_zone_are_read_in_the_zone_of_the_site(url: str) -> None:
    store = filled(FhirStore(url, timezone="Europe/Brussels"))
    assert find(store, "ImagingStudy", "started=2026-01-31") == ["pt"]
    store.close()
    # 23:30 in Brussels is the next morning in Tokyo: opening with another zone makes the index anew
    moved = FhirStore(url, timezone="Asia/Tokyo")
    assert find(moved, "ImagingStudy", "started=2026-01-31") == []
    assert find(moved, "ImagingStudy", "started=2026-02-01") == ["pt"]
    assert find(moved, "Patient", "birthdate=1970-02-03") == ["p1"]
    moved.close()


def test_what_was_written_survives_closing_and_opening(url: str) -> None:
    filled(FhirStore(url)).close()
    store = FhirStore(url)
    assert store.counts() == {"Device": 1, "ImagingStudy": 2, "Observation": 8, "Patient": 1}
    assert find(store, "ImagingStudy", "instance=1.2.840.99.1.1.7") == ["pt"]
    assert statuses(store.transact(transaction(PATIENT))) == [("200 OK", 'W/"1"')]
    store.close()


def test_concurrent_writers_of_the_same_study_leave_a_gapless_history(url: str) -> None:
    first, second = FhirStore(url), FhirStore(url)

    def write(store: FhirStore, name: str) -> None:
        for number in range(15):
            store.transact(transaction(PATIENT, {**PT_STUDY, "description": f"{name} {number}"}))

    threads = [threading.Thread(target=write, args=(item, name)) for item, name in ((first, "a"), (second, "b"), (first, "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = [item.version for item in first.history("ImagingStudy", "pt")]
    assert versions == list(range(45, 0, -1))
    assert first.search("ImagingStudy", [("instance", "1.2.840.99.1.1.7")]).total == 1
    assert len(first.history("Patient", "p1")) == 1
    first.close()
    second.close()


def test_a_clock_stamps_every_resource_of_a_transaction_alike(url: str) -> None:
    store = FhirStore(url, clock=lambda: dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC))
    store.transact(transaction(PATIENT, PT_STUDY))
    stored = [store.read("Patient", "p1"), store.read("ImagingStudy", "pt")]
    assert {item.last_updated for item in stored if item} == {"2026-01-02T03:04:05.678Z"}
    assert find(store, "Patient", "_lastUpdated=2026-01-02T03:04:05.678Z") == ["p1"]
    store.close()


def test_long_values_are_stored_and_found(store: FhirStore) -> None:
    long = "x" * 10_000
    store.transact(transaction({**PATIENT, "identifier": [{"value": long}], "name": [{"family": long}]}))
    assert find(store, "Patient", f"identifier={long[:4000]}") == []
    assert find(store, "Patient", "family=xxx") == ["p1"]


def test_a_database_that_cannot_be_used_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(Misconfigured):
        FhirStore("mysql://localhost/x")


def test_a_window_finds_what_takes_long_and_what_does_not(store: FhirStore) -> None:
    day = dt.timedelta(days=1)
    start = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    periods = {
        f"o{before}-{length}": {"start": (start - before * day).isoformat(), "end": (start + (length - before) * day).isoformat()}
        for before in (0, 1, 2, 3, 40)
        for length in (1, 2, 3, 30, 90)
    }
    periods["open"] = {"start": (start - 400 * day).isoformat()}
    taken = [{**OBSERVATIONS[0], "id": name, "effectivePeriod": period} for name, period in periods.items()]
    for one in taken:
        one.pop("effectiveDateTime", None)
    store.transact(transaction(*taken))
    begins = {name: dt.datetime.fromisoformat(period["start"]) for name, period in periods.items()}
    ends = {
        name: dt.datetime.fromisoformat(period["end"]) + dt.timedelta(seconds=1) if "end" in period else start + 9000 * day
        for name, period in periods.items()
    }
    end = start + 7 * day
    touching = {name for name in periods if ends[name] > start and begins[name] < end}
    window = "date=gt2026-02-28T23:59:59Z&date=lt2026-03-08T00:00:00Z&_count=200"
    assert set(find(store, "Observation", window)) == touching
    newest_first = find(store, "Observation", f"{window}&_sort=-date")
    assert [ends[name] for name in newest_first] == sorted((ends[name] for name in touching), reverse=True)
    by_beginning = find(store, "Observation", f"{window}&_sort=date")
    assert [begins[name] for name in by_beginning] == sorted(begins[name] for name in touching)
    within = find(store, "Observation", "date=2026-03&_count=200")
    assert set(within) == {name for name in periods if begins[name] >= start and ends[name] <= start + 31 * day}


def test_who_reads_cannot_write(store: FhirStore) -> None:
    with pytest.raises((Retryable, sa.exc.DBAPIError)), store._readers.reading(5) as reader:
        reader.run("DELETE FROM res")


@pytest.mark.needs("postgres")
def test_a_connection_that_was_cut_off_while_it_waited_is_replaced(postgres_url: str) -> None:
    store = FhirStore(postgres_url)
    store.transact(transaction(PATIENT))
    assert len(find(store, "Patient", "")) == 1
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert connection.exec_driver_sql(others).all()
    engine.dispose()
    assert len(find(store, "Patient", "")) == 1
    store.close()


def test_a_period_that_is_open_at_both_ends_is_kept_and_touches_everything(store: FhirStore) -> None:
    unknown = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}
    open_one = {key: value for key, value in OBSERVATIONS[0].items() if not key.startswith("effective")}
    store.transact(transaction({**open_one, "effectivePeriod": {"extension": [unknown]}}))
    name = str(OBSERVATIONS[0]["id"])
    assert find(store, "Observation", "date=ge2026-01-01&date=le2026-01-31") == [name]
    assert find(store, "Observation", "date=2026-01") == []
