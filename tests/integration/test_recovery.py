"""The start-up sweep against a real ledger: what a kill left behind ends as if there had been none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dicom.file_meta import FileMetaInputs
from gateway.model import Arrival, Door, Instance, Received
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import Incoming
from gateway.spool.journal import Journal
from gateway.spool.ledger import Ledger
from gateway.spool.recovery import Recovered, recover
from tests import builders
from tests.integration.receiving import data_set_of

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
ARRIVAL = Arrival(door=Door.DIMSE, calling_ae="PET1", called_ae="ISOBRIDGE", peer="127.0.0.1", received_at=NOW)


@pytest.fixture
def files(tmp_path: Path) -> SpoolFiles:
    return SpoolFiles(tmp_path / "spool", reserve_bytes=0, now=lambda: NOW)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    opened.migrate()
    yield opened
    opened.close()


def incoming(files: SpoolFiles) -> Incoming:
    begun = files.incoming(FileMetaInputs(transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae="PET1", called_ae="ISOBRIDGE"))
    begun.write(data_set_of(builders.part10(builders.pet())))
    return begun


def sealed(files: SpoolFiles) -> Instance:
    begun = incoming(files)
    return begun.seal(begun.walk())


def recovered(files: SpoolFiles, ledger: Ledger) -> Recovered:
    return recover(files, ledger.intake, Journal(files, capacity_bytes=0), today="2026-03-01")


def test_a_good_re_send_of_a_refused_object_is_adopted_though_its_row_tells_of_quarantine(
    files: SpoolFiles, ledger: Ledger
) -> None:
    begun = incoming(files)
    refused = begun.quarantine("Not the UID that was announced.", begun.walk())
    ledger.intake.record_arrivals([Received(arrival=ARRIVAL, instance=refused, status=0xA900, reason="Not the UID.")])
    assert recovered(files, ledger).adopted == 0
    assert sealed(files).digest == refused.digest  # it came again in good order; the kill came before the row
    assert recovered(files, ledger).adopted == 1
    assert ledger.overview.counts()["instances"]["received"] == 1
    assert recovered(files, ledger).adopted == 0


def test_a_row_whose_file_is_gone_follows_the_copy_that_came_later(files: SpoolFiles, ledger: Ledger) -> None:
    instance = sealed(files)
    ledger.intake.record_arrivals([Received(arrival=ARRIVAL, instance=instance, status=0)])
    files.now = lambda: NOW + dt.timedelta(days=1)
    files.remove(instance.day, instance.digest)
    again = sealed(files)
    (spare,) = ledger.intake.record_arrivals([Received(arrival=ARRIVAL, instance=again, status=0)])
    assert not files.stands_elsewhere(spare)
    ledger.intake.relocate(spare)
    (found,) = ledger.overview.instances("received", limit=10)
    assert found["day"] == again.day != instance.day
