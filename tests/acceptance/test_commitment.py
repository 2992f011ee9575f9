"""Storage commitment with pynetdicom as scanner, a real daemon and a real Orthanc as archive, in peace and under fire.

DCMTK 3.6.7 has no program that asks for storage commitment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt

from gateway.spool.ledger import Ledger
from tests import builders
from tests.harness.chaos import Installation
from tests.harness.peers import Orthanc
from tests.harness.waiting import until

pytestmark = pytest.mark.needs("orthanc")

PUSH_MODEL, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
PET = "1.2.840.10008.5.1.4.1.1.128"
Told = dict[str, int]


class Scanner:
    """Stores, asks for commitment, and listens for answers on its own port."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}  #: transaction -> SOP Instance UID -> 0 or the failure reason
        self.associations: dict[str, Any] = {}  #: transaction -> who brought the answer
        self._changed = threading.Condition()
        self._entity = AE(ae_title="PETCT1")
        self._entity.add_supported_context(PUSH_MODEL, scu_role=True, scp_role=True)
        self._server: Any = None
        self.port = 0

    def listen(self) -> None:
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self._server = self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]

    def deafen(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def connect(self, gateway: Installation) -> Any:
        address = gateway.address
        assert address is not None
        entity = AE(ae_title="PETCT1")
        association = entity.associate(
            address.host,
            address.port,
            contexts=[build_context(PET, ExplicitVRLittleEndian), build_context(PUSH_MODEL)],
            ae_title="ISOBRIDGE",
            ext_neg=[build_role(PUSH_MODEL, scu_role=True)],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._on_report)],
        )
        assert association.is_established
        return association

    def ask(self, association: Any, references: list[tuple[str, str]]) -> str:
        wanted = Dataset()
        wanted.TransactionUID = generate_uid()
        wanted.ReferencedSOPSequence = []
        for sop_class, instance in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
            wanted.ReferencedSOPSequence.append(item)
        answer, _ = association.send_n_action(wanted, 1, PUSH_MODEL, WELL_KNOWN)
        assert answer.Status == 0x0000
        return str(wanted.TransactionUID)

    def wait_for(self, transaction: str, *, secs: float) -> Told:
        with self._changed:
            assert self._changed.wait_for(lambda: transaction in self.told, secs), f"no answer within {secs} s"
            return self.told[transaction]

    def _on_report(self, event: Any) -> tuple[int, None]:
        information = event.event_information
        told = {str(item.ReferencedSOPInstanceUID): 0 for item in information.get("ReferencedSOPSequence", ())}
        told |= {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in information.get("FailedSOPSequence", ())}
        assert event.event_type == (2 if any(told.values()) else 1)
        with self._changed:
            self.told[str(information.TransactionUID)] = told
            self.associations[str(information.TransactionUID)] = event.assoc
            self._changed.notify_all()
        return 0x0000, None


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    made = Scanner()
    made.listen()
    yield made
    made.deafen()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    made = Orthanc(tmp_path / "orthanc")
    yield made
    made.kill()


@pytest.fixture
def gateway(tmp_path: Path, orthanc: Orthanc, scanner: Scanner) -> Iterator[Installation]:
    commitment = {"mode": "end_to_end", "wait_minutes": 5, "peers": {"PETCT1": f"127.0.0.1:{scanner.port}"}}
    targets = {"archive": {"kind": "orthanc", "url": orthanc.url}}
    made = Installation(tmp_path / "gateway", settings={"receive": {"storage_commitment": commitment}, "targets": targets})
    made.start()
    yield made
    made.stop()


def stored(association: Any, count: int) -> list[tuple[str, str]]:
    references = []
    for dataset in builders.pet_series(count):
        assert association.send_c_store(builders_file(dataset)).Status == 0x0000
        references.append((PET, str(dataset.SOPInstanceUID)))
    return references


def builders_file(dataset: Dataset) -> Dataset:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def states(gateway: Installation) -> dict[str, int]:
    ledger = Ledger(f"sqlite:///{gateway.data / 'ledger.db'}")
    try:
        return ledger.commitments.counts()
    finally:
        ledger.close()


@pytest.mark.timeout(180)
def test_what_the_archive_holds_is_committed_on_the_association_that_asked(
    gateway: Installation, orthanc: Orthanc, scanner: Scanner
) -> None:
    orthanc.start()
    association = scanner.connect(gateway)
    good = stored(association, 4)
    transaction = scanner.ask(association, good)
    assert scanner.wait_for(transaction, secs=60) == {uid: 0 for _, uid in good}
    assert scanner.associations[transaction] is association
    assert orthanc.held().keys() == {uid for _, uid in good}
    wrong_class = ("1.2.840.10008.5.1.4.1.1.2", good[0][1])
    unknown = (PET, "1.2.3.4.5.6.7.8.9")
    failing = scanner.ask(association, [wrong_class, unknown, good[1]])
    assert scanner.wait_for(failing, secs=90) == {wrong_class[1]: 0x0119, unknown[1]: 0x0112, good[1][1]: 0}
    found = requests.post(f"{orthanc.url}/tools/lookup", data=good[2][1], timeout=30).json()
    requests.delete(f"{orthanc.url}/instances/{found[0]['ID']}", timeout=30).raise_for_status()
    since = scanner.ask(association, good)
    assert scanner.wait_for(since, secs=60) == {uid: 0x0110 if uid == good[2][1] else 0 for _, uid in good}, (
        "it was deleted there"
    )
    association.release()
    assert states(gateway) == {"reported": 3}


@pytest.mark.timeout(180)
def test_nothing_is_committed_before_the_archive_holds_it_whatever_dies_in_between(
    gateway: Installation, orthanc: Orthanc, scanner: Scanner
) -> None:
    association = scanner.connect(gateway)
    references = stored(association, 3)
    transaction = scanner.ask(association, references)
    association.release()
    gateway.kill()
    gateway.start()
    time.sleep(5)  # long enough for an answer that must not come: the archive is down
    assert scanner.told == {}
    assert states(gateway) == {"waiting": 1}
    scanner.deafen()
    orthanc.start()
    until(lambda: states(gateway) == {"ready": 1}, secs=90)
    until(lambda: attempts(gateway) > 0, secs=30)
    gateway.kill()
    gateway.start()
    scanner.listen()
    assert scanner.wait_for(transaction, secs=90) == {uid: 0 for _, uid in references}
    assert scanner.associations[transaction] is not association
    until(lambda: states(gateway) == {"reported": 1}, secs=10)


def attempts(gateway: Installation) -> int:
    ledger = Ledger(f"sqlite:///{gateway.data / 'ledger.db'}")
    try:
        return int(ledger.commitments.listed()[0]["attempts"])
    finally:
        ledger.close()
