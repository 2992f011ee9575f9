"""The files of a store request, taken in while they come, and what became of its objects. Blocking; no routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import Rejected
from gateway.model import Arrival, Received
from gateway.receive import status
from gateway.receive.committer import Outcome
from gateway.receive.containment import Refusal
from gateway.receive.direct import DirectDoor, is_full
from gateway.receive.door import Expected, Prepared
from gateway.receive.file_stream import FileStream, Sender
from gateway.web.dicomweb_accept import DICOM
from gateway.web.multipart_reader import media_type

PARTS_MOST = 100_000
_NOT_A_FILE = Refusal(status.CANNOT_UNDERSTAND, f"The part is not of the type {DICOM}.")


def check_count(parts: int) -> None:
    """Raises :class:`Rejected` (413)."""
    if parts > PARTS_MOST:
        raise Rejected(f"the message has more than {PARTS_MOST:,} parts", status=413)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of one object of a request."""

    status: int
    reason: str
    may_try_again: bool = False
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""


class Results:
    """Makes judged objects durable in groups and keeps what may be answered, in the order of the request."""

    def __init__(self, direct: DirectDoor, arrival: Callable[[], Arrival], expected: Expected) -> None:
        self.direct = direct
        self._arrival = arrival
        self._expected = expected
        self._waiting: list[tuple[int, Prepared]] = []
        self._found: list[Stored] = []

    def judge(self, stream: FileStream) -> None:
        """A file is complete."""
        outcome = stream.finish(self._arrival(), self._expected)
        if isinstance(outcome, Refusal):
            self.refuse(outcome, stream.sop_class_uid, stream.sop_instance_uid)
            return
        self._waiting.append((len(self._found), outcome))
        self._found.append(Stored(status=status.PROCESSING_FAILURE, reason=""))
        if is_full([prepared for _, prepared in self._waiting]):
            self._settle()

    def refuse(self, refusal: Refusal, sop_class_uid: str = "", sop_instance_uid: str = "") -> None:
        self._found.append(
            Stored(
                status=refusal.code,
                reason=refusal.reason,
                may_try_again=self.direct.may_try_again(refusal),
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
            )
        )

    def finish(self) -> list[Stored]:
        self._settle()
        return self._found

    def discard(self) -> None:
        """Forget what is not durable yet: nobody waits for it any more."""
        for _, prepared in self._waiting:
            prepared.incoming.discard()
        self._waiting = []

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        outcomes = self.direct.settle([prepared for _, prepared in waiting])
        for (place, prepared), outcome in zip(waiting, outcomes, strict=True):
            self._found[place] = self._stored(prepared, outcome)

    def _stored(self, prepared: Prepared, outcome: Outcome) -> Stored:
        instance = prepared.received.instance
        code, reason = (outcome.status, outcome.reason or "") if isinstance(outcome, Received) else outcome
        return Stored(
            status=code,
            reason=reason,
            may_try_again=self.direct.may_try_again(outcome),
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            study_uid=instance.study_instance_uid,
            series_uid=instance.series_instance_uid,
        )


class FileParts:
    """Each part is a file (PS3.10): it streams to the spool."""

    are_independent = True  #: a file that came whole is stored, whatever becomes of the others

    def __init__(self, results: Results, sender: Sender) -> None:
        self._results = results
        self._sender = sender
        self._stream: FileStream | None = None
        self._count = 0

    def begin(self, headers: dict[str, str]) -> None:
        self._count += 1
        check_count(self._count)
        kind, _ = media_type(headers.get("content-type", DICOM))
        self._stream = FileStream(self._results.direct.door, self._sender) if kind == DICOM else None
        if self._stream is None:
            self._results.refuse(_NOT_A_FILE)

    def write(self, piece: bytes | memoryview) -> None:
        if self._stream is not None:
            self._stream.write(piece)

    def end(self) -> None:
        if self._stream is not None:
            self._results.judge(self._stream)
            self._stream = None

    def finish(self) -> list[Stored]:
        """The message has ended: make the rest durable. A part that is still open was cut short."""
        self._discard_stream()
        return self._results.finish()

    def discard(self) -> None:
        self._discard_stream()
        self._results.discard()

    def _discard_stream(self) -> None:
        if self._stream is not None:
            self._stream.discard()
            self._stream = None
