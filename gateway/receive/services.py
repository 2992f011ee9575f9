"""DIMSE commands (PS3.7): decode what a peer asks, encode what we answer. Pure.

Command sets are always implicit VR little endian (PS3.7 6.3.1). Only what C-ECHO and C-STORE need is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from gateway.errors import Rejected
from gateway.receive import status

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101
#: Generous: a C-STORE-RQ has some 250 bytes. Unknown commands may hold more.
COMMAND_MOST_BYTES = 16_384

_HEADER = Struct("<HHI")
_USHORT = Struct("<HHIH")
_GROUP_LENGTH = Struct("<HHII")
_PDV = Struct(">BBIIBB")
_P_DATA, _COMMAND_LAST = 0x04, 0x03
_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _REPLIED_ID = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _ERROR_COMMENT, _SOP_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000


@dataclass(frozen=True, slots=True)
class Command:
    """A request, as far as we need it (PS3.7 tables 9.3-1 and 9.3-12)."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str


def decode_command(encoded: bytes | bytearray) -> Command:
    """Read a command set. Raises :class:`Rejected` when it is damaged or lacks what every request must have."""
    values: dict[int, bytes] = {}
    pos, end = 0, len(encoded)
    while pos < end:
        if pos + 8 > end:
            raise Rejected("The command ends within an element.", status=status.CANNOT_UNDERSTAND)
        group, element, length = _HEADER.unpack_from(encoded, pos)
        start, pos = pos + 8, pos + 8 + length
        if group != 0x0000 or pos > end:
            raise Rejected("The command holds an element that does not fit.", status=status.CANNOT_UNDERSTAND)
        values[element] = bytes(encoded[start:pos])
    for needed in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE):
        if len(values.get(needed, b"")) != 2 and not (needed == _MESSAGE_ID and _is_cancel(values)):
            raise Rejected(f"The command lacks (0000,{needed:04X}).", status=status.CANNOT_UNDERSTAND)
    return Command(
        field=int.from_bytes(values[_COMMAND_FIELD], "little"),
        message_id=int.from_bytes(values.get(_MESSAGE_ID, b""), "little"),
        has_data_set=int.from_bytes(values[_DATA_SET_TYPE], "little") != NO_DATA_SET,
        sop_class_uid=_uid(values.get(_SOP_CLASS, b"")),
        sop_instance_uid=_uid(values.get(_SOP_INSTANCE, b"")),
    )


def _is_cancel(values: dict[int, bytes]) -> bool:
    """C-CANCEL-RQ names the message to cancel instead of having an id of its own (PS3.7 table 9.3-6)."""
    return int.from_bytes(values.get(_COMMAND_FIELD, b""), "little") == C_CANCEL_RQ


def encode_response(context_id: int, request: Command, code: int, reason: str = "") -> bytes:
    """The answer to ``request`` as one complete P-DATA-TF PDU (PS3.8 9.3.5): one command fragment, the last."""
    elements = _text(_SOP_CLASS, request.sop_class_uid, b"\0")
    elements += _USHORT.pack(0, _COMMAND_FIELD, 2, request.field | RESPONSE)
    elements += _USHORT.pack(0, _REPLIED_ID, 2, request.message_id)
    elements += _USHORT.pack(0, _DATA_SET_TYPE, 2, NO_DATA_SET)
    elements += _USHORT.pack(0, _STATUS, 2, code)
    elements += _text(_ERROR_COMMENT, status.comment(reason), b" ")
    elements += _text(_SOP_INSTANCE, request.sop_instance_uid, b"\0")
    command = _GROUP_LENGTH.pack(0, 0, 4, len(elements)) + elements
    pdv_bytes = len(command) + 2
    return _PDV.pack(_P_DATA, 0, pdv_bytes + 4, pdv_bytes, context_id, _COMMAND_LAST) + command


def _text(element: int, text: str, padding: bytes) -> bytes:
    if not text:
        return b""
    value = text.encode("ascii", "replace")
    value += padding * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")
