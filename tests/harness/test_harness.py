"""The harness itself can be trusted: the witness writes down the truth, and the account sees every planted fault."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import builders
from tests.harness import snapshot
from tests.harness.account import Account, open_work, settle_account
from tests.harness.crashpoints import Point, points_in
from tests.harness.faultpeers import FakeFhir, FakeOrthanc
from tests.harness.rawscu import Lost, RawAssociation
from tests.harness.snapshot import Snapshot
from tests.harness.witness import Address, Outgoing, Witness, read_log
from tests.integration.test_scu import Peer, peer, pet_files


def _address(running: Peer) -> Callable[[], Address]:
    return lambda: Address(running.address.host, running.address.port, running.address.ae_title)


def test_the_witness_logs_each_object_once_with_the_digest_of_what_arrived(tmp_path: Path) -> None:
    files = pet_files(tmp_path / "in", 9)
    with peer() as running:
        missing = Witness(tmp_path / "log", _address(running), associations=3).send(files, seed=4)
    answers = read_log(tmp_path / "log")
    assert missing == []
    assert {(answer.sop_instance_uid, answer.digest) for answer in answers} == {
        (item.sop_instance_uid, item.digest) for item in map(Outgoing.read, files)
    }
    assert {running.received[item.sop_instance_uid] for item in map(Outgoing.read, files)} == {
        Outgoing.read(path).data_set() for path in files
    }


def test_the_witness_survives_a_lost_connection_and_claims_nothing_that_was_not_answered(tmp_path: Path) -> None:
    files = pet_files(tmp_path / "in", 6)
    with peer(abort_after=3) as running:
        witness = Witness(tmp_path / "log", _address(running), associations=1)
        assert witness.send(files) == []
    assert witness.connections == 2
    assert witness.unanswered == 1
    assert [answer.attempt for answer in read_log(tmp_path / "log")].count(2) == 1


def test_the_witness_sends_again_what_the_receiver_had_no_room_for(tmp_path: Path) -> None:
    files = pet_files(tmp_path / "in", 3)
    with peer(answer=lambda number: 0xA700 if number == 0 else 0) as running:
        assert Witness(tmp_path / "log", _address(running), associations=1).send(files) == []
    statuses = [answer.status for answer in read_log(tmp_path / "log")]
    assert sorted(statuses) == [0, 0, 0, 0xA700]


def test_the_witness_gives_up_at_its_deadline_and_says_what_it_could_not_send(tmp_path: Path) -> None:
    files = pet_files(tmp_path / "in", 2)
    witness = Witness(tmp_path / "log", lambda: None, deadline_secs=0.1)
    assert sorted(witness.send(files)) == sorted(files)


def test_a_large_object_goes_out_in_many_fragments_and_arrives_whole(tmp_path: Path) -> None:
    path = builders.write(builders.pet(PixelData=bytes(range(256)) * 2000), tmp_path / "big.dcm")
    item = Outgoing.read(path)
    with peer() as running:
        where = (running.address.host, running.address.port)
        with RawAssociation(where, [item.context], called_ae="PEER") as association:
            assert association.store(item.context, item.sop_instance_uid, item.data_set()) == 0
    assert running.received[item.sop_instance_uid] == item.data_set()


def test_a_rejection_is_a_loss() -> None:
    with peer(require_called="PEER") as running, pytest.raises(Lost, match="rejected"):
        RawAssociation((running.address.host, running.address.port), [("1.2", "1.2")], called_ae="OTHER")


def test_a_log_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    line = json.dumps({"sop_instance_uid": "1.2", "digest": "00", "status": 0, "path": "x", "attempt": 1})
    (tmp_path / "log").write_text(f"{line}\n{line[:20]}")
    assert len(read_log(tmp_path / "log")) == 1


# --- the account ---


class Books:
    """A data directory, a log and a store that agree with each other, for faults to be planted in."""

    def __init__(self, directory: Path) -> None:
        self.log, self.data = directory / "log", directory / "data"
        self.items = [Outgoing.read(path) for path in pet_files(directory / "in", 4)]
        (self.data / "spool" / "2026-03-10").mkdir(parents=True)
        for item in self.items:
            shutil.copy(item.path, self.file(item))
        lines = [
            {"sop_instance_uid": item.sop_instance_uid, "digest": item.digest, "status": 0, "path": "x", "attempt": 1}
            for item in self.items
        ]
        self.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with closing(sqlite3.connect(self.data / "ledger.db")) as database, database:
            database.executescript(
                "CREATE TABLE instance (sop_instance_uid TEXT, digest BLOB, state TEXT);"
                "CREATE TABLE study (next_quiet_at REAL); CREATE TABLE dossier (next_quiet_at REAL);"
                "CREATE TABLE delivery (state TEXT);"
            )
            rows = [(item.sop_instance_uid, bytes.fromhex(item.digest), "normalised") for item in self.items]
            database.executemany("INSERT INTO instance VALUES (?, ?, ?)", rows)
        self.resources: Snapshot = {}
        self.publish("s1", self.items)

    def file(self, item: Outgoing) -> Path:
        return self.data / "spool" / "2026-03-10" / f"{item.digest}.dcm"

    def publish(self, name: str, items: list[Outgoing], **more: Any) -> None:
        instances = [{"uid": item.sop_instance_uid} for item in items]
        study = {"resourceType": "ImagingStudy", "id": name, "series": [{"uid": "1", "instance": instances}]}
        self.resources[f"ImagingStudy/{name}"] = study | more

    def execute(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.data / "ledger.db")) as database, database:
            database.execute(statement, values)

    def settle(self) -> Account:
        return settle_account(self.log, self.data, self.resources)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_books_that_agree_balance(books: Books) -> None:
    account = books.settle()
    assert account.balanced, account.table()
    assert (account.acknowledged, account.spooled, account.published, account.parked) == (4, 4, 4, 0)


def test_a_lost_file_is_seen(books: Books) -> None:
    books.file(books.items[0]).unlink()
    assert any("not in the spool" in line for line in books.settle().complaints)


def test_a_changed_byte_is_seen(books: Books) -> None:
    path = books.file(books.items[0])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    complaints = books.settle().complaints
    assert any("bytes differ" in line for line in complaints)
    assert any("not in the spool" in line for line in complaints)


def test_a_missing_row_is_seen(books: Books) -> None:
    books.execute("DELETE FROM instance WHERE sop_instance_uid = ?", books.items[0].sop_instance_uid)
    assert any("without a row" in line for line in books.settle().complaints)


def test_an_object_that_is_neither_published_nor_parked_is_seen(books: Books) -> None:
    books.publish("s1", books.items[1:])
    assert any("neither published nor parked" in line for line in books.settle().complaints)


def test_a_parked_object_balances(books: Books) -> None:
    books.execute("UPDATE instance SET state = 'quarantined' WHERE sop_instance_uid = ?", books.items[0].sop_instance_uid)
    books.publish("s1", books.items[1:])
    account = books.settle()
    assert account.balanced, account.table()
    assert (account.published, account.parked) == (3, 1)


def test_an_object_in_two_studies_is_seen(books: Books) -> None:
    books.publish("s2", books.items[:1])
    assert any("listed 2 times" in line for line in books.settle().complaints)


def test_one_identifier_on_two_resources_is_seen(books: Books) -> None:
    identifier = {"identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}]}
    books.publish("s1", books.items, **identifier)
    books.publish("s2", [], **identifier)
    assert any("one identifier" in line for line in books.settle().complaints)


def test_work_that_is_still_open_is_seen(books: Books) -> None:
    books.execute("INSERT INTO study VALUES (1.0)")
    books.execute("INSERT INTO delivery VALUES ('pending')")
    assert open_work(books.data / "ledger.db") == ["1 studies not yet sealed", "1 deliveries under way"]
    assert not books.settle().balanced


# --- the snapshot ---


def test_two_snapshots_differ_only_in_what_matters() -> None:
    left = {"resourceType": "Patient", "id": "1", "meta": {"versionId": "1", "lastUpdated": "a"}, "gender": "male"}
    right = {"resourceType": "Patient", "id": "1", "meta": {"versionId": "7", "lastUpdated": "b"}, "gender": "female"}
    first, second = ({"Patient/1": snapshot.canonical(resource)} for resource in (left, right))
    assert snapshot.differences(first, second) == ["differs: Patient/1: gender"]
    assert snapshot.differences(first, {}) == ["only left: Patient/1"]
    assert "recorded" not in snapshot.canonical({"resourceType": "Provenance", "id": "1", "recorded": "a"})
    assert left["meta"] == {"versionId": "1", "lastUpdated": "a"}, "the original is left alone"


# --- the servers that misbehave ---


def test_what_comes_twice_is_seen_by_the_fake_servers() -> None:
    archive, facts = FakeOrthanc(), FakeFhir()
    content = builders.part10(builders.pet())
    patient = {"resourceType": "Patient", "id": "a", "identifier": [{"system": "s", "value": "1"}]}

    def put(key: str) -> None:
        entry = {"request": {"method": "PUT", "url": f"Patient/{key}"}, "resource": {**patient, "id": key}}
        body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}).encode()
        assert facts.answer("POST", "/fhir", "", body)[0] == 200

    archive.answer("POST", "/instances", "", content)
    put("a")
    assert archive.twice() == facts.twice() == []
    archive.answer("POST", "/instances", "", content)
    put("a")
    put("b")
    assert len(archive.twice()) == 1
    assert facts.twice() == ["the same once more: Patient/a", "one identifier on 2: Patient"]


def test_a_recording_names_each_call_of_a_thread_and_of_page_writes_the_last(tmp_path: Path) -> None:
    lines = (
        '7 openat(AT_FDCWD, "a", O_RDONLY) = 3',
        '7 openat(AT_FDCWD, "b", O_RDWR|O_CREAT, 0600) = 4',
        '8 pwrite64(5, "x", 24, 32) = 24',
        "7 fsync(4 <unfinished ...>",
        '8 pwrite64(5, "x", 4096, 56) = 4096',
        "7 <... fsync resumed>) = 0",
        "8 fdatasync(5) = 0",
        '7 mkdir("d", 0700) = -1 EEXIST (File exists)',
    )
    (tmp_path / "trace").write_text("\n".join(lines))
    found = points_in(tmp_path / "trace", [7, 8])
    assert found == [Point(0, "openat", 2), Point(0, "fsync", 1), Point(1, "pwrite64", 2), Point(1, "fdatasync", 1)]
