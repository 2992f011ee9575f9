"""What a store request holds, taken in while it comes: files, or metadata in JSON with its bulk data beside it. Blocking; no routes."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.dicom import json_model
from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.dicom.json_model import PIXEL_DATA
from gateway.dicom.walker import EXPLICIT_LITTLE
from gateway.errors import Rejected, Retryable
from gateway.model import Arrival, Json, JsonObject, Received
from gateway.receive import status
from gateway.receive.committer import Outcome
from gateway.receive.containment import Refusal
from gateway.receive.direct import DirectDoor, is_full
from gateway.receive.door import Expected, Prepared
from gateway.receive.file_stream import FileStream, Sender
from gateway.spool.durable import unwritable
from gateway.web.dicomweb_accept import DICOM, DICOM_JSON, OCTETS
from gateway.web.frame_syntax import is_video, syntax_of
from gateway.web.multipart_reader import media_type

_METADATA_MOST_BYTES = 16 << 20
_PARTS_MOST = 100_000
_PIECE_BYTES = 512 * 1024
#: One object's metadata is parsed at a time: that takes many times its size.
_one_at_a_time = threading.Lock()

_SOP_CLASS_UID, _SOP_INSTANCE_UID = "00080016", "00080018"
#: Not of the data set: some clients tell the encoding of what they compressed by one of these.
_TRANSFER_SYNTAX_UID, _AVAILABLE_SYNTAX = "00020010", "00083002"


def _no_number(_: str) -> float:
    raise ValueError("JSON has no such number")


#: Exact numbers: a decimal string keeps its digits.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
_BLANKS = re.compile(r"[ \t\r\n]*")

_NOT_AN_OBJECT = Refusal(status.CANNOT_UNDERSTAND, "The metadata of the object is no DICOM JSON.")
_NOT_A_FILE = Refusal(status.CANNOT_UNDERSTAND, f"The part is not of the type {DICOM}.")


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
        if self._count > _PARTS_MOST:
            raise Rejected(f"the message has more than {_PARTS_MOST:,} parts", status=413)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _BulkPart:
    """Where one part stands in the temporary file, and what it says of itself."""

    start: int
    size_bytes: int
    content_type: str


class _Bulk:
    """The parts of one BulkDataURI (:class:`~gateway.dicom.json_model.Bulk`)."""

    def __init__(self, descriptor: int, parts: Sequence[_BulkPart], *, is_compressed: bool) -> None:
        self._descriptor = descriptor
        self._parts = parts
        self.fragments = [part.size_bytes for part in parts] if is_compressed else []
        self.size_bytes = sum(part.size_bytes for part in parts)

    def pieces(self, fragment: int | None = None) -> Iterator[bytes]:
        for part in self._parts if fragment is None else [self._parts[fragment]]:
            position, end = part.start, part.start + part.size_bytes
            while position < end:
                piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - position), position)
                if not piece:
                    raise Retryable("A temporary file of the spool is shorter than it was.")
                yield piece
                position += len(piece)


class JsonParts:
    """The first part of type application/dicom+json holds the metadata of all objects, the others are bulk data by Content-Location.

    Bulk data waits in one temporary file. The objects are put together when the message is complete.
    """

    are_independent = False

    def __init__(self, results: Results, sender: Sender) -> None:
        self._results = results
        self._sender = sender
        self._files = results.direct.door.files
        self._metadata: bytearray | None = None
        self._is_metadata = False
        self._headers: dict[str, str] = {}
        self._descriptor, self._name = -1, ""
        self._start = self._end = 0
        self._parts: dict[str, list[_BulkPart]] = {}
        self._count = 0

    def begin(self, headers: dict[str, str]) -> None:
        self._is_metadata = media_type(headers.get("content-type", ""))[0] in (DICOM_JSON, "application/json")
        if self._is_metadata:
            if self._metadata is not None:
                raise Rejected("a message has one part of JSON, which holds all objects", status=400)
            self._metadata = bytearray()
            return
        if "content-location" not in headers:
            raise Rejected("bulk data needs a Content-Location, the BulkDataURI of the metadata", status=400)
        self._count += 1
        if self._count > _PARTS_MOST:
            raise Rejected(f"the message has more than {_PARTS_MOST:,} parts", status=413)
        self._headers, self._start = headers, self._end
        if self._descriptor < 0:
            self._open()

    def write(self, piece: bytes | memoryview) -> None:
        if self._is_metadata and self._metadata is not None:
            self._metadata += piece
            if len(self._metadata) > _METADATA_MOST_BYTES:
                raise Rejected(f"the metadata is larger than {_METADATA_MOST_BYTES >> 20} MiB", status=413)
            return
        self._end += len(piece)
        try:
            while piece:
                piece = memoryview(piece)[os.write(self._descriptor, piece) :]
        except OSError as error:
            raise unwritable(error) from error

    def end(self) -> None:
        if not self._is_metadata:
            part = _BulkPart(
                start=self._start,
                size_bytes=self._end - self._start,
                content_type=self._headers.get("content-type", OCTETS),
            )
            self._parts.setdefault(self._headers["content-location"].strip(), []).append(part)

    def finish(self) -> list[Stored]:
        try:
            if self._metadata is None:
                raise Rejected("the message has no part of application/dicom+json", status=400)
            with _one_at_a_time:
                self._store_all(bytes(self._metadata))
            return self._results.finish()
        finally:
            self._close()

    def discard(self) -> None:
        self._close()
        self._results.discard()

    def _open(self) -> None:
        self._files.check_space()
        try:
            self._descriptor, self._name = self._files.open_temporary()
        except OSError as error:
            raise unwritable(error) from error

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            Path(self._name).unlink(missing_ok=True)

    def _store_all(self, metadata: bytes) -> None:
        """One after the other. What follows a fault in the JSON cannot be read; what came before it is taken."""
        count = 0
        try:
            for dataset in _objects(metadata):
                self._store(dataset)
                count += isinstance(dataset, dict)
        except Rejected as error:
            if not count:
                raise
            self._results.refuse(Refusal(status.CANNOT_UNDERSTAND, error.reason))

    def _store(self, dataset: Json) -> None:
        """Put one object together and have it judged as the file that it would be."""
        if not isinstance(dataset, dict):
            self._results.refuse(_NOT_AN_OBJECT)
            return
        stream = FileStream(self._results.direct.door, self._sender)
        try:
            source = _Source(self._descriptor, self._parts, dataset)
            meta = FileMetaInputs(
                transfer_syntax_uid=source.transfer_syntax_uid,
                sop_class_uid=json_model.text_of(dataset, _SOP_CLASS_UID),
                sop_instance_uid=json_model.text_of(dataset, _SOP_INSTANCE_UID),
            )
            stream.write(encode_file_meta(meta))
            for piece in json_model.encode(dataset, source):
                stream.write(piece)
        except (Rejected, Retryable) as error:
            stream.discard()
            code = error.status if isinstance(error, Rejected) else status.OUT_OF_RESOURCES
            uids = (json_model.text_of(dataset, key)[:64] for key in (_SOP_CLASS_UID, _SOP_INSTANCE_UID))
            self._results.refuse(Refusal(code, error.reason), *uids)
            return
        self._results.judge(stream)


class _Source:
    """The bulk data of one object (:class:`~gateway.dicom.json_model.BulkSource`), and the encoding that its pixel data asks for."""

    def __init__(self, descriptor: int, parts: dict[str, list[_BulkPart]], dataset: JsonObject) -> None:
        self._descriptor = descriptor
        self._parts = parts
        self._pixels = self._pixel_parts(dataset)
        self.transfer_syntax_uid = EXPLICIT_LITTLE
        if self._pixels:
            hints = (json_model.text_of(dataset, _TRANSFER_SYNTAX_UID), json_model.text_of(dataset, _AVAILABLE_SYNTAX))
            first = self._pixels[0]
            begin = os.pread(descriptor, min(first.size_bytes, 64 * 1024), first.start)
            self.transfer_syntax_uid = syntax_of(first.content_type, begin, hints)
        self._is_compressed = self.transfer_syntax_uid != EXPLICIT_LITTLE
        if self._is_compressed and len(self._pixels) != (frames := _frames(dataset)) and not is_video(self.transfer_syntax_uid):
            raise Rejected(
                f"Compressed pixel data of {frames} frame(s) came in {len(self._pixels)} part(s); each frame is a part of its own.",
                status=status.CANNOT_UNDERSTAND,
            )

    def find(self, uri: str, tag: int) -> _Bulk | None:
        if tag == PIXEL_DATA and self._pixels:
            return _Bulk(self._descriptor, self._pixels, is_compressed=self._is_compressed)
        parts = self._parts.get(uri.strip())
        return _Bulk(self._descriptor, parts[:1], is_compressed=False) if parts else None

    def _pixel_parts(self, dataset: JsonObject) -> list[_BulkPart]:
        """All parts that hold pixels: several of one location, or one for each ``<location>/frames/<number>``."""
        element = dataset.get(f"{PIXEL_DATA:08X}")
        uri = element.get("BulkDataURI") if isinstance(element, dict) else None
        if not isinstance(uri, str):
            return []
        if whole := self._parts.get(uri.strip()):
            return whole
        found: list[_BulkPart] = []
        while frame := self._parts.get(f"{uri.strip()}/frames/{len(found) + 1}"):
            found.append(frame[0])
        return found


def _frames(dataset: JsonObject) -> int:
    element = dataset.get("00280008")
    values = element.get("Value") if isinstance(element, dict) else None
    try:
        return int(values[0]) if values else 1
    except (ValueError, TypeError, KeyError, ArithmeticError):
        return 1


def _objects(metadata: bytes) -> Iterator[Json]:
    """The objects of the array, parsed one by one: only one is in memory. Raises :class:`Rejected` (400)."""
    no_array = Rejected("the metadata is not a JSON array of DICOM JSON objects (PS3.18 annex F)", status=400)
    try:
        text = metadata.decode()
        position = _skip(text, 0)
        if text[position : position + 1] != "[":
            raise no_array
        position = _skip(text, position + 1)
        separator = "]" if text[position : position + 1] == "]" else ","
        while separator == ",":
            found, position = _decoder.raw_decode(text, position)
            yield found
            position = _skip(text, position)
            separator = text[position : position + 1]
            position = _skip(text, position + 1)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise no_array from error
    if separator != "]":
        raise no_array


def _skip(text: str, position: int) -> int:
    """Behind the blanks that JSON allows."""
    blanks = _BLANKS.match(text, position)
    return blanks.end() if blanks else position
