"""A disk that is full: at a start with acknowledged objects in the journal, and at work, to any byte.

Scanners are answered, nothing is lost, room makes all well.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.dicom.file_meta import FileMetaInputs
from gateway.roles.child import process_name
from gateway.spool.files import SpoolFiles
from gateway.spool.journal import Journal
from gateway.spool.ledger import Ledger
from gateway.workbench import scu
from gateway.workbench.ae_address import AEAddress
from tests import builders
from tests.harness import snapshot
from tests.harness.account import settle, settle_account
from tests.harness.chaos import Installation
from tests.harness.waiting import free_port, until
from tests.harness.witness import Witness, address_in, read_log
from tests.integration.receiving import PET, data_set_of, raw_peer_at

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


@pytest.mark.timeout(240)
def test_a_receiver_that_starts_on_a_full_disk_answers_and_replays_when_there_is_room(disk: Path) -> None:
    port = free_port()
    settings: dict[str, dict[str, object]] = {
        "receive": {"bind": f"127.0.0.1:{port}"},
        "spool": {"reserve_megabytes": 1, "reject_megabytes": 0, "journal_megabytes": 8},
    }
    gateway = Installation(disk / "gateway", settings=settings)
    gateway.start()
    gateway.kill()
    acknowledged = fill_journal(gateway.data / "spool", 12)
    ballast = disk / "ballast"
    fill(ballast)
    gateway.launch()  # ready it will not be; the port is what counts
    try:
        target = AEAddress(ae_title="ISOBRIDGE", host="127.0.0.1", port=port)
        answers_echo(gateway, target)
        receiver = role(gateway, "receive")
        dataset = builders.pet(SOPInstanceUID="1.2.3.4.99")
        encoded = data_set_of(builders.part10(dataset))
        with raw_peer_at(port) as peer:
            peer.associate()
            for _ in range(3):
                code, comment = peer.store(PET, "1.2.3.4.99", encoded)
                assert code == 0xA700
                assert "wait for room" in comment
                time.sleep(1)  # several looks for room: the process must live through them
        assert role(gateway, "receive") == receiver
        ballast.unlink()
        until(lambda: stored(port, encoded), secs=60)
        assert role(gateway, "receive") == receiver
        until(lambda: acknowledged <= known(gateway), secs=60)
    finally:
        gateway.kill()


def answers_echo(gateway: Installation, target: AEAddress) -> None:
    try:
        until(lambda: scu.echo(target).ok)
    except AssertionError as error:
        error.add_note(gateway.log_tail())
        raise


#: Bytes that are left free: nothing, less than a page, a page more each time, and room for some of the objects but not for all.
OFFSETS = (0, 1, 4095, *range(4096, 16 * 4096, 4096), 100_000, 200_000, 400_000, 800_000, 1_300_000, 1_600_000, 2_500_000)
SIZES_BYTES = (0, 3_000, 60_000, 500_000, 1_200_000)  #: of pixels; the last streams to its file


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_at_any_offset_refuses_what_it_cannot_keep_and_loses_nothing(disk: Path, tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {
        "spool": {"reserve_megabytes": 0, "journal_megabytes": 4},
        "retention": {"scrub": False},
        "work": {"lease_secs": 2},
    }
    ballast, log, refusals, slowest, longest = disk / "ballast", tmp_path / "witness.jsonl", 0, 0.0, 0.0
    with Installation(disk / "gateway", settings=settings) as gateway:
        for number, offset in enumerate(OFFSETS):
            files = [_sized(tmp_path / f"{number}-{size}.dcm", size) for size in SIZES_BYTES]
            fill(ballast, leave_bytes=offset)
            hasty = Witness(log, address_in(gateway.run_file), associations=2, deadline_secs=0.3)
            refused = hasty.send(files)
            ballast.unlink()
            began = time.monotonic()
            assert Witness(log, address_in(gateway.run_file), associations=2, deadline_secs=30).send(refused) == [], (
                "there is room"
            )
            refusals += bool(refused)
            slowest, longest = max(slowest, hasty.slowest_secs), max(longest, time.monotonic() - began)
        assert {answer.status for answer in read_log(log)} == {0x0000, 0xA700}
        assert settle(gateway.data) == []
        account = settle_account(log, gateway.data, snapshot.fetch(gateway.fhir_url))
    print(
        f"{len(OFFSETS)} offsets, {refusals} with refusals; slowest answer {slowest:.2f} s, work taken up {longest:.2f} s after room"
    )
    print(account.table())
    assert account.balanced, account.table()
    assert account.acknowledged == account.spooled == account.published + account.parked == len(OFFSETS) * len(SIZES_BYTES)
    assert refusals >= len(OFFSETS) // 2
    assert len(OFFSETS) == 25


def _sized(path: Path, pixels_bytes: int) -> Path:
    uid = builders.uid(path.stem)
    dataset = builders.pet(
        SOPInstanceUID=uid, StudyInstanceUID=builders.uid("full"), SeriesInstanceUID=builders.uid("full-series")
    )
    if pixels_bytes:
        dataset.PixelData = bytes(pixels_bytes)
    return builders.write(dataset, path)


def fill_journal(spool: Path, count: int) -> set[str]:
    """What a killed receiver leaves: acknowledged objects without files."""
    files = SpoolFiles(spool, reserve_bytes=0, now=lambda: dt.datetime.now(dt.UTC))
    journal = Journal(files, capacity_bytes=8 << 20)
    journal.prepare()
    uids = set()
    for number in range(count):
        uid = f"1.2.3.4.{number + 1}"
        meta = FileMetaInputs(transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae="PETCT1", called_ae="ISOBRIDGE")
        incoming = files.incoming(meta)
        incoming.write(data_set_of(builders.part10(builders.pet(SOPInstanceUID=uid))))
        incoming.stage(incoming.walk(), None)
        assert journal.append([incoming]) is not None
        incoming.discard()
        uids.add(uid)
    journal.close()
    return uids


def fill(ballast: Path, *, leave_bytes: int = 0) -> None:
    """Take all room of a disk but ``leave_bytes``, rounded up to whole pages."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while os.write(file.fileno(), bytes(size)):
                    pass
        file.truncate(max(0, file.tell() - leave_bytes))


def stored(port: int, encoded: bytes) -> bool:
    try:
        with raw_peer_at(port) as peer:
            peer.associate()
            return peer.store(PET, "1.2.3.4.99", encoded)[0] == 0x0000
    except (OSError, AssertionError):
        return False  # aborted while the receiver changes over


def role(gateway: Installation, name: str) -> int:
    children = psutil.Process(gateway.pid).children()
    return next(child.pid for child in children if child.name() == process_name(name))


def known(gateway: Installation) -> set[str]:
    ledger = Ledger(f"sqlite:///{gateway.data / 'ledger.db'}")
    try:
        states = ("received", "normalised", "quarantined")
        return {item["sop_instance_uid"] for state in states for item in ledger.overview.instances(state, limit=1000)}
    finally:
        ledger.close()
