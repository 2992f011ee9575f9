"""Following an Orthanc by its log of changes: while it receives, over restarts of both sides, and put back to an older copy."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset

from gateway.backfill import follow
from gateway.backfill.build import build_changes
from gateway.backfill.changes import Change, OrthancChanges, Page
from gateway.backfill.follow import Changes, Follow, FollowProgress
from gateway.backfill.taker import SpoolTaker
from gateway.errors import Misconfigured, Retryable
from gateway.receive.direct import DirectDoor
from gateway.receive.door import Door
from gateway.receive.file_stream import Sender
from gateway.source_settings import SourceSettings
from gateway.spool.feeds import Feed
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from tests import builders
from tests.harness.peers import Orthanc
from tests.harness.waiting import until
from tests.integration.ledgers import QUIET
from tests.integration.test_backfill import digest

FEED = Feed(source="past")


def one(name: str, *, day: str = "20250310", modality: str = "PT") -> Dataset:
    dataset = builders.pet() if modality == "PT" else builders.ct()
    dataset.StudyInstanceUID, dataset.StudyDate = builders.uid(f"study/{day}"), day
    dataset.SeriesInstanceUID = builders.uid(f"series/{day}/{modality}")
    dataset.SOPInstanceUID = builders.uid(f"object/{name}")
    return dataset


def digests(*items: Dataset) -> set[str]:
    return {digest(builders.part10(item)) for item in items}


def put(server: Orthanc, *items: Dataset) -> list[str]:
    answers = [requests.post(f"{server.url}/instances", data=builders.part10(item), timeout=10) for item in items]
    return [str(answer.json()["ID"]) for answer in answers]


class House:
    """The spool and the ledger that a follower writes to."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.stop = threading.Event()
        self.files = SpoolFiles(folder / "spool", writer="backfill")
        self.ledger = ledger
        self.told: list[FollowProgress] = []

    def follow(self, changes: Changes, *, night: bool = True, per_minute: int = 0) -> Follow:
        """As after a start of the process: nothing is remembered but by the ledger."""
        direct = DirectDoor(Door(self.files), self.ledger.intake)
        sender = Sender(calling_ae="past", called_ae="ISOBRIDGE")
        taker = SpoolTaker(direct, sender, peer="", per_minute=per_minute, stop=self.stop)
        return Follow(
            self.ledger.feeds, changes, taker, may_work=lambda: night, tell=self.told.append, poll_secs=0.02
        )  # fmt: skip

    def once(self, changes: Changes, feed: Feed = FEED) -> FollowProgress:
        return self.follow(changes).run(feed, self.stop, once=True)

    def held(self) -> set[str]:
        return {name for day in self.files.partitions() for name in self.files.digests(day)}


@pytest.fixture
def house(tmp_path: Path, ledger: Ledger) -> House:
    return House(tmp_path / "gateway", ledger)


@pytest.fixture
def one_house(tmp_path: Path) -> Iterator[House]:
    """With SQLite only: what a source does is the same for both databases."""
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", QUIET)
    opened.migrate()
    yield House(tmp_path / "gateway", opened)
    opened.close()


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_WAIT_SECS", 0.01)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with Orthanc(tmp_path / "orthanc") as server:
        assert isinstance(server, Orthanc)
        yield server


def changes_of(server: Orthanc) -> OrthancChanges:
    return build_changes(SourceSettings(name="past", kind="orthanc", url=server.url))


BEFORE, DURING, WHILE_AWAY = one("before"), [one(f"during {number}") for number in range(5)], one("while away")
LATER = [one(f"later {number}") for number in range(3)]


@pytest.mark.needs("orthanc")
def test_a_real_orthanc_is_followed(one_house: House, orthanc: Orthanc) -> None:
    """One story, so that one Orthanc is enough."""
    while_it_goes_on_receiving(one_house, orthanc)
    copy = orthanc.directory / "copy"
    over_a_restart_of_both_sides(one_house, orthanc, copy)
    put_back_to_an_older_copy(one_house, orthanc, copy)
    replaced_by_an_empty_one(one_house, orthanc)
    within_limits(one_house, orthanc)


def while_it_goes_on_receiving(house: House, orthanc: Orthanc) -> None:
    put(orthanc, BEFORE)
    work = threading.Thread(target=house.follow(changes_of(orthanc)).run, args=(FEED, house.stop))
    work.start()
    sent = [BEFORE]
    for item in DURING:
        until(lambda: house.held() == digests(*sent), "what is there came", secs=20, every_secs=0.02)
        put(orthanc, item)
        sent.append(item)
    until(lambda: house.held() == digests(*sent), "what came meanwhile", secs=20, every_secs=0.02)
    house.stop.set()
    work.join(timeout=20)
    assert not work.is_alive()
    house.stop.clear()


def over_a_restart_of_both_sides(house: House, orthanc: Orthanc, copy: Path) -> None:
    orthanc.stop()
    shutil.copytree(orthanc.directory / "storage", copy)
    orthanc.start()
    put(orthanc, WHILE_AWAY)
    done = house.once(changes_of(orthanc))
    assert (done.objects, done.refused, done.failed) == (1, 0, 0), "only what is new is fetched"
    assert house.held() == digests(BEFORE, *DURING, WHILE_AWAY)


def put_back_to_an_older_copy(house: House, orthanc: Orthanc, copy: Path) -> None:
    """And more comes than was lost: numbers are given a second time, to other objects."""
    orthanc.kill()
    shutil.rmtree(orthanc.directory / "storage")
    copy.rename(orthanc.directory / "storage")
    orthanc.start()
    put(orthanc, *LATER)
    done = house.once(changes_of(orthanc))
    assert done.objects == 3, "only what came after the copy is fetched"
    assert house.held() == digests(BEFORE, *DURING, WHILE_AWAY, *LATER)
    (told,) = house.ledger.feeds.listing()
    assert (told["turned_back"], told["objects"], told["failed"], told["problem"]) == (1, 10, 0, None)
    assert told["cursor"] == told["newest"]


def replaced_by_an_empty_one(house: House, orthanc: Orthanc) -> None:
    orthanc.kill()
    shutil.rmtree(orthanc.directory / "storage")
    orthanc.start()
    put(orthanc, BEFORE, *LATER[:1])
    assert house.once(changes_of(orthanc)).objects == 2, "from the beginning"
    assert house.ledger.overview.counts()["instances"]["received"] == 10, "and nothing twice"
    assert house.held() == digests(BEFORE, *DURING, WHILE_AWAY, *LATER)


def within_limits(house: House, orthanc: Orthanc) -> None:
    ct, old, deleted = one("ct", modality="CT"), one("old", day="20240310"), one("to be deleted")
    gone = put(orthanc, ct, old, deleted)[2]
    requests.delete(f"{orthanc.url}/instances/{gone}", timeout=10).raise_for_status()
    before = house.held()
    house.once(changes_of(orthanc), Feed(source="past", modalities=("CT",)))
    assert house.held() - before == digests(ct)
    house.once(changes_of(orthanc), Feed(source="past", from_day="2024-03-01", to_day="2024-12-31"))
    assert house.held() - before == digests(ct, old)


class Log:
    """A log of changes that does what a test says."""

    def __init__(self, *items: Dataset) -> None:
        self.changes: list[tuple[int, str]] = []
        self.files: dict[str, bytes] = {}
        self.away: set[str] = set()  # handles that answer with an error
        self.is_up = True
        self.newest_number = 0
        self.fetched: list[str] = []
        for item in items:
            self.add(item)

    def add(self, item: Dataset, number: int | None = None) -> str:
        number = number or self.newest_number + 1
        handle = f"object-{item.SOPInstanceUID}"
        self.files[handle] = builders.part10(item)
        self.changes = sorted([*self.changes, (number, handle)])
        self.newest_number = max(self.newest_number, number)
        return handle

    def page(self, since: int, limit: int) -> Page:
        self._answer()
        found = [Change(number=number, mark=f"mark {handle}", handle=handle) for number, handle in self.changes if number > since]
        return Page(changes=found[:limit], newest=found[:limit][-1].number if found[:limit] else self.newest_number)

    def newest(self) -> int:
        return self.newest_number

    def fetch(self, handle: str) -> bytes | None:
        self._answer()
        if handle in self.away:
            raise Retryable("The source refused (HTTP 500).", peer_down=True)
        self.fetched.append(handle)
        return self.files.get(handle)

    def is_wanted(self, handle: str, feed: Feed) -> bool | None:
        return True if handle in self.files else None

    def is_well(self) -> bool:
        return self.is_up

    def _answer(self) -> None:
        if not self.is_up:
            raise Retryable("The source cannot be reached, or its answer broke off.", peer_down=True)


ITEMS = [one(f"item {number}") for number in range(4)]


def test_an_object_that_the_source_cannot_give_holds_no_other_and_is_tried_again_at_the_next_start(house: House) -> None:
    log = Log(*ITEMS)
    log.away = {log.changes[1][1]}
    assert dataclasses.astuple(house.once(log))[:6] == (4, 4, 3, 0, 0, 1)
    assert house.held() == digests(ITEMS[0], *ITEMS[2:])
    assert [item["failed"] for item in house.ledger.feeds.listing()] == [1]
    log.away.clear()
    assert house.once(log).objects == 1
    assert house.held() == digests(*ITEMS)
    assert [item["failed"] for item in house.ledger.feeds.listing()] == [0]
    assert len(log.fetched) == 4


def test_what_is_gone_is_counted_and_what_shows_late_is_taken(house: House) -> None:
    log = Log(*ITEMS[:2])
    del log.files[log.changes[0][1]]
    log.add(ITEMS[3], 5)
    assert (house.once(log).gone, house.held()) == (1, digests(ITEMS[1], ITEMS[3]))
    log.add(ITEMS[2], 4)  # its transaction ended after that of number 5
    assert house.once(log).objects == 1
    assert house.held() == digests(*ITEMS[1:])


def test_changes_that_vanish_with_what_was_deleted_are_no_other_past(house: House) -> None:
    log = Log(*ITEMS[:3])
    house.once(log)
    log.changes = []
    assert house.once(log).objects == 0
    log.add(ITEMS[3])
    assert house.once(log).objects == 1
    assert [item["turned_back"] for item in house.ledger.feeds.listing()] == [0]


def test_a_source_that_is_away_is_waited_for_and_its_problem_shown(house: House) -> None:
    log = Log(*ITEMS[:1])
    log.is_up = False
    with pytest.raises(Retryable):
        house.once(log)
    assert "cannot be reached" in house.ledger.feeds.listing()[0]["problem"]

    def heal(done: FollowProgress) -> None:
        log.is_up = log.is_up or bool(done.problem)
        if done.objects:
            house.stop.set()

    run = house.follow(log)
    run._tell = heal
    run.run(FEED, house.stop)
    assert (house.held(), house.ledger.feeds.listing()[0]["problem"]) == (digests(ITEMS[0]), None)


def test_a_ledger_that_cannot_be_written_for_a_while_is_waited_for(one_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    feeds, failures = one_house.ledger.feeds, iter(range(3))

    def at_times(action: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any, **named: Any) -> None:
            if next(failures, None) is not None:
                raise Retryable("the database could not be written (database or disk is full)")
            action(*arguments, **named)

        return act

    monkeypatch.setattr(feeds, "advance", at_times(feeds.advance))
    monkeypatch.setattr(feeds, "tell_problem", at_times(feeds.tell_problem))

    def heal(done: FollowProgress) -> None:
        if done.objects:
            one_house.stop.set()

    run = one_house.follow(Log(ITEMS[0]))
    run._tell = heal
    run.run(FEED, one_house.stop)
    assert one_house.held() == digests(ITEMS[0])


def test_a_stop_keeps_what_was_taken_and_a_kill_costs_the_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(*ITEMS)
    take = SpoolTaker.take

    def killed(taker: SpoolTaker, part10: bytes) -> None:
        take(taker, part10)
        if len(log.fetched) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(SpoolTaker, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        house.once(log)
    assert house.ledger.feeds.listing()[0]["cursor"] == 0

    def stopped(taker: SpoolTaker, part10: bytes) -> None:
        take(taker, part10)
        house.stop.set()

    monkeypatch.setattr(SpoolTaker, "take", stopped)
    assert (house.once(log).cursor, house.held()) == (1, digests(ITEMS[0]))
    monkeypatch.undo()
    house.stop.clear()
    assert house.once(log).objects == 3
    assert house.held() == digests(*ITEMS)
    assert house.ledger.overview.counts()["instances"]["received"] == 4


def test_nothing_is_asked_outside_the_night_window(house: House) -> None:
    log = Log(*ITEMS)
    ended = threading.Timer(0.1, house.stop.set)
    ended.start()
    house.follow(log, night=False).run(FEED, house.stop)
    ended.join()
    assert log.fetched == []


def test_a_long_log_is_read_page_by_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "WINDOW", 3)
    monkeypatch.setattr(follow, "PAGE", 2)
    items = [one(f"long {number}") for number in range(12)]
    log = Log(*items)
    done = house.once(log)
    assert (done.cursor, done.newest, done.objects, len(log.fetched)) == (12, 12, 12, 12)
    assert house.held() == digests(*items)
    assert {progress.newest for progress in house.told[1:]} == {12}
    log.newest_number, log.changes = 2, log.changes[:2]  # put back far beyond what is remembered
    assert house.once(log).objects == 2, "from the beginning"
    assert [item["turned_back"] for item in house.ledger.feeds.listing()] == [1]


def test_only_an_orthanc_can_be_followed() -> None:
    with pytest.raises(Misconfigured, match="only a source of kind orthanc"):
        build_changes(SourceSettings(name="past", kind="dicom", address="PACS@127.0.0.1:104"))
