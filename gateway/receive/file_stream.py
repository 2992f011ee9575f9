"""One DICOM file on its way in from anywhere but an association: its header is read and left behind, its data set goes to the spool.

So the same object has the same digest through every door. What C-STORE refuses while it negotiates (a SOP class or an encoding that
we do not take) is refused here, and nothing of it is kept; what it finds damaged goes to quarantine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import TRANSFER_SYNTAX_UID, guess_transfer_syntax, read_file_meta
from gateway.dicom.text import printable
from gateway.errors import Quarantined, Rejected, Retryable
from gateway.model import Arrival
from gateway.receive import status
from gateway.receive.containment import Refusal, prepare
from gateway.receive.door import Door, Expected, Prepared
from gateway.receive.negotiation import accepts, transfer_syntaxes
from gateway.receive.talk import Job
from gateway.spool.incoming import Incoming

_MEDIA_STORAGE_SOP_CLASS_UID, _MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020002, 0x00020003
#: The file header must end within the first bytes of a file. Real ones have some hundred bytes.
HEAD_BYTES = 64 * 1024

#: What negotiation says by refusing a presentation context, as a failure reason (PS3.18 I.2.2).
SOP_CLASS_NOT_SUPPORTED, TRANSFER_SYNTAX_NOT_SUPPORTED = 0x0122, 0xC122
_CLASS_REFUSED = Refusal(SOP_CLASS_NOT_SUPPORTED, "Objects of this SOP class are not accepted.")
_SYNTAX_REFUSED = Refusal(TRANSFER_SYNTAX_NOT_SUPPORTED, "Objects in this transfer syntax are not accepted.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who brings files, as rows and file headers know it."""

    calling_ae: str = ""
    called_ae: str = ""
    accept_raw_data: bool = False


class FileStream:
    """``write`` the file, then ``finish`` or ``discard`` it. What goes wrong is remembered and told by ``finish``; nothing is raised.

    Memory holds at most 1 MiB of it. Used by one thread at a time.
    """

    def __init__(self, door: Door, sender: Sender) -> None:
        self._door = door
        self._sender = sender
        self._head: bytearray | None = bytearray()
        self._incoming: Incoming | None = None
        self._refusal: Refusal | None = None
        self.sop_class_uid = ""  #: as the file header says; the object itself may say otherwise
        self.sop_instance_uid = ""

    @property
    def size_bytes(self) -> int:
        """Of what waits in memory or in a temporary file."""
        return self._incoming.size_bytes if self._incoming else len(self._head or b"")

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        if self._head is not None:
            self._head += piece
            if len(self._head) >= HEAD_BYTES:
                self._open()
        elif self._incoming is not None:
            self._append(self._incoming, piece)

    def finish(self, arrival: Arrival, expected: Expected) -> Prepared | Refusal:
        """The file is complete: judge it. What is prepared must still be made durable.

        The UIDs of the file header are an announcement (PS3.10 7.1): an object that says otherwise is refused as one from a scanner.
        """
        if self._head is not None:
            self._open()
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return self._refusal or Refusal(status.CANNOT_UNDERSTAND, "There is nothing in it.")
        announced = replace(expected, sop_class_uid=self.sop_class_uid, sop_instance_uid=self.sop_instance_uid)
        prepared = prepare(self._door, Job(incoming, arrival, announced))
        if isinstance(prepared, Refusal) or prepared.received.reason is not None:
            return prepared
        if not accepts(prepared.received.instance.sop_class_uid, raw_data=self._sender.accept_raw_data):
            incoming.discard()
            return _CLASS_REFUSED
        return prepared

    def discard(self) -> None:
        """Forget the file. May be called at any time, and again."""
        self._head = None
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _open(self) -> None:
        """The header is complete: what is behind it is the data set."""
        head, self._head = bytes(self._head or b""), None
        try:
            meta, start = read_file_meta(head)
            syntax = _text(meta, TRANSFER_SYNTAX_UID) or guess_transfer_syntax(head, start)
        except (Quarantined, Rejected) as error:
            self._refusal = Refusal(status.CANNOT_UNDERSTAND, error.reason)
            return
        self.sop_class_uid = _text(meta, _MEDIA_STORAGE_SOP_CLASS_UID)
        self.sop_instance_uid = _text(meta, _MEDIA_STORAGE_SOP_INSTANCE_UID)
        if self.sop_class_uid and not accepts(self.sop_class_uid, raw_data=self._sender.accept_raw_data):
            self._refusal = _CLASS_REFUSED
        elif syntax not in transfer_syntaxes():
            self._refusal = _SYNTAX_REFUSED
        else:
            self._begin(syntax, head, start)

    def _begin(self, syntax: str, head: bytes, start: int) -> None:
        inputs = FileMetaInputs(
            transfer_syntax_uid=syntax,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            calling_ae=self._sender.calling_ae,
            called_ae=self._sender.called_ae,
        )
        try:
            self._incoming = incoming = self._door.begin(inputs)
        except Retryable as error:
            self._refusal = Refusal(status.OUT_OF_RESOURCES, error.reason)
            return
        self._append(incoming, memoryview(head)[start:])

    def _append(self, incoming: Incoming, piece: bytes | bytearray | memoryview) -> None:
        try:
            incoming.write(piece)
        except Retryable as error:
            self._refuse(error.reason)
            return
        if incoming.size_bytes > self._door.max_object_bytes:
            self._refuse(self._door.too_large())

    def _refuse(self, reason: str) -> None:
        self.discard()
        self._refusal = Refusal(status.OUT_OF_RESOURCES, reason)


def _text(meta: dict[int, bytes], tag: int) -> str:
    return printable(meta.get(tag, b"").decode("ascii", "replace").strip(" \0"))[:64]
