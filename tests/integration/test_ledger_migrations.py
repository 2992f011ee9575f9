"""A ledger of an earlier release, with rows in it, becomes one of this release and loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from gateway.errors import Misconfigured
from gateway.spool import bodies
from gateway.spool.ledger import MIGRATIONS, Ledger
from tests.integration.ledgers import NOW
from tests.integration.test_ledger_contract import received

#: Ids are given by the database: they count from 1 in this order.
FIRST = [
    "INSERT INTO series (series_uid, study_uid, sop_class_uid, transfer_syntax_uid) VALUES ('1.2.1.1', '1.2.1', 'c', 't')",
    """INSERT INTO instance (series_id, sop_instance_uid, digest, day, size_bytes, state, reason) VALUES
    (1, '1.2.3.1', :a, '2023-11-14', 10, 'normalised', NULL), (1, '1.2.3.2', :b, '2023-11-14', 10, 'conflict', 'two patients'),
    (1, '1.2.3.1', :c, '2023-11-14', 11, 'conflict', 'other content'), (1, '1.2.3.4', :d, '2023-11-14', 10, 'quarantined', 'cut')""",
    "INSERT INTO shared (key, patient_key, study_uid, body) VALUES ('k1', 'sys|P1', '1.2.1', :body), ('k2', 'sys|P2', '1.2.1', :body)",
    "INSERT INTO record (instance_id, shared_id, fields) VALUES (1, 1, :fields), (2, 2, :fields)",
    "INSERT INTO study (uid, patient_key, next_quiet_at, open_since) VALUES ('1.2.1', 'sys|P1', 5, 1)",
    "INSERT INTO dossier (patient_key, next_quiet_at) VALUES ('sys|P1', NULL)",
    """INSERT INTO delivery (target, instance_id, variant, partition_key, state, created_at, next_attempt_at)
    VALUES ('orthanc', 1, 'original', 'sys|P1', 'verified', 0, 0)""",
]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """As the first release left it."""
    sqlite = f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = first_release(url)
    yield opened
    opened.close()


def first_release(url: str) -> Ledger:
    opened = Ledger(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    shared = received(1).instance
    device = {"manufacturer": "GE", "serial": "1"}
    values = {
        **{name: name.encode() * 32 for name in "abcd"},
        "body": bodies.pack(
            {"key": "k", "mapping": "m", "mapping_version": "1", "patient": {}, "study": {}, "series": {}, "device": device}
        ),
        "fields": bodies.pack_small({"uid": shared.sop_instance_uid}),
    }  # fmt: skip
    with opened.database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST:
            connection.execute(sa.text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
    return opened


def ask(ledger: Ledger, question: str) -> list[Any]:
    with ledger.database.read() as connection:
        return [tuple(row) for row in connection.execute(sa.text(question))]


def test_every_row_is_kept_and_every_conflict_learns_its_reason(ledger: Ledger) -> None:
    before = ask(
        ledger, "SELECT id, series_id, sop_instance_uid, digest, day, size_bytes, state, reason FROM instance ORDER BY id"
    )
    ledger.migrate()
    assert (
        ask(ledger, "SELECT id, series_id, sop_instance_uid, digest, day, size_bytes, state, reason FROM instance ORDER BY id")
        == before
    )
    assert ask(ledger, "SELECT id, held_for FROM instance ORDER BY id") == [
        (1, None),
        (2, "patient"),
        (3, "comparison"),
        (4, None),
    ]
    assert ask(ledger, "SELECT original_key FROM shared ORDER BY id") == [("sys|P1",), ("sys|P2",)]
    assert ask(ledger, "SELECT next_quiet_at, changes, withdrawn, decided_key FROM study") == [(5, 0, 0, None)]
    assert ask(ledger, "SELECT target, instance_id FROM delivery") == [("orthanc", 1)]
    ledger.migrate()  # once is enough


def test_the_migrated_ledger_holds_its_promises(ledger: Ledger) -> None:
    ledger.migrate()
    for broken in (
        "UPDATE instance SET state = 'nonsense' WHERE id = 1",
        "UPDATE instance SET held_for = 'patient' WHERE id = 1",
        "UPDATE instance SET state = 'normalised', held_for = NULL WHERE id = 3",  # a second content in force
        "INSERT INTO record (instance_id, shared_id, fields) VALUES (99, 1, '')",  # a reference to nothing
        "DELETE FROM instance WHERE id = 1",  # records and deliveries refer to it
    ):
        with pytest.raises(sa.exc.DBAPIError), ledger.database.engine.begin() as connection:
            connection.execute(sa.text(broken))
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE instance SET state = 'variant', held_for = NULL WHERE id = 3"))
    ledger.intake.record_arrivals([received(7)])
    assert len(ledger.stages.lease(limit=5, now=NOW, lease_secs=60)) == 1


def test_a_ledger_with_dangling_rows_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    """On SQLite, where another program may have written without checking; PostgreSQL never has such rows."""
    ledger = first_release(f"sqlite:///{tmp_path / 'ledger.db'}")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as careless:
        careless.execute("INSERT INTO record (instance_id, shared_id, fields) VALUES (77, 1, '')")
        careless.commit()
    with pytest.raises(Misconfigured, match="rows that are not there"):
        ledger.migrate()
    assert ask(ledger, "SELECT version_num FROM alembic_version") == [("0001",)]
    ledger.close()


def test_scanners_that_sent_before_need_no_approval(ledger: Ledger) -> None:
    ledger.migrate()
    (scanner,) = ledger.shadows.scanners()
    assert (scanner.scanner.manufacturer, scanner.scanner.serial) == ("GE", "1")
    assert scanner.approved_at is not None
