"""Storage commitment: its data sets, and what may be answered for an object."""

from __future__ import annotations

import queue
from collections.abc import Callable
from io import BytesIO
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.dicom.commitment import (
    CLASS_CONFLICT,
    EXPLICIT,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
    TRANSFER_SYNTAXES,
    Reference,
    decode_request,
    encode_report,
)
from gateway.errors import Rejected
from gateway.receive.commitment import CommitmentDesk
from gateway.receive.talk import Action, State
from gateway.spool.commitments import COMMITTED, FRESH_SECS, Content, Ticket, judge

PET, CT = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.2"


def asked(*instances: str, undefined: bool = False) -> Dataset:
    wanted = Dataset()
    wanted.TransactionUID = "1.2.3.4"
    wanted.ReferencedSOPSequence = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = PET, instance
        item.StorageMediaFileSetID = "SHELF 1"
        item.is_undefined_length_sequence_item = undefined
        wanted.ReferencedSOPSequence.append(item)
    wanted["ReferencedSOPSequence"].is_undefined_length = undefined
    wanted.RetrieveAETitle = "ARCHIVE"
    return wanted


def encoded(dataset: Dataset, syntax: str) -> bytes:
    made = encode(dataset, syntax != EXPLICIT, True)
    assert made is not None
    return made


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_a_request_of_pydicom_is_read(syntax: str, undefined: bool) -> None:
    request = decode_request(encoded(asked("1.2.5", "1.2.66", undefined=undefined), syntax), syntax)
    assert request.transaction_uid == "1.2.3.4"
    assert request.references == (Reference(PET, "1.2.5"), Reference(PET, "1.2.66"))


@pytest.mark.parametrize("wrong", [asked(), asked("1.2", "1.2"), asked(""), Dataset()])
def test_a_request_that_says_too_little_is_told_so(wrong: Dataset) -> None:
    with pytest.raises(Rejected):
        decode_request(encoded(wrong, EXPLICIT), EXPLICIT)


@given(st.binary(max_size=200), st.integers(0, 200), st.sampled_from(TRANSFER_SYNTAXES))
def test_damage_is_rejected_and_nothing_else_happens(noise: bytes, place: int, syntax: str) -> None:
    whole = encoded(asked("1.2.5", "1.2.66"), syntax)
    damaged = whole[:place] + noise + whole[place + len(noise) :]
    try:
        request = decode_request(damaged, syntax)
    except Rejected:
        return
    assert request.references


@pytest.mark.parametrize("explicit", [True, False])
def test_a_report_is_read_by_pydicom(explicit: bool) -> None:
    outcomes = [(Reference(PET, "1.2.5"), 0), (Reference(CT, "1.2.66"), NO_SUCH_OBJECT)]
    event_type, data = encode_report("1.2.3.4", outcomes, explicit=explicit)
    told = decode(BytesIO(data), not explicit, True)
    assert event_type == 2
    assert told.TransactionUID == "1.2.3.4"
    (good,), (bad,) = told.ReferencedSOPSequence, told.FailedSOPSequence
    assert (good.ReferencedSOPClassUID, good.ReferencedSOPInstanceUID) == (PET, "1.2.5")
    assert (bad.ReferencedSOPClassUID, bad.ReferencedSOPInstanceUID, bad.FailureReason) == (CT, "1.2.66", 0x0112)
    event_type, data = encode_report("1.2.3.4", outcomes[:1], explicit=explicit)
    assert (event_type, "FailedSOPSequence" in decode(BytesIO(data), not explicit, True)) == (1, False)


def content(state: str = "normalised", held_for: str | None = None, **flags: bool) -> Content:
    told = {"is_sent": True, "is_verified": False, "is_withdrawn": False, **flags}
    return Content(PET, state, held_for, **told)


HELD = content(is_verified=True)


@pytest.mark.parametrize(
    ("contents", "waited_secs", "expected"),
    [
        ([HELD], 0, COMMITTED),
        ([content()], 0, None),
        ([content()], 3600, PROCESSING_FAILURE),
        ([], 0, None),
        ([], 31, NO_SUCH_OBJECT),
        ([content("quarantined", is_sent=False)], 0, NO_SUCH_OBJECT),
        ([content("quarantined", is_verified=True)], 0, COMMITTED),  # no mapping understands it, and the archive holds it
        ([HELD, content("quarantined", is_sent=False)], 0, COMMITTED),
        ([HELD, content("conflict", "content", is_sent=False)], 0, CLASS_CONFLICT),
        ([HELD, content("conflict", "comparison", is_sent=False)], 0, None),
        ([HELD, content("conflict", "comparison", is_sent=False)], 3600, PROCESSING_FAILURE),
        ([HELD, content("variant", is_sent=False)], 0, COMMITTED),
        ([content(is_verified=True, is_withdrawn=True)], 0, PROCESSING_FAILURE),
    ],
)
def test_what_is_answered_for_an_object(contents: list[Content], waited_secs: float, expected: int | None) -> None:
    assert judge(PET, contents, waited_secs=waited_secs, wait_secs=3600) == expected


def test_another_class_is_a_conflict_even_if_the_archive_holds_it() -> None:
    assert judge(CT, [HELD], waited_secs=0, wait_secs=3600) == CLASS_CONFLICT


@given(
    st.lists(
        st.builds(
            Content,
            st.just(PET),
            st.sampled_from(["received", "normalised", "quarantined", "conflict", "variant"]),
            st.sampled_from([None, "comparison", "content", "patient"]),
            st.booleans(),
            st.just(False),
            st.booleans(),
        )
    ),
    st.floats(0, 1e6),
)
def test_never_committed_without_an_archive(contents: list[Content], waited_secs: float) -> None:
    assert judge(PET, contents, waited_secs=waited_secs, wait_secs=3600) != COMMITTED


class Answers:
    """A ledger with one answer, which is ready; it remembers what became of it."""

    def __init__(self, *, age_secs: float, stands: bool) -> None:
        self._age_secs, self._stands = age_secs, stands
        self.done: queue.Queue[str] = queue.Queue()

    def ask(self, *_: object, **__: object) -> int:
        return 1

    def hold(self, *_: object, **__: object) -> None:
        """Held as long as this runs."""

    def lease_held(self, *_: object, now: float, **__: object) -> list[Ticket]:
        given: Any = {"calling_ae": "PET1", "called_ae": "ISOBRIDGE", "transaction_uid": "1.2", "asked_at": 0.0}
        at = now - self._age_secs
        return [
            Ticket(id=1, token=1, attempts=0, ready_at=at, references=(Reference(PET, "1.2"),), outcomes=(COMMITTED,), **given)
        ]

    def stands(self, ticket: Ticket) -> bool:
        return self._stands

    def look_again(self, ticket: Ticket, *, now: float) -> None:
        self.done.put("looked at again")

    def report(self, *_: object) -> bool:
        self.done.put("reported")
        return True

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.mark.parametrize(
    ("age_secs", "stands", "expected"),
    [(0.0, True, "reported"), (FRESH_SECS + 1, True, "looked at again"), (0.0, False, "looked at again")],
)
def test_the_association_that_asked_hears_only_what_is_fresh_and_stands(age_secs: float, stands: bool, expected: str) -> None:
    rows = Answers(age_secs=age_secs, stands=stands)
    association = SimpleNamespace(
        state=State.OPEN, is_within_message=False, answer=lambda *_: None, report=rows.report, ended_by=""
    )
    connection = cast("Any", SimpleNamespace(association=association))
    desk = CommitmentDesk(cast("Any", rows), lambda call: call(), lambda _: None)
    try:
        request = encoded(asked("1.2"), EXPLICIT)
        desk.take(connection, Action(request, EXPLICIT, "PET1", "ISOBRIDGE"), lambda: None)
        assert rows.done.get(timeout=10) == expected
    finally:
        desk.stop()
