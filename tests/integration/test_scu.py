"""The DICOM client against real peers on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import split_dataset

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import VERIFICATION_UID, FileOutcome, echo, send
from tests import builders

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@dataclass
class Peer:
    """A storage SCP that keeps what it gets and answers what it is told to."""

    address: AEAddress
    received: dict[str, bytes] = field(default_factory=dict)
    associations: int = 0


@contextmanager
def peer(
    *,
    contexts: dict[str, list[str]] | None = None,
    answer: Callable[[int], int] = lambda _: 0,
    abort_after: int | None = None,
    require_called: str | None = None,
) -> Iterator[Peer]:
    entity = AE(ae_title="PEER")
    for sop_class, syntaxes in (contexts or {PositronEmissionTomographyImageStorage: [str(s) for s in SYNTAXES]}).items():
        entity.add_supported_context(sop_class, syntaxes)
    entity.add_supported_context(VERIFICATION_UID)
    entity.require_called_aet = require_called is not None
    running = Peer(address=AEAddress(ae_title="PEER", host="127.0.0.1", port=1))
    lock = threading.Lock()
    aborted = threading.Event()

    def store(event: Any) -> int:
        with lock:
            if abort_after is not None and len(running.received) >= abort_after and not aborted.is_set():
                aborted.set()
                event.assoc.abort()
                return 0xC000
            status = answer(len(running.received))
            running.received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
            return status

    def accepted(_: Any) -> None:
        running.associations += 1

    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, accepted)]
    )
    assert server is not None
    running.address = AEAddress(ae_title="PEER", host="127.0.0.1", port=server.server_address[1])
    try:
        yield running
    finally:
        server.shutdown()


def pet_files(directory: Path, count: int) -> list[Path]:
    return [builders.write(one, directory / f"{index}.dcm") for index, one in enumerate(builders.pet_series(count))]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_the_data_set_arrives_byte_for_byte_in_the_transfer_syntax_of_the_file(tmp_path: Path, syntax: Any) -> None:
    path = builders.write(builders.pet(), tmp_path / "1.dcm", transfer_syntax_uid=syntax)
    _, offset = split_dataset(path)
    with peer() as running:
        report = send([path], running.address)
    assert report.ok
    assert list(running.received.values()) == [path.read_bytes()[offset:]]


def test_four_associations_send_everything_once(tmp_path: Path) -> None:
    pet_files(tmp_path, 21)
    seen: list[tuple[int, int, bool]] = []

    def on_progress(done: int, total: int, outcome: FileOutcome) -> None:
        seen.append((done, total, outcome.stored))

    with peer() as running:
        report = send([tmp_path], running.address, associations=4, on_progress=on_progress)
    assert report.ok
    assert (report.stored, len(running.received), running.associations) == (21, 21, 4)
    assert seen == [(number, 21, True) for number in range(1, 22)]


def test_more_than_128_presentation_contexts_need_a_second_association(tmp_path: Path) -> None:
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:70]]
    wanted = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
    for number, sop_class in enumerate(classes):
        for syntax in wanted:
            made = builders.pet(SOPClassUID=sop_class, SOPInstanceUID=builders.uid(f"{number}/{syntax}"))
            builders.write(made, tmp_path / f"{number}-{syntax}.dcm", transfer_syntax_uid=syntax)
    with peer(contexts=dict.fromkeys(classes, wanted)) as running:
        report = send([tmp_path], running.address)
    assert report.ok
    assert (report.stored, running.associations) == (140, 2)


def test_a_refusal_is_reported_with_its_meaning_and_the_rest_is_sent(tmp_path: Path) -> None:
    pet_files(tmp_path, 3)
    with peer(answer=lambda number: 0xA700 if number == 1 else 0xB000 if number == 2 else 0) as running:
        report = send([tmp_path], running.address)
    assert [outcome.meaning for outcome in report.failures] == ["Failure: Refused: Out of Resources"]
    assert [outcome.status for outcome in report.remarks] == [0xA700, 0xB000]
    assert report.stored == 2
    assert not report.ok


def test_a_sop_class_that_the_peer_does_not_take_is_named_and_the_others_are_sent(tmp_path: Path) -> None:
    builders.write(builders.pet(), tmp_path / "pet.dcm")
    builders.write(builders.rrdsr(), tmp_path / "sr.dcm")
    with peer() as running:
        report = send([tmp_path], running.address)
    assert report.stored == 1
    assert [(outcome.file.path.name, outcome.status) for outcome in report.failures] == [("sr.dcm", None)]
    assert "does not accept this SOP class" in report.failures[0].meaning


def test_after_an_abort_the_rest_is_sent_over_a_new_association(tmp_path: Path) -> None:
    pet_files(tmp_path, 6)
    with peer(abort_after=3) as running:
        report = send([tmp_path], running.address)
    assert report.ok
    assert (len(running.received), running.associations) == (6, 2)


def test_nobody_listening_is_told_for_every_file(tmp_path: Path) -> None:
    pet_files(tmp_path, 2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and nobody else gets the port
        report = send([tmp_path], AEAddress(ae_title="NOBODY", host="127.0.0.1", port=taken.getsockname()[1]))
    assert [outcome.status for outcome in report.failures] == [None, None]
    assert "Connection refused" in report.failures[0].meaning


def test_nothing_to_send_is_not_a_success(tmp_path: Path) -> None:
    report = send([tmp_path], AEAddress(ae_title="NOBODY", host="127.0.0.1", port=1))
    assert not report.ok
    assert report.outcomes == ()


def test_echo_goes_through_all_three_steps() -> None:
    with peer() as running:
        report = echo(running.address)
    assert report.ok
    assert [step.name for step in report.steps] == ["connect", "associate", "C-ECHO"]
    assert report.steps[-1].detail == "0x0000 Success"


def test_echo_says_that_the_called_title_was_wrong() -> None:
    with peer(require_called="PEER") as running:
        wrong = AEAddress(ae_title="OTHER", host="127.0.0.1", port=running.address.port)
        report = echo(wrong)
    assert [(step.name, step.ok) for step in report.steps] == [("connect", True), ("associate", False)]
    assert "Called AE title not recognised" in report.steps[1].detail


def test_echo_says_that_nobody_listens_or_that_the_name_is_unknown() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = echo(AEAddress(ae_title="A", host="127.0.0.1", port=taken.getsockname()[1]))
    unknown = echo(AEAddress(ae_title="A", host="no-such-host.invalid", port=104))
    assert [(step.name, step.ok) for step in refused.steps] == [("connect", False)]
    assert "Connection refused" in refused.steps[0].detail
    assert "is not known" in unknown.steps[0].detail


def test_echo_says_that_the_peer_does_not_speak_dicom() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def hang_up_twice() -> None:
            for _ in range(2):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up_twice, daemon=True)
        thread.start()
        report = echo(AEAddress(ae_title="A", host="127.0.0.1", port=server.getsockname()[1]))
        thread.join(timeout=10)
    assert [(step.name, step.ok) for step in report.steps] == [("connect", True), ("associate", False)]
    assert "does not speak DICOM" in report.steps[1].detail
