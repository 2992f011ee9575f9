"""The protocol without sockets: framing, commands, negotiation, one association's states, the writing of rows."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF

from gateway.errors import Rejected, Retryable
from gateway.model import Instance, Received
from gateway.receive import guard, services, status
from gateway.receive.association import Association
from gateway.receive.containment import INTERNAL_FAULT, Refusal, finish
from gateway.receive.door import Door
from gateway.receive.guard import Framer, ProtocolViolation
from gateway.receive.negotiation import Agreed, Refused, Situation, negotiate
from gateway.receive.rows import RowWriter
from gateway.receive.services import Command
from gateway.receive.serving import ignore_event
from gateway.receive.settings import ReceiveSettings
from gateway.receive.talk import State
from gateway.spool.files import SpoolFiles
from tests import builders
from tests.integration.receiving import (
    EXPLICIT,
    PET,
    VERIFICATION,
    MemoryRows,
    data_set_of,
    p_data,
    pdv,
    request_pdu,
    simple_command,
    store_command,
)

PART10 = builders.part10(builders.pet())
UID = str(builders.pet().SOPInstanceUID)


# Framing


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_pdus_are_cut_alike_however_the_bytes_come(bodies: list[bytes], step: int) -> None:
    framer = Framer(guard.during_association(100))
    stream = b"".join(struct.pack(">BxI", guard.P_DATA, len(body)) + body for body in bodies)
    found = []
    for start in range(0, len(stream), step):
        framer.feed(memoryview(stream)[start : start + step])
        while (pdu := framer.next_pdu()) is not None:
            found.append(bytes(pdu[1]))
    assert found == bodies
    assert not framer.is_within_pdu


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack(">BxI", guard.P_DATA, 107), guard.INVALID_PARAMETER),
        (struct.pack(">BxI", guard.ABORT, 65), guard.INVALID_PARAMETER),
        (struct.pack(">BxI", guard.ASSOCIATE_RQ, 1), guard.UNEXPECTED_PDU),
        (b"GET / ", guard.UNRECOGNIZED_PDU),
    ],
)
def test_a_pdu_is_judged_by_its_first_six_bytes(header: bytes, reason: int) -> None:
    framer = Framer(guard.during_association(100))
    framer.feed(memoryview(header))
    with pytest.raises(ProtocolViolation) as caught:
        framer.next_pdu()
    assert caught.value.status == reason


# Commands


def test_commands_of_pynetdicom_are_understood() -> None:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = PET, "1.2.3.4"
    primitive.Priority = 2
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    (first, *_) = message.encode_msg(1, 16382)
    encoded = first.presentation_data_value_list[0][1][1:]
    assert services.decode_command(encoded) == Command(0x0001, 7, True, PET, "1.2.3.4")


def test_an_identifier_that_is_none_goes_back_as_it_came() -> None:
    odd = "1.2.é.µ".encode("latin-1") + b"\xff"
    values = [
        (0x0002, PET.encode() + b"\0" * (len(PET) % 2)),
        (0x0100, b"\1\0"),
        (0x0110, b"\7\0"),
        (0x0800, b"\1\0"),
        (0x1000, odd),
    ]
    command = services.decode_command(b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values))
    assert struct.pack("<HHI", 0, 0x1000, len(odd)) + odd in services.encode_response(1, command, 0xA900)


@pytest.mark.parametrize("reason", ["", "Short.", "A long reason \\ with a backslash, and much more than sixty-four characters."])
def test_responses_are_understood_by_pydicom(reason: str) -> None:
    pdu = services.encode_response(5, Command(0x0001, 9, True, PET, "1.2.3"), 0xA900, reason)
    decoded = P_DATA_TF()
    decoded.decode(pdu)
    ((context_id, data),) = [
        (item.presentation_context_id, item.presentation_data_value) for item in decoded.presentation_data_value_items
    ]
    assert data is not None
    assert (context_id, data[0]) == (5, 3)
    answer = read_dataset(BytesIO(data[1:]), True, True)
    assert answer.CommandGroupLength == len(data) - 1 - 12
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8001, 9, 0xA900)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (PET, "1.2.3")
    assert answer.CommandDataSetType == 0x0101
    assert len(answer.get("ErrorComment", "")) <= 64
    assert ("ErrorComment" in answer) is bool(reason)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\0\0",
        struct.pack("<HHI", 0, 0x0100, 99),
        struct.pack("<HHI", 8, 0x0100, 0),
        simple_command(1)[:-10],
        b"",
    ],
)
def test_damaged_commands_are_refused(encoded: bytes) -> None:
    with pytest.raises(Rejected):
        services.decode_command(encoded)


def test_a_cancel_needs_no_message_id() -> None:
    cancel = struct.pack("<HHIH", 0, 0x0100, 2, 0x0FFF) + struct.pack("<HHIH", 0, 0x0800, 2, 0x0101)
    assert services.decode_command(cancel).field == services.C_CANCEL_RQ


# Negotiation


def agreed(contexts: Sequence[tuple[str, Sequence[str]]], *, open_associations: int = 0, **chosen: object) -> Agreed | Refused:
    body = request_pdu(contexts)[6:]
    return negotiate(body, ReceiveSettings(**chosen), situation=Situation(open_associations=open_associations))  # type: ignore[arg-type]


def test_the_accept_is_understood_by_pynetdicom() -> None:
    result = agreed([(PET, [EXPLICIT]), ("1.2.3", [EXPLICIT]), (VERIFICATION, ["1.2.840.10008.1.2"])])
    assert isinstance(result, Agreed)
    accept = A_ASSOCIATE_AC()
    accept.decode(result.pdu)
    assert [item.result_reason for item in accept.presentation_context] == [0, 3, 0]
    assert accept.user_information is not None
    assert accept.user_information.maximum_length == 131_072
    assert accept.called_ae_title.strip() == "ISOBRIDGE"
    assert {key: context.transfer_syntax_uid for key, context in result.contexts.items()} == {1: EXPLICIT, 5: "1.2.840.10008.1.2"}


def test_the_reject_is_understood_by_pynetdicom() -> None:
    result = agreed([(PET, [EXPLICIT])], open_associations=50)
    assert isinstance(result, Refused)
    reject = A_ASSOCIATE_RJ()
    reject.decode(result.pdu)
    assert (reject.result, reject.source, reject.reason_diagnostic) == (2, 3, 2)


@pytest.mark.parametrize("title", [b" " * 16, b"\0" * 16, b"lower case      ", b"\xff\xfe" * 8])
def test_odd_titles_are_carried_back_as_they_came(title: bytes) -> None:
    body = bytearray(request_pdu([(PET, [EXPLICIT])])[6:])
    body[4:20] = title
    result = negotiate(bytes(body), ReceiveSettings())
    assert isinstance(result, Agreed)
    assert result.pdu[10:26] == title


@pytest.mark.parametrize(("version", "accepted"), [(1, True), (3, True), (2, False)])
def test_only_the_first_bit_of_the_version_counts(version: int, accepted: bool) -> None:
    body = struct.pack(">H", version) + request_pdu([(PET, [EXPLICIT])])[8:]
    assert isinstance(negotiate(body, ReceiveSettings()), Agreed) is accepted


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom warns of what the peer wrote
@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_request_body_leads_to_anything_but_an_answer_or_a_violation(tail: bytes) -> None:
    for body in (tail, bytes([0, 1]) + bytes(66) + tail, request_pdu([(PET, [EXPLICIT])])[6:-20] + tail):
        with contextlib.suppress(ProtocolViolation):
            assert negotiate(body, ReceiveSettings()).pdu


# One association


class Around:
    """The loop's place."""

    def __init__(self, directory: Path, **chosen: object) -> None:
        self.settings = ReceiveSettings(**chosen)  # type: ignore[arg-type]
        self.door = Door(SpoolFiles(directory, reserve_bytes=0), max_object_bytes=self.settings.max_object_bytes)
        self.on_event = ignore_event
        self.reason: str | None = None

    def open_associations(self) -> int:
        return 0

    def associations_from(self, _peer: str) -> int:
        return 0

    def congestion(self) -> str | None:
        return None

    def refusal(self) -> str | None:
        return self.reason


def associated(around: Around) -> Association:
    association = Association(around, "192.0.2.1")
    association.on_pdu(guard.ASSOCIATE_RQ, memoryview(request_pdu([(PET, [EXPLICIT]), (VERIFICATION, [EXPLICIT])])[6:]))
    association.out.clear()
    return association


def give(association: Association, *pdvs: bytes) -> None:
    association.on_pdu(guard.P_DATA, memoryview(p_data(*pdvs)[6:]))


def test_an_object_is_answered_only_through_its_job(tmp_path: Path) -> None:
    around = Around(tmp_path)
    association = associated(around)
    give(association, pdv(1, 3, store_command(PET, UID)), pdv(1, 2, data_set_of(PART10)))
    assert association.out == b""
    job = association.job
    assert job is not None
    outcome = finish(around.door, job)
    assert isinstance(outcome, Received)
    association.answer(outcome.status)
    assert association.job is None
    assert association.out


def test_a_message_before_the_answer_is_a_violation(tmp_path: Path) -> None:
    association = associated(Around(tmp_path))
    give(association, pdv(1, 3, store_command(PET, UID)), pdv(1, 2, data_set_of(PART10)))
    with pytest.raises(ProtocolViolation):
        give(association, pdv(3, 3, simple_command(0x0030)))


def test_while_rows_cannot_be_written_objects_pass_by_unkept(tmp_path: Path) -> None:
    around = Around(tmp_path)
    around.reason = "The receiver cannot record new objects just now."
    association = associated(around)
    give(association, pdv(1, 3, store_command(PET, UID)), pdv(1, 2, data_set_of(PART10)))
    assert association.job is None
    assert (0xA700).to_bytes(2, "little") in association.out


def test_a_store_without_a_data_set_is_refused(tmp_path: Path) -> None:
    association = associated(Around(tmp_path))
    give(association, pdv(1, 3, simple_command(0x0001)))
    assert (0xC000).to_bytes(2, "little") in association.out
    assert association.state is State.OPEN


def test_a_fault_of_ours_is_a_processing_failure_and_leaves_nothing(tmp_path: Path) -> None:
    around = Around(tmp_path)
    association = associated(around)
    give(association, pdv(1, 3, store_command(PET, UID)), pdv(1, 2, data_set_of(PART10)))
    assert association.job is not None
    around.door.finish = around.door.prepare = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
    assert finish(around.door, association.job) == INTERNAL_FAULT == Refusal(0x0110, INTERNAL_FAULT.reason)
    assert list((tmp_path / "incoming").iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 4, 5, 99]), st.integers(0, 4), st.binary(max_size=30)), max_size=5))
def test_no_data_values_lead_to_anything_but_answers_or_a_violation(tmp_path: Path, values: list[tuple[int, int, bytes]]) -> None:
    association = associated(Around(tmp_path))
    try:
        for context_id, control, fragment in values:
            give(association, pdv(context_id, control, fragment))
    except ProtocolViolation as error:
        association.abort(error.status, error.reason)
        assert association.state is State.ENDING


@pytest.mark.parametrize(("reason", "expected"), [("Fine.", "Fine."), ("x" * 70, "x" * 61 + "..."), ("a\\b é", "a/b ?")])
def test_error_comments_fit_their_element(reason: str, expected: str) -> None:
    assert status.comment(reason) == expected


# Rows


def an_arrival(tmp_path: Path) -> Received:
    around = Around(tmp_path)
    association = associated(around)
    give(association, pdv(1, 3, store_command(PET, UID)), pdv(1, 2, data_set_of(PART10)))
    assert association.job is not None
    outcome = finish(around.door, association.job)
    assert isinstance(outcome, Received)
    return outcome


def test_many_arrivals_share_one_transaction(tmp_path: Path) -> None:
    received = an_arrival(tmp_path)
    batches: list[int] = []

    class Counting(MemoryRows):
        def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
            batches.append(len(batch))
            return super().record_arrivals(batch)

    rows = Counting()
    writer = RowWriter(rows, SpoolFiles(tmp_path, reserve_bytes=0), lambda: None)
    for _ in range(100):
        writer.submit(received)
    rows.wait_for(100)
    assert writer.stop() == 0
    assert len(batches) < 20


def test_spare_copies_are_removed_when_their_row_stands(tmp_path: Path) -> None:
    received = an_arrival(tmp_path)
    files = SpoolFiles(tmp_path, reserve_bytes=0)

    class Knowing(MemoryRows):
        def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
            super().record_arrivals(batch)
            return [each.instance for each in batch]

        def relocate(self, instance: Instance) -> None:
            moved.append(instance.day)

    moved: list[str] = []
    standing = files.locate("2020-01-01", received.instance.digest)
    standing.parent.mkdir()
    standing.write_bytes(files.path(received.instance).read_bytes())
    first = RowWriter(Knowing(), files, lambda: None)
    first.submit(received)
    first.stop()
    assert standing.exists()
    assert not files.path(received.instance).exists()
    # The file that the row tells of is gone: what came now is the only copy.
    standing.rename(files.path(received.instance))
    second = RowWriter(Knowing(), files, lambda: None)
    second.submit(received)
    second.stop()
    assert files.path(received.instance).exists()
    assert moved == [received.instance.day]


def test_what_could_not_be_written_is_kept_and_counted_at_the_end(tmp_path: Path) -> None:
    received = an_arrival(tmp_path)
    told = threading.Event()
    outcomes: list[bool] = []

    def when_written(written: bool) -> None:
        outcomes.append(written)
        told.set()

    writer = RowWriter(MemoryRows(is_down=True), SpoolFiles(tmp_path, reserve_bytes=0), lambda: None)
    writer.submit(received, when_written)
    assert told.wait(10)
    assert outcomes == [False]
    assert writer.is_blocked
    assert writer.stop() == 1


def test_a_fault_in_the_ledger_ends_the_receiver_not_silently(tmp_path: Path) -> None:
    received = an_arrival(tmp_path)
    woken = threading.Event()

    class Broken(MemoryRows):
        def record_arrivals(self, batch: Sequence[Received]) -> Sequence[Instance]:
            raise KeyError("a fault")

    writer = RowWriter(Broken(), SpoolFiles(tmp_path, reserve_bytes=0), woken.set)
    writer.submit(received)
    assert woken.wait(10)
    with pytest.raises(KeyError):
        writer.raise_failure()
    with pytest.raises(KeyError):
        writer.stop()
    assert issubclass(ProtocolViolation, Rejected)
    assert not issubclass(Retryable, Rejected)


def test_titles_with_control_characters_are_made_printable() -> None:
    """PostgreSQL refuses a NUL in a text: one such row would stop all others."""
    body = bytearray(request_pdu([(PET, ["1.2.840.10008.1.2.1"])])[6:])
    body[20:36] = b"PET\0CT\n1".ljust(16)
    assert negotiate(bytes(body), ReceiveSettings()).calling_ae == "PET?CT?1"
