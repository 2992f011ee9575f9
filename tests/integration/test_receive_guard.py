"""What keeps one caller from taking what belongs to others: rates, addresses, marks of free space, and limits of single callers."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from gateway.errors import Retryable
from gateway.model import Instance, Received
from gateway.receive import objects
from gateway.receive.pressure import CONGESTED, Pressure
from gateway.receive.settings import CallerPolicy, ReceiveSettings
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import Inflated
from tests import builders
from tests.harness import corpus, corpus_wire
from tests.harness.corpus import Case
from tests.harness.lines import Quiet, Talk
from tests.integration.receiving import (
    EXPLICIT,
    PET,
    VERIFICATION,
    WAIT_SECS,
    MemoryRows,
    RawPeer,
    data_set_of,
    p_data,
    pdv,
    raw_peer,
    receiving,
    simple_command,
    store_command,
)

ABORT, REJECT, ACCEPT = 7, 3, 2
_BUSY, _CONGESTED = bytes([2, 3, 2]), bytes([2, 3, 1])  # PS3.8 table 9-21: transient, presentation


def test_a_sample_of_the_corpus_is_answered_over_one_association_each(tmp_path: Path) -> None:
    """Every twelfth case: status and reason reach the sender, what is refused lies in quarantine, the association goes on."""
    chosen = [case for case in list(corpus.cases())[::12] if "number/" not in case.name]
    assert {case.status for case in chosen} == {0x0000, 0xA900, 0xC000}
    by_syntax: dict[tuple[str, str], list[Case]] = {}
    for case in chosen:
        by_syntax.setdefault((case.negotiated_class, case.syntax), []).append(case)
    wrong: list[str] = []
    with receiving(tmp_path) as receiver:
        for (sop_class, syntax), cases in by_syntax.items():
            with raw_peer(receiver) as peer:
                assert peer.associate((sop_class, [syntax]))[0] == ACCEPT
                for case in cases:
                    status, comment = peer.store(case.announced_class, case.announced_instance, case.build())
                    if status != case.status or bool(comment) is (status == 0):
                        wrong.append(f"{case.name}: {status:04X} '{comment}' instead of {case.status:04X}")
        assert wrong == []
        kept = receiver.rows.wait_for(len(chosen))
        assert sum(one.reason is not None for one in kept) == sum(case.status != 0 for case in chosen)
        quarantined = {path.stem for path in receiver.stored(quarantined=True)}
        assert quarantined == {one.instance.digest for one in kept if one.reason}
        assert all(receiver.files.read_note(one.instance.day, one.instance.digest) for one in kept if one.reason)


def test_an_object_that_comes_in_drops_is_broken_off(tmp_path: Path) -> None:
    """Whole PDUs, so that none is late; below the minimum rate all the same."""
    with receiving(tmp_path, pdu_timeout_secs=0.4) as receiver, raw_peer(receiver) as slow, raw_peer(receiver) as quick:
        for peer in (slow, quick):
            peer.associate()
            peer.sock.sendall(p_data(pdv(1, 3, store_command(PET, "1.2.3"))))
        slow.sock.settimeout(0.05)
        started = time.monotonic()
        while not _is_over(slow):
            assert time.monotonic() - started < 8
            slow.sock.sendall(p_data(pdv(1, 0, b"\0\0")))
            quick.sock.sendall(p_data(pdv(1, 0, bytes(4000))))
        quick.sock.sendall(p_data(pdv(1, 2, b"")))
        assert quick.read_response()[1] == 0xC000  # zeros are no object, but its rate was well
        assert receiver.incoming == []


def _is_over(peer: RawPeer) -> bool:
    try:
        return peer.sock.recv(10)[:1] in (b"", bytes([ABORT]))
    except TimeoutError:
        return False


def test_answers_that_nobody_reads_are_not_kept_for_ever(tmp_path: Path) -> None:
    """Fewer than would end it by their number: after the time of one PDU it is closed."""
    talk = Talk(Quiet(tmp_path, pdu_timeout_secs=30))
    talk.say(corpus_wire.request())
    talk.blocks = True
    talk.say(corpus_wire.ECHO * 3)
    now = time.monotonic()
    assert talk.connection.is_overdue(now + 29) is None
    assert talk.connection.is_overdue(now + 31) == "answers were not read in time"
    talk.blocks = False
    talk.say(corpus_wire.ECHO)
    assert talk.connection.is_overdue(now + 31) is None


def test_one_address_cannot_take_all_places(tmp_path: Path) -> None:
    host = Quiet(tmp_path, max_associations=10, max_associations_per_address=4)
    for from_peer, outcome in ((3, "open"), (4, "rejected")):
        host.open, host.from_peer = from_peer, from_peer
        talk = Talk(host)
        talk.say(corpus_wire.request())
        assert talk.outcome() == outcome
    assert next(talk.said())[1][1:4] == _BUSY
    only_echo = Talk(host)
    only_echo.say(corpus_wire.request(corpus_wire.context(1, VERIFICATION, EXPLICIT), corpus_wire.user()))
    assert only_echo.outcome() == "open"


def test_associations_are_counted_by_address_until_they_end(tmp_path: Path) -> None:
    with receiving(tmp_path, max_associations_per_address=1) as receiver:
        with raw_peer(receiver) as first, raw_peer(receiver) as second:
            assert first.associate()[0] == ACCEPT
            kind, body = second.associate()
            assert (kind, body[1:4]) == (REJECT, _BUSY)
        deadline = time.monotonic() + 10
        while True:
            with raw_peer(receiver) as later:
                if later.associate()[0] == ACCEPT:
                    break
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("networks", "peer", "admitted"),
    [
        (["192.0.2.0/24"], "192.0.2.9", True),
        (["192.0.2.0/24"], "198.51.100.9", False),
        (["198.51.100.0/24", "192.0.2.9/32"], "192.0.2.9", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.9", True),  # a socket for both families says it so
        (["2001:db8::/32"], "2001:db8::7", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["192.0.2.0/24"], "2001:db8::7", False),
        (["192.0.2.0/24"], "", False),
        ([], "anywhere", True),
    ],
)
def test_a_title_may_call_from_its_networks_only(tmp_path: Path, networks: list[str], peer: str, admitted: bool) -> None:
    policy = CallerPolicy(networks=tuple(map(ip_network, networks)))
    talk = Talk(Quiet(tmp_path, callers={"CORPUS": policy}), peer)
    talk.say(corpus_wire.request())
    assert talk.outcome() == ("open" if admitted else "rejected")
    if not admitted:
        assert next(talk.said())[1][1:4] == bytes([1, 1, 3])  # permanent, calling AE title not recognised
    other = Talk(talk.host, peer)
    other.say(corpus_wire.request(calling=b"SOMEBODY"))
    assert other.outcome() == "open"


def test_a_caller_has_its_own_patience(tmp_path: Path) -> None:
    host = Quiet(tmp_path, callers={"CORPUS": CallerPolicy(pdu_timeout_secs=2, idle_timeout_secs=5)})
    named, other = Talk(host), Talk(host)
    named.say(corpus_wire.request())
    other.say(corpus_wire.request(calling=b"SOMEBODY"))
    now = time.monotonic()
    assert named.connection.is_overdue(now + 4) is None
    assert named.connection.is_overdue(now + 6) == "idle for too long"
    assert other.connection.is_overdue(now + 800) is None
    for talk in (named, other):
        talk.say(struct.pack(">BxI", 4, 100))
    assert named.connection.is_overdue(now + 3) == "a message did not come to its end in time"
    assert other.connection.is_overdue(now + 20) is None
    assert ReceiveSettings(callers=host.settings.callers).shortest_timeout_secs() == 2


def test_marks_of_free_space_warn_then_reject_then_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order matters: a caller that cannot connect keeps its copy, one that is refused may not."""
    free = {"bytes": 900}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free["bytes"], f_frsize=1))
    uid = "1.2.3.4.5.6"
    with receiving(tmp_path, reserve_bytes=100, reject_bytes=200, warn_bytes=400) as receiver, capture_logs() as told:
        with raw_peer(receiver) as early, raw_peer(receiver) as late, raw_peer(receiver) as echo:
            assert early.associate()[0] == ACCEPT
            free["bytes"] = 300
            assert early.store(PET, uid, corpus.sound())[0] == 0x0000
            free["bytes"] = 150
            kind, body = late.associate()
            assert (kind, body[1:4]) == (REJECT, _CONGESTED)
            assert echo.associate((VERIFICATION, [EXPLICIT]))[0] == ACCEPT
            echo.sock.sendall(p_data(pdv(1, 3, simple_command(0x0030))))
            assert echo.read_response()[1] == 0x0000
            assert early.store(PET, uid, corpus.sound())[0] == 0x0000  # what is open may go on
            free["bytes"] = 50
            assert _status_soon(early, uid, 0xA700)
            free["bytes"] = 900
            assert _status_soon(early, uid, 0x0000)
        with raw_peer(receiver) as again:
            assert again.associate()[0] == ACCEPT
    actions = [line["event"] for line in told if str(line["event"]).startswith("spool_")]
    assert actions[-1] == "spool_has_room"
    assert "spool_rejects" in actions


def _status_soon(peer: RawPeer, uid: str, wanted: int) -> bool:
    """Free space is believed for a tenth of a second."""
    deadline = time.monotonic() + 5
    while (status := peer.store(PET, uid, corpus.sound())[0]) != wanted and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return status == wanted


class SlowRows(MemoryRows):
    """A ledger that is not down, but does not come to an end either, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
        assert self.may_end.wait(WAIT_SECS)
        return super().record_arrivals(batch)


@pytest.mark.parametrize(("journal_bytes", "most"), [(0, 8 + 2), (1 << 20, 2000)])
def test_rows_that_wait_for_a_slow_ledger_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal_bytes: int, most: int
) -> None:
    """What is durable waits for its row in memory: beyond the limit new objects are refused for now, and nothing is forgotten.

    With a journal it waits for its own file first, so the limit is noticed later.
    """
    monkeypatch.setattr(objects, "_ROWS_MOST", 8)
    rows, uid = SlowRows(), "1.2.3.4.5.6"

    def other_content(number: int) -> bytes:
        return corpus.sound(corpus.element(0x00100020, "LO", f"{number:04}".encode()))

    with receiving(tmp_path, rows=rows, journal_bytes=journal_bytes) as receiver:
        with raw_peer(receiver) as peer, raw_peer(receiver) as echo:
            assert peer.associate()[0] == ACCEPT
            assert echo.associate((VERIFICATION, [EXPLICIT]))[0] == ACCEPT
            answers: list[int] = []
            while 0xA700 not in answers:
                answers.append(peer.store(PET, uid, other_content(len(answers)))[0])
                assert len(answers) <= most, "not far beyond the limit"
            taken = len(answers) - 1
            assert (set(answers[:-1]), taken > 8) == ({0x0000}, True)
            echo.sock.sendall(p_data(pdv(1, 3, simple_command(0x0030))))
            assert echo.read_response()[1] == 0x0000, "C-ECHO is answered all the same"
            rows.may_end.set()
            assert _status_soon(peer, uid, 0x0000), "it opens by itself"
        received = rows.wait_for(taken + 1)
    told = {item.instance.digest for item in received}
    assert told >= {hashlib.sha256(EXPLICIT.encode() + other_content(number)).hexdigest() for number in range(taken)}


def test_each_mark_is_logged_once_when_it_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 0}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free["bytes"], f_frsize=1))
    pressure = Pressure(tmp_path, warn_bytes=400, reject_bytes=200)
    with capture_logs() as told:
        seen = [(900, None), (300, None), (300, None), (100, CONGESTED), (100, CONGESTED), (300, None), (900, None)]
        for free["bytes"], answer in seen:
            assert pressure.look() == answer
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("spool_fills", "warning"), ("spool_rejects", "warning"), ("spool_fills", "info"), ("spool_has_room", "info"),
    ]  # fmt: skip
    assert Pressure(tmp_path, warn_bytes=0, reject_bytes=0).look() is None


def test_associations_that_send_at_once_are_served_alike(tmp_path: Path) -> None:
    """One association with large objects, three with small ones: nobody waits until another has finished."""
    large = builders.pet(SOPInstanceUID="1.2.9", PixelData=bytes(6 << 20))
    small = builders.pet(SOPInstanceUID="1.2.8")
    stop = threading.Event()
    waits: list[float] = []

    def greedy(port_of: Any) -> None:
        with raw_peer(port_of) as peer:
            peer.associate()
            while not stop.is_set():
                assert peer.store(PET, "1.2.9", data, fragment_bytes=131_000)[0] == 0x0000

    data, little = data_set_of(builders.part10(large)), data_set_of(builders.part10(small))
    with receiving(tmp_path, journal_bytes=8 << 20) as receiver:
        threads = [threading.Thread(target=greedy, args=(receiver,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        with raw_peer(receiver) as modest:
            modest.associate()
            for _ in range(25):
                started = time.monotonic()
                assert modest.store(PET, "1.2.8", little)[0] == 0x0000
                waits.append(time.monotonic() - started)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert sorted(waits)[len(waits) // 2] < 1.0


def test_a_compressed_object_grows_on_the_disk_not_in_memory(tmp_path: Path) -> None:
    """A hundred megabytes of pixels in a hundred kilobytes: walked in a file without a name, gone afterwards."""
    files = SpoolFiles(tmp_path, reserve_bytes=0)
    inflated = Inflated(files)
    before = psutil.Process().memory_info().rss
    for _ in range(100):
        inflated.write(bytes(1 << 20))
    view = inflated.buffer()
    assert len(view) == 100 << 20
    assert psutil.Process().memory_info().rss - before < 32 << 20
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    view.close()
    with pytest.raises(Retryable, match="nearly full"):
        Inflated(SpoolFiles(tmp_path, reserve_bytes=1 << 60)).write(b"A")
