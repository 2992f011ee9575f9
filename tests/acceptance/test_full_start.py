"""A start on a disk that is full, with acknowledged objects in the journal: scanners are answered, nothing is lost, room makes all well."""

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
from tests.harness.chaos import Installation
from tests.harness.waiting import free_port, until
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
        until(lambda: scu.echo(target).ok, secs=60)
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


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while os.write(file.fileno(), bytes(size)):
                    pass


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
