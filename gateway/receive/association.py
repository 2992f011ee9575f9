"""One association, from its request to its end, as a state machine that owns no socket.

The loop hands in complete PDUs and sends what gathers in ``out``. Data fragments go straight into the object being
received; when an object is complete it stands in ``job`` and nothing more is taken from this peer until the loop has
had it made durable and calls ``answer``. Nothing is acknowledged in any other way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from gateway.dicom.commitment import (
    EXPLICIT,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NO_SUCH_OBJECT,
    PUSH_MODEL,
    REQUEST_ACTION,
    REQUEST_MOST_BYTES,
    RESOURCE_LIMITATION,
    WELL_KNOWN_INSTANCE,
)
from gateway.dicom.file_meta import FileMetaInputs
from gateway.errors import Rejected, Retryable
from gateway.model import Arrival, Door
from gateway.receive import guard, services, status
from gateway.receive.door import Expected
from gateway.receive.guard import ProtocolViolation
from gateway.receive.negotiation import Agreed, Context, Refused, Situation, negotiate
from gateway.receive.services import Command
from gateway.receive.talk import Action, Certificate, Host, Job, State
from gateway.spool.incoming import Incoming

_PDV_HEADER = Struct(">IBB")
_IS_COMMAND, _IS_LAST = 1, 2


@dataclass(slots=True)
class _Message:
    """The request in progress. Without ``incoming`` its data set is passed over and ``refusal`` answered."""

    context: Context
    request: Command
    started: float
    incoming: Incoming | None = None
    refusal: tuple[int, str] = (status.SUCCESS, "")
    action: bytearray | None = None  #: the data set of an N-ACTION, as far as it has come


class Association:
    """See the module. ``peer`` is the network address of the other side, ``certificate`` what it showed over TLS; None: plain."""

    def __init__(self, host: Host, peer: str, *, certificate: Certificate | None = None) -> None:
        self.state = State.WAITING
        self.out = bytearray()
        self.job: Job | None = None
        self.action: Action | None = None  #: like ``job``: the loop has it recorded and calls ``answer``
        self.calling_ae = self.called_ae = ""
        self.ended_by = "connection closed"
        self._host = host
        self.peer = peer
        self._certificate = certificate
        self._contexts: dict[int, Context] = {}
        self._command = bytearray()
        self._message: _Message | None = None
        self._peer_max_pdu_bytes = 0
        self._report_id = 0
        self._report_answered: Callable[[int | None], None] | None = None

    @property
    def is_within_message(self) -> bool:
        return self._message is not None or bool(self._command)

    def on_pdu(self, kind: int, body: memoryview) -> None:
        """Take one complete PDU whose type is allowed in this state. Raises :class:`ProtocolViolation`."""
        if kind == guard.P_DATA:
            self._on_data(body)
        elif kind == guard.ASSOCIATE_RQ:
            self._on_request(bytes(body))
        elif kind == guard.RELEASE_RQ:
            self.out += bytes([guard.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0])  # PS3.8 9.3.7
            self._end("released")
        elif kind == guard.ABORT:
            self._end("aborted by the peer")
        else:
            raise ProtocolViolation("A release was answered that nobody asked for.", guard.UNEXPECTED_PDU)

    def answer(self, code: int, reason: str = "") -> None:
        """Answer the C-STORE whose object was ``job``, or whose data set was passed over."""
        message, self._message, self.job, self.action = self._message, None, None, None
        if message is not None and self.state is State.OPEN:
            self._respond(message, code, reason)

    def report(self, event_type: int, encode: Callable[[bool], bytes], when_answered: Callable[[int | None], None]) -> bool:
        """Send an N-EVENT-REPORT of storage commitment, if the association is agreed for it and nothing else is under way.

        ``encode`` gets whether VRs are explicit. ``when_answered`` is called once, with the status or, when none came, None.
        """
        context = next((each for each in self._contexts.values() if each.abstract_syntax_uid == PUSH_MODEL), None)
        if self.state is not State.OPEN or context is None or self.is_within_message or self._report_answered is not None:
            return False
        self._report_id, self._report_answered = self._report_id % 65535 + 1, when_answered
        self.out += services.encode_event_report(
            context.context_id,
            self._report_id,
            PUSH_MODEL,
            WELL_KNOWN_INSTANCE,
            event_type,
            encode(context.transfer_syntax_uid == EXPLICIT),
            max_pdu_bytes=self._peer_max_pdu_bytes,
        )
        return True

    def abort(self, abort_reason: int, explanation: str) -> None:
        """Break off: A-ABORT is sent, what was half received is forgotten."""
        if self.state is not State.ENDING:
            if self.state is State.WAITING:
                self._tell("call_failed", reason=explanation)
            self.out += guard.abort_pdu(abort_reason)
            self._end(explanation)

    def fail(self, explanation: str) -> None:
        """The line broke, and nothing more can be said."""
        if self.state is State.WAITING:
            self._tell("call_failed", reason=explanation)
        self.ended_by = explanation

    def forget(self) -> None:
        """Drop the object that was being received, unless it is complete and being made durable."""
        self._end_report(None)
        if self._message is not None and self._message.incoming is not None and self.job is None:
            self._message.incoming.discard()
            self._message = None

    def _end_report(self, code: int | None) -> None:
        when_answered, self._report_answered = self._report_answered, None
        if when_answered is not None:
            when_answered(code)

    def _end(self, why: str) -> None:
        self.state, self.ended_by = State.ENDING, why
        self.forget()

    def _on_request(self, body: bytes) -> None:
        result = negotiate(
            body,
            self._host.settings,
            situation=Situation(
                open_associations=self._host.open_associations(),
                from_address=self._host.associations_from(self.peer),
                congestion=self._host.congestion(),
            ),
            peer=self.peer,
            certificate=self._certificate.names if self._certificate else None,
        )
        self.calling_ae, self.called_ae = result.calling_ae, result.called_ae
        self.out += result.pdu
        if isinstance(result, Refused):
            self._end(f"rejected: {result.reason}")
            self._tell("association_rejected", reason=result.reason)
        else:
            self._open(result)

    def _open(self, agreed: Agreed) -> None:
        self._contexts = agreed.contexts
        self._peer_max_pdu_bytes = agreed.peer_max_pdu_bytes
        self.state = State.OPEN
        self._tell("association_accepted", contexts=len(agreed.contexts), proposed=agreed.proposed)

    def _on_data(self, body: memoryview) -> None:
        """The presentation data values of one P-DATA-TF (PS3.8 9.3.5.1 and annex E.2)."""
        pos, end = 0, len(body)
        while pos < end:
            if pos + 6 > end:
                raise ProtocolViolation("A presentation data value is cut short.", guard.INVALID_PARAMETER)
            length, context_id, control = _PDV_HEADER.unpack_from(body, pos)
            start, pos = pos + 6, pos + 4 + length
            if length < 2 or pos > end or control > _IS_COMMAND | _IS_LAST:
                raise ProtocolViolation("A presentation data value has a wrong length or header.", guard.INVALID_PARAMETER)
            if self.job is not None or self.action is not None:
                raise ProtocolViolation("The next message came before the answer.", guard.UNEXPECTED_PARAMETER)
            if control & _IS_COMMAND:
                self._on_command(context_id, body[start:pos], bool(control & _IS_LAST))
            else:
                self._on_data_set(context_id, body[start:pos], bool(control & _IS_LAST))

    def _on_command(self, context_id: int, fragment: memoryview, is_last: bool) -> None:
        context = self._contexts.get(context_id)
        if context is None or self._message is not None:
            raise ProtocolViolation("A command came at the wrong time or place.", guard.UNEXPECTED_PARAMETER)
        self._command += fragment
        if len(self._command) > services.COMMAND_MOST_BYTES:
            raise ProtocolViolation("A command is too long.", guard.INVALID_PARAMETER)
        if not is_last:
            return
        encoded, self._command = self._command, bytearray()
        try:
            request = services.decode_command(encoded)
        except Rejected as error:
            raise ProtocolViolation(error.reason, guard.INVALID_PARAMETER) from error
        self._on_complete_command(_Message(context, request, time.monotonic()))

    def _on_complete_command(self, message: _Message) -> None:
        request = message.request
        if request.field == services.N_EVENT_REPORT_RQ | services.RESPONSE and not request.has_data_set:
            if self._report_answered is None or request.replied_id != self._report_id:
                raise ProtocolViolation("An event report was answered that nobody sent.", guard.UNEXPECTED_PARAMETER)
            self._end_report(request.status)
            return
        if request.field & services.RESPONSE:
            raise ProtocolViolation("An answer came that nobody asked for.", guard.UNEXPECTED_PARAMETER)
        if request.field == services.C_STORE_RQ and request.has_data_set:
            self._begin_object(message)
            self._message = message
            return
        if request.field == services.N_ACTION_RQ and message.context.abstract_syntax_uid == PUSH_MODEL:
            self._begin_action(message)
        elif request.field == services.C_ECHO_RQ:
            message.refusal = (status.SUCCESS, "")
        elif request.field == services.C_STORE_RQ:
            message.refusal = (status.CANNOT_UNDERSTAND, "The request brings no object.")
        else:
            message.refusal = (status.UNRECOGNIZED_OPERATION, "Only C-ECHO, C-STORE and storage commitment are served here.")
        if request.has_data_set:
            self._message = message  # answered when its data set has passed by
        elif request.field != services.C_CANCEL_RQ:  # PS3.7 9.3.2.3: a cancel has no answer of its own
            self._respond(message, *message.refusal)

    def _begin_action(self, message: _Message) -> None:
        """PS3.4 J.3.2: which requests are understood at all."""
        request = message.request
        if request.sop_instance_uid != WELL_KNOWN_INSTANCE:
            message.refusal = (NO_SUCH_OBJECT, "Not the well-known instance of storage commitment.")
        elif request.action_type != REQUEST_ACTION:
            message.refusal = (NO_SUCH_ACTION, "Only action 1, request storage commitment, is known.")
        elif not request.has_data_set:
            message.refusal = (INVALID_ARGUMENT, "The request names no objects.")
        else:
            message.action = bytearray()

    def _begin_object(self, message: _Message) -> None:
        reason = self._host.refusal()
        if reason is None:
            try:
                message.incoming = self._host.door.begin(
                    FileMetaInputs(
                        transfer_syntax_uid=message.context.transfer_syntax_uid,
                        sop_class_uid=message.request.sop_class_uid,
                        sop_instance_uid=message.request.sop_instance_uid,
                        calling_ae=self.calling_ae,
                        called_ae=self.called_ae,
                    )
                )
            except Retryable as error:
                reason = error.reason
        if reason is not None:
            message.refusal = (status.OUT_OF_RESOURCES, reason)

    def _on_data_set(self, context_id: int, fragment: memoryview, is_last: bool) -> None:
        message = self._message
        if message is None or message.context.context_id != context_id:
            raise ProtocolViolation("A data set came without its command.", guard.UNEXPECTED_PARAMETER)
        if message.incoming is not None:
            self._append(message, message.incoming, fragment)
        elif message.action is not None:
            message.action += fragment
            if len(message.action) > REQUEST_MOST_BYTES:
                message.action, message.refusal = None, (RESOURCE_LIMITATION, "The request is too large.")
        if not is_last:
            return
        if message.action is not None:
            self.action = Action(bytes(message.action), message.context.transfer_syntax_uid, self.calling_ae, self.called_ae)
            return
        if message.incoming is None:
            self.answer(*message.refusal)
            return
        self.job = Job(message.incoming, self._arrival(), self._expected(message))

    def _append(self, message: _Message, incoming: Incoming, fragment: memoryview) -> None:
        try:
            incoming.write(fragment)
            reason = self._host.door.too_large() if incoming.size_bytes > self._host.door.max_object_bytes else None
        except Retryable as error:
            reason = error.reason
        if reason is not None:
            incoming.discard()
            message.incoming, message.refusal = None, (status.OUT_OF_RESOURCES, reason)

    def _arrival(self) -> Arrival:
        return Arrival(
            door=Door.DIMSE,
            calling_ae=self.calling_ae,
            called_ae=self.called_ae,
            peer=self.peer,
            received_at=self._host.door.files.now(),
        )

    def _expected(self, message: _Message) -> Expected:
        return Expected(
            sop_class_uid=message.request.sop_class_uid,
            sop_instance_uid=message.request.sop_instance_uid,
            abstract_syntax_uid=message.context.abstract_syntax_uid,
        )

    def _respond(self, message: _Message, code: int, reason: str) -> None:
        self.out += services.encode_response(message.context.context_id, message.request, code, reason)
        seconds = time.monotonic() - message.started
        self._tell("answered", command=message.request.field, status=code, seconds=seconds)

    def _tell(self, event: str, **fields: str | int | float) -> None:
        self._host.on_event(event, calling_ae=self.calling_ae, called_ae=self.called_ae, peer=self.peer, **fields)
