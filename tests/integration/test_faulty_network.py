"""The receiver behind a network that breaks: what was acknowledged stands in the spool, and every sender gets through in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import builders
from tests.harness.faultproxy import Fault, FaultProxy, Script
from tests.harness.rawscu import Lost, RawAssociation
from tests.harness.waiting import until
from tests.harness.witness import Address, Outgoing, Witness, read_log
from tests.integration.receiving import receiving

JOURNAL_BYTES = 4 << 20


def _objects(directory: Path, count: int) -> list[Path]:
    return [builders.write(one, directory / f"{number}.dcm") for number, one in enumerate(builders.pet_series(count))]


@pytest.mark.parametrize("fault", [Fault.CHUNKS, Fault.DELAY])
def test_an_odd_network_changes_nothing(tmp_path: Path, fault: Fault) -> None:
    files, log = _objects(tmp_path / "objects", 6), tmp_path / "log"
    with (
        receiving(tmp_path / "spool", journal_bytes=JOURNAL_BYTES) as receiver,
        FaultProxy(("127.0.0.1", receiver.port)) as proxy,
    ):
        proxy.set(Script(fault=fault, delay_secs=0.02))
        assert Witness(log, lambda: Address("127.0.0.1", proxy.port, "ISOBRIDGE"), associations=3).send(files) == []
        receiver.rows.wait_for(len(files))
        assert {path.stem for path in receiver.stored()} == {Outgoing.read(path).digest for path in files}
    assert proxy.connections == 3


def test_connections_cut_anywhere_lose_nothing_and_keep_nothing_twice(tmp_path: Path) -> None:
    files, log = _objects(tmp_path / "objects", 40), tmp_path / "log"
    with (
        receiving(tmp_path / "spool", journal_bytes=JOURNAL_BYTES) as receiver,
        FaultProxy(("127.0.0.1", receiver.port)) as proxy,
    ):
        for number, path in enumerate(files):
            proxy.set(Script(fault=Fault.LOSE_ANSWER) if number % 4 == 0 else Script(fault=Fault.CUT, after_bytes=97 * number))
            once = Witness(log, lambda: Address("127.0.0.1", proxy.port, "ISOBRIDGE"), associations=1, once=True)
            unsent = once.send([path])
            assert bool(unsent) == (not any(answer.path == str(path) for answer in read_log(log)))
        assert proxy.cuts > 30
        assert receiver.incoming == []
        proxy.set(Script())
        assert Witness(log, lambda: Address("127.0.0.1", proxy.port, "ISOBRIDGE"), associations=3).send(files) == []
        until(lambda: len(receiver.stored()) >= len(files), "every object has its file", secs=20)
    digests = [path.stem for path in (tmp_path / "spool").rglob("*.dcm")]
    assert sorted(digests) == sorted({answer.digest for answer in read_log(log) if answer.acknowledged})
    assert len(digests) == len(files)


def test_silent_peers_hold_up_nobody(tmp_path: Path) -> None:
    (path,) = _objects(tmp_path / "objects", 1)
    item = Outgoing.read(path)
    with receiving(tmp_path / "spool") as receiver, FaultProxy(("127.0.0.1", receiver.port)) as proxy:
        proxy.set(Script(fault=Fault.BLACK_HOLE))
        for _ in range(3):
            with pytest.raises(Lost):
                RawAssociation(("127.0.0.1", proxy.port), [item.context], called_ae="ISOBRIDGE", timeout_secs=0.1)
        with RawAssociation(("127.0.0.1", receiver.port), [item.context], called_ae="ISOBRIDGE", timeout_secs=5) as good:
            assert good.store(item.context, item.sop_instance_uid, item.data_set()) == 0
