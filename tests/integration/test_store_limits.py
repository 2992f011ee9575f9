"""What keeps one question from harming the others, on both databases: a limit in time, and pages that hold while others write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.errors import Rejected
from gateway.store import FhirStore, search
from gateway.store.export import Wanted, read_filter
from gateway.store.history import HistoryQuery
from gateway.store.limits import limited
from tests import postgres
from tests.fhir_samples import filled, observation, transaction

Open = Callable[..., FhirStore]
STRANGE = [
    "' OR 1=1 --",
    "%",
    "_",
    "\\",
    "\\$",
    "x\\",
    "$",
    "|",
    "\ud7ff",
    "😀" * 50,
    "a" * 4000,
    "1;DROP TABLE res",
    "{}",
    "\u0000x",
]
PARAMETERS = [
    "code",
    "code:text",
    "code-value-quantity",
    "code-value-string",
    "code-value-date",
    "cycle",
    "date",
    "patient.family",
    "patient.family:contains",
    "subject:identifier",
    "value-string:exact",
    "_id",
    "_lastUpdated",
    "_profile:below",
    "_has:Observation:has-member:code",
    "_sort",
    "_page",
    "_include",
    "_revinclude:iterate",
    "identifier",
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{Path(tmp_path_factory.mktemp('limits')) / 'store.db'}"
        else:
            url = stack.enter_context(postgres.database(stack.enter_context(postgres.server())))

        def open_store(**options: Any) -> FhirStore:
            store = FhirStore(url, **options)
            stack.callback(store.close)
            return store

        first = filled(open_store())
        first.transact(transaction(*({**observation(3), "id": f"n{number}"} for number in range(300))))
        yield open_store


def test_a_question_that_takes_too_long_is_stopped_and_the_next_one_is_answered(opened: Open) -> None:
    hurried = opened(query_secs=0.001)
    slow = [("_sort", "-date,code,value-quantity"), ("status:not", "x"), ("code:not", "y"), ("patient.family:contains", "l")]
    with pytest.raises(Rejected, match="longer than") as refused:
        ask_often(hurried, slow)
    assert refused.value.status == 400
    assert hurried.read("Patient", "p1") is not None
    assert opened().search("Observation", slow).total == 308


def test_a_table_that_somebody_waits_for_is_found_within_the_same_time_and_an_export_takes_its_own(opened: Open) -> None:
    hurried = opened(query_secs=1e-6)
    wanted = Wanted("Observation", 2**62, alternatives=(read_filter("Observation", [("code:not", "y")]),))
    with pytest.raises(Rejected, match="longer than"):
        find_often(hurried, wanted)
    assert len(list(hurried.exporter().resources(wanted))) == 308


def test_a_statement_that_is_too_much_for_the_database_is_refused_and_not_tried_again() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(Rejected, match="more than the database takes"), limited(connection, 5):
        connection.exec_driver_sql(f"SELECT {'(' * 500}1{')' * 500}")


def find_often(store: FhirStore, wanted: Wanted) -> None:
    for _ in range(50):
        list(store.exporter(in_a_hurry=True).resources(wanted))


def test_a_strange_id_in_an_address_is_of_nobody(opened: Open) -> None:
    store = opened()
    with pytest.raises(Rejected) as refused:
        store.search("Observation", [], patient="p\x001")
    assert refused.value.status == 404
    assert not store.exporter().group_exists("g\x00")


def ask_often(store: FhirStore, parameters: list[tuple[str, str]]) -> None:
    for _ in range(50):
        store.search("Observation", parameters)


def answer(store: FhirStore, name: str, text: str) -> int:
    try:
        store.search("Observation", [(name, text), ("_count", "1")])
    except Rejected as error:
        return error.status
    return 200


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_strange_value_is_answered_or_refused(opened: Open, name: str) -> None:
    store = opened()
    texts = [text for value in STRANGE for text in (value, f"a${value}", f"{value}|{value}", f"gt{value}")]
    assert {answer(store, name, text) for text in texts} <= {200, 400}
    assert store.counts()["Observation"] >= 308


def test_a_page_is_bounded_in_bytes_and_the_next_one_goes_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    monkeypatch.setattr(search, "MAX_PAGE_BYTES", 20_000)
    seen: list[str] = []
    following: str | None = None
    while True:
        page = store.search("Observation", [("_count", "200"), *([("_page", following)] if following else [])])
        assert 0 < sum(len(entry.stored.body) for entry in page.entries) <= 20_000
        seen += [entry.stored.id for entry in page.entries]
        following = page.next
        if following is None:
            break
    assert (len(seen), len(set(seen))) == (308, 308)
    everything = store.search("Patient", [("_id", "p1"), ("_revinclude", "Observation:subject")])
    assert 20_000 < sum(len(entry.stored.body) for entry in everything.entries) < 30_000
    assert "included resources are shown" in everything.warnings[0]
    monkeypatch.setattr(search, "MAX_PAGE_BYTES", 1)
    assert len(store.search("Observation", [("_count", "5")]).entries) == 1


def test_pages_show_each_match_once_while_others_write(opened: Open) -> None:
    store = opened()
    wanted = {entry.stored.id for entry in store.search("Observation", [("_count", "200")]).entries}
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            changed = {**observation(3), "id": f"n{number % 300}", "note": [{"text": str(number)}]}
            store.transact(transaction(changed, {**observation(4), "id": f"late{number}"}))

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[str] = []
    start: str | None = None
    try:
        while True:
            marks = [("_page", start)] if start else []
            page = store.search("Observation", [("_sort", "-date"), ("_count", "20"), *marks])
            seen += [entry.stored.id for entry in page.entries]
            start = page.next
            if start is None:
                break
    finally:
        stop.set()
        writer.join()
    assert len(seen) == len(set(seen))
    assert wanted <= set(seen)


def test_a_history_of_everything_shows_each_version_once(opened: Open) -> None:
    store = opened()
    seen: list[tuple[str, str, int]] = []
    page = store.history_page(HistoryQuery(count=50))
    while True:
        seen += [(item.type, item.id, item.version) for item in page.versions]
        if page.next is None:
            break
        page = store.history_page(HistoryQuery(count=50, start=page.next))
    assert len(seen) == len(set(seen)) == page.total
    assert ("Patient", "deleted", 2) in seen
