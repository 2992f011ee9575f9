"""DIMSE commands (PS3.7): decode what a peer asks, encode what we answer. Pure.

Command sets are always implicit VR little endian (PS3.7 6.3.1). Only what C-ECHO, C-STORE and storage commitment need is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from gateway.errors import Rejected
from gateway.receive import status

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000
NO_DATA_SET = 0x0101
_SOME_DATA_SET = 0x0001
#: Generous: a C-STORE-RQ has some 250 bytes. Unknown commands may hold more.
COMMAND_MOST_BYTES = 16_384

_FRAGMENT_BYTES = 16 << 10
_HEADER = Struct("<HHI")
_USHORT = Struct("<HHIH")
_GROUP_LENGTH = Struct("<HHII")
_PDV = Struct(">BBIIBB")
_P_DATA, _COMMAND_LAST, _DATA_MORE, _DATA_LAST = 0x04, 0x03, 0x00, 0x02
_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _REPLIED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _SOP_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000
_REQUESTED_CLASS, _REQUESTED_INSTANCE, _EVENT_TYPE, _ACTION_TYPE = 0x0003, 0x1001, 0x1002, 0x1008


@dataclass(frozen=True, slots=True)
class Command:
    """A request, as far as we need it (PS3.7 tables 9.3-1, 9.3-12 and 10.3-7), or a response to one of ours (10.3-2)."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    action_type: int = 0  #: of an N-ACTION
    replied_id: int = 0  #: of a response: what it answers
    status: int = 0  #: of a response


def decode_command(encoded: bytes | bytearray) -> Command:
    """Read a command set. Raises :class:`Rejected` when it is damaged or lacks what every request must have."""
    values: dict[int, bytes] = {}
    encoded = bytes(encoded)
    pos, end = 0, len(encoded)
    while pos < end:
        if pos + 8 > end:
            raise Rejected("The command ends within an element.", status=status.CANNOT_UNDERSTAND)
        group, element, length = _HEADER.unpack_from(encoded, pos)
        start, pos = pos + 8, pos + 8 + length
        if group != 0x0000 or pos > end:
            raise Rejected("The command holds an element that does not fit.", status=status.CANNOT_UNDERSTAND)
        values[element] = encoded[start:pos]
    for needed in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE):
        if len(values.get(needed, b"")) != 2 and not (needed == _MESSAGE_ID and _names_another(values)):
            raise Rejected(f"The command lacks (0000,{needed:04X}).", status=status.CANNOT_UNDERSTAND)
    return Command(
        field=int.from_bytes(values[_COMMAND_FIELD], "little"),
        message_id=int.from_bytes(values.get(_MESSAGE_ID, b""), "little"),
        has_data_set=int.from_bytes(values[_DATA_SET_TYPE], "little") != NO_DATA_SET,
        sop_class_uid=_uid(values.get(_SOP_CLASS) or values.get(_REQUESTED_CLASS, b"")),
        sop_instance_uid=_uid(values.get(_SOP_INSTANCE) or values.get(_REQUESTED_INSTANCE, b"")),
        action_type=int.from_bytes(values.get(_ACTION_TYPE, b""), "little"),
        replied_id=int.from_bytes(values.get(_REPLIED_ID, b""), "little"),
        status=int.from_bytes(values.get(_STATUS, b""), "little"),
    )


def _names_another(values: dict[int, bytes]) -> bool:
    """C-CANCEL-RQ (PS3.7 table 9.3-6) and responses name another message instead of having an id of their own."""
    field = int.from_bytes(values.get(_COMMAND_FIELD, b""), "little")
    return field == C_CANCEL_RQ or bool(field & RESPONSE)


def encode_response(context_id: int, request: Command, code: int, reason: str = "") -> bytes:
    """The answer to ``request`` as one complete P-DATA-TF PDU (PS3.8 9.3.5): one command fragment, the last."""
    elements = _text(_SOP_CLASS, request.sop_class_uid, b"\0")
    elements += _USHORT.pack(0, _COMMAND_FIELD, 2, request.field | RESPONSE)
    elements += _USHORT.pack(0, _REPLIED_ID, 2, request.message_id)
    elements += _USHORT.pack(0, _DATA_SET_TYPE, 2, NO_DATA_SET)
    elements += _USHORT.pack(0, _STATUS, 2, code)
    elements += _text(_ERROR_COMMENT, status.comment(reason), b" ")
    elements += _text(_SOP_INSTANCE, request.sop_instance_uid, b"\0")
    if request.action_type:
        elements += _USHORT.pack(0, _ACTION_TYPE, 2, request.action_type)
    return _command_pdu(context_id, elements)


def encode_event_report(
    context_id: int,
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    event_type: int,
    data: bytes,
    *,
    max_pdu_bytes: int,
) -> bytes:
    """An N-EVENT-REPORT-RQ (PS3.7 table 10.3-1) with its data set, in PDUs no longer than the peer takes (0: any length)."""
    elements = _text(_SOP_CLASS, sop_class_uid, b"\0")
    elements += _USHORT.pack(0, _COMMAND_FIELD, 2, N_EVENT_REPORT_RQ) + _USHORT.pack(0, _MESSAGE_ID, 2, message_id)
    elements += _USHORT.pack(0, _DATA_SET_TYPE, 2, _SOME_DATA_SET)
    elements += _text(_SOP_INSTANCE, sop_instance_uid, b"\0") + _USHORT.pack(0, _EVENT_TYPE, 2, event_type)
    encoded = _command_pdu(context_id, elements)
    most = max(min(max_pdu_bytes or _FRAGMENT_BYTES, _FRAGMENT_BYTES) - 6, 2) & ~1
    for start in range(0, len(data), most):
        fragment = data[start : start + most]
        control = _DATA_LAST if start + most >= len(data) else _DATA_MORE
        pdv_bytes = len(fragment) + 2
        encoded += _PDV.pack(_P_DATA, 0, pdv_bytes + 4, pdv_bytes, context_id, control) + fragment
    return encoded


def _command_pdu(context_id: int, elements: bytes) -> bytes:
    command = _GROUP_LENGTH.pack(0, 0, 4, len(elements)) + elements
    pdv_bytes = len(command) + 2
    return _PDV.pack(_P_DATA, 0, pdv_bytes + 4, pdv_bytes, context_id, _COMMAND_LAST) + command


def _text(element: int, text: str, padding: bytes) -> bytes:
    if not text:
        return b""
    value = text.encode("latin-1", "replace")
    value += padding * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value


def _uid(value: bytes) -> str:
    """Byte for byte: also what is no legal identifier goes back as it came."""
    return value.decode("latin-1").strip(" \0")
