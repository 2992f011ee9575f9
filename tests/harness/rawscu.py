"""A DICOM storage client written from the standard alone, sharing no code with the receiver under test or with pynetdicom.

A witness must not make the same mistake as the accused. It speaks just enough: A-ASSOCIATE, C-STORE, A-RELEASE (PS3.8 section
9.3, PS3.7 section 9.3.1 and annex E). It sends the command and its data set in one write, so it is also fast.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from types import TracebackType

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
#: Our own root for this client: a name-based UUID under 2.25 (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = "2.25.170655042870434021470914118722361803543"
MAX_PDU_BYTES = 128 * 1024

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

Context = tuple[str, str]


class Lost(ConnectionError):
    """The association is gone: refused, rejected, aborted, closed or silent. Whatever had no answer is unknown."""


class RawAssociation:
    """One established association. Use it as a context manager: it is released on success and aborted on error."""

    def __init__(
        self,
        address: tuple[str, int],
        contexts: Iterable[Context],
        *,
        called_ae: str,
        calling_ae: str = "WITNESS",
        timeout_secs: float = 30.0,
        no_delay: bool = True,
    ) -> None:
        self._offered = {2 * index + 1: context for index, context in enumerate(dict.fromkeys(contexts))}
        self.accepted: dict[Context, int] = {}
        self._message_id = 0
        self._max_pdu_bytes = MAX_PDU_BYTES
        try:
            self._socket = socket.create_connection(address, timeout=timeout_secs)
        except OSError as error:
            raise Lost(f"no connection ({error})") from error
        if no_delay:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._negotiate(called_ae, calling_ae)

    def __enter__(self) -> RawAssociation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.release()
        else:
            self.close()

    def store(self, context: Context, sop_instance_uid: str, data_set: bytes) -> int:
        """Send one object and return the status of the answer. Raises :class:`Lost`, ``KeyError`` for a refused context."""
        context_id = self.accepted[context]
        self._message_id = self._message_id % 0xFFFF + 1
        command = _c_store_command(self._message_id, context[0], sop_instance_uid)
        self._send(
            b"".join((*self._pdus(context_id, command, is_command=True), *self._pdus(context_id, data_set, is_command=False)))
        )
        answer = _parse_command(self._receive_message())
        if answer.get(0x0120) != self._message_id:
            raise Lost("the answer belongs to another message")
        return answer[0x0900]

    def release(self) -> None:
        try:
            self._send(struct.pack(">BxI4x", RELEASE_RQ, 4))
            self._receive_pdu()
        except Lost:
            pass
        finally:
            self.close()

    def close(self) -> None:
        self._socket.close()

    def _negotiate(self, called_ae: str, calling_ae: str) -> None:
        """PS3.8 9.3.2 and 9.3.3."""
        user = _item(0x51, struct.pack(">I", MAX_PDU_BYTES)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        body = struct.pack(">Hxx16s16s32x", 1, called_ae.encode().ljust(16), calling_ae.encode().ljust(16))
        body += _item(0x10, APPLICATION_CONTEXT.encode())
        for context_id, (abstract, transfer) in self._offered.items():
            syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
            body += _item(0x20, struct.pack(">B3x", context_id) + syntaxes)
        body += _item(0x50, user)
        self._send(struct.pack(">BxI", ASSOCIATE_RQ, len(body)) + body)
        kind, answer = self._receive_pdu()
        if kind != ASSOCIATE_AC:
            self.close()
            raise Lost("the association was rejected" if kind == ASSOCIATE_RJ else "the association was aborted")
        self._read_acceptance(answer[68:])

    def _read_acceptance(self, items: bytes) -> None:
        for kind, value in _items(items):
            if kind == 0x21 and value[2] == 0:
                self.accepted[self._offered[value[0]]] = value[0]
            elif kind == 0x50:
                for sub_kind, sub_value in _items(value):
                    if sub_kind == 0x51:
                        self._max_pdu_bytes = struct.unpack(">I", sub_value)[0] or MAX_PDU_BYTES

    def _pdus(self, context_id: int, message: bytes, *, is_command: bool) -> Iterable[bytes]:
        """P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5 and annex E.2)."""
        room = min(self._max_pdu_bytes, MAX_PDU_BYTES) - 6
        for start in range(0, len(message), room):
            fragment = message[start : start + room]
            control = int(is_command) | (2 if start + room >= len(message) else 0)
            yield struct.pack(">BxIIBB", P_DATA, len(fragment) + 6, len(fragment) + 2, context_id, control)
            yield fragment

    def _receive_message(self) -> bytes:
        message = b""
        while True:
            kind, body = self._receive_pdu()
            if kind != P_DATA:
                raise Lost("the association was aborted" if kind == ABORT else "an unexpected PDU came")
            position = 0
            while position < len(body):
                (length,) = struct.unpack_from(">I", body, position)
                message += body[position + 6 : position + 4 + length]
                if body[position + 5] & 2:
                    return message
                position += 4 + length

    def _receive_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._receive(6))
        return kind, self._receive(length)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Lost(f"sending failed ({error})") from error

    def _receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            try:
                piece = self._socket.recv(length - len(received))
            except OSError as error:
                raise Lost(f"receiving failed ({error})") from error
            if not piece:
                raise Lost("the peer closed the connection")
            received += piece
        return received


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _items(data: bytes) -> Iterable[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


def _c_store_command(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """C-STORE-RQ (PS3.7 9.3.1.1): Implicit VR Little Endian, priority medium, data set present."""
    body = b"".join((
        _element(0x0002, _uid(sop_class_uid)),
        _element(0x0100, struct.pack("<H", 0x0001)),
        _element(0x0110, struct.pack("<H", message_id)),
        _element(0x0700, struct.pack("<H", 0)),
        _element(0x0800, struct.pack("<H", 1)),
        _element(0x1000, _uid(sop_instance_uid)),
    ))  # fmt: skip
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def _parse_command(data: bytes) -> dict[int, int]:
    """The two-byte elements of a command set, by element number of group 0000."""
    found: dict[int, int] = {}
    position = 0
    while position < len(data):
        _, element, length = struct.unpack_from("<HHI", data, position)
        if length == 2:
            (found[element],) = struct.unpack_from("<H", data, position + 8)
        position += 8 + length
    return found
