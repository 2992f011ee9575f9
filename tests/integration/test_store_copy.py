"""Promises of moving a store and of cohorts."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from gateway.cli import main
from gateway.errors import Misconfigured, Quarantined, Rejected
from gateway.store import FhirStore, copy
from gateway.store.cohort import create_group, delete_group
from gateway.store.copy import copy_store
from tests.fhir_samples import OBSERVATIONS, PATIENT, deletion, filled, transaction


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = filled(FhirStore(url))
    large = {**OBSERVATIONS[0], "id": "many", "note": [{"text": "é😀" * 500}]}
    store.transact(transaction(*({**large, "id": f"many{number}"} for number in range(2500))))
    store.close()
    return url


def answers(url: str) -> list[object]:
    """What a client would see: bodies, versions, history, what searches find and in which order."""
    store = FhirStore(url)
    try:
        found: list[object] = [store.counts(), [item.body for item in store.history("Device", "d1")]]
        for kind, query in (
            ("Observation", [("value-quantity", "gt5"), ("_sort", "-date")]),
            ("Patient", [("name", "mull")]),
            ("ImagingStudy", [("instance", "1.2.840.99.1.1.7"), ("started", "2026-01-31")]),
        ):
            page = store.search(kind, query)
            found.append([(page.total, entry.stored.id, entry.stored.version, entry.stored.body) for entry in page.entries])
        store.transact(transaction({**PATIENT, "id": "new"}))  # and it goes on from there
        found.append(store.read("Patient", "new") is not None)
        return found
    finally:
        store.close()


@pytest.mark.needs("postgres")
def test_a_store_moves_to_postgresql_and_back_and_answers_the_same(source: str, postgres_url: str, tmp_path: Path) -> None:
    there = copy_store(source, postgres_url)
    assert there.rows["res"] == 2513
    back = copy_store(postgres_url, f"sqlite:///{tmp_path / 'back.db'}")
    assert back == there
    assert answers(postgres_url) == answers(f"sqlite:///{tmp_path / 'back.db'}") == answers(source)


def test_a_copy_never_goes_over_what_is_there(source: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path / 'other.db'}"
    FhirStore(target).close()  # started once, nothing in it: that is empty
    copy_store(source, target)
    with pytest.raises(Misconfigured, match="holds resources already"):
        copy_store(source, target)
    with pytest.raises(Misconfigured, match="holds resources already"):
        copy_store(source, source)


def test_a_row_that_came_out_otherwise_is_noticed(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(connection: sa.Connection, table: sa.Table, rows: list[tuple[object, ...]]) -> None:
        names = [column.name for column in table.columns]
        spoilt = [{**dict(zip(names, row, strict=True)), **({"hash": "x"} if table.name == "res" else {})} for row in rows]
        connection.execute(sa.insert(table), spoilt)

    monkeypatch.setattr(copy, "_insert", spoil)
    with pytest.raises(Quarantined, match="not what was copied"):
        copy_store(source, f"sqlite:///{tmp_path / 'other.db'}")


def test_an_unknown_table_is_not_left_behind_in_silence(source: str, tmp_path: Path) -> None:
    engine = sa.create_engine(source)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE other_facts (id INTEGER)"))
    engine.dispose()
    with pytest.raises(Misconfigured, match="other_facts"):
        copy_store(source, f"sqlite:///{tmp_path / 'other.db'}")


def test_the_commands_copy_a_store_and_make_a_cohort(source: str, tmp_path: Path) -> None:
    own = ["--set", f"store.url={source}", "--set", f"data.directory={tmp_path}"]
    copied = CliRunner().invoke(main, ["store", "copy", "--to", f"sqlite:///{tmp_path / 'other.db'}", *own])
    assert copied.exit_code == 0, copied.output
    assert "res: 2513 rows" in copied.output
    assert "sha256:" in copied.output
    made = CliRunner().invoke(main, ["group", "create", "suv", "--where", "Observation?value-quantity=gt5", *own])
    assert (made.exit_code, made.output) == (0, "Group/suv: 1 patients\n")
    assert CliRunner().invoke(main, ["group", "create", "suv", "--where", "nonsense", *own]).exit_code == 1
    assert CliRunner().invoke(main, ["group", "delete", "suv", *own]).exit_code == 0
    assert CliRunner().invoke(main, ["group", "delete", "suv", *own]).exit_code == 2


def test_a_cohort_holds_those_for_whom_every_search_holds(tmp_path: Path) -> None:
    store = filled(FhirStore(f"sqlite:///{tmp_path / 'store.db'}"))
    store.transact(transaction({**PATIENT, "id": "p2", "gender": "male"}))
    store.transact(transaction({**OBSERVATIONS[0], "id": "other", "subject": {"reference": "Patient/p2"}}))
    made = create_group(store, "all", ["Observation?code=126401"])
    assert [member["entity"]["reference"] for member in made["member"]] == ["Patient/p1", "Patient/p2"]
    made = create_group(store, "all", ["Observation?code=126401", "Patient?gender=male"])
    assert [member["entity"]["reference"] for member in made["member"]] == ["Patient/p2"]
    again = create_group(store, "all", ["Patient?gender=male"])
    assert again == made
    stored = store.read("Group", "all")
    assert stored is not None
    assert stored.version == 2  # the same members make no new version
    for name, search in (("a/b", "Patient?gender=male"), ("a", "Patient"), ("a", "Patient?gender=other"), ("a", "Patient?x=1")):
        with pytest.raises(Rejected):
            create_group(store, name, [search])
    store.transact(deletion("Patient", "p2"))
    assert delete_group(store, "all") is True
    assert delete_group(store, "all") is False
    store.close()
