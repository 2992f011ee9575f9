"""Metadata in JSON with its bulk data beside it (PS3.18 10.5 and annex F), as a store request brings it. Blocking; no routes.

A message never costs much more than it is large: what its objects take of the bulk data, all together, is bounded by what came.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from gateway.dicom import json_model
from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.errors import Rejected, Retryable
from gateway.model import Json
from gateway.receive import status
from gateway.receive.containment import Refusal
from gateway.receive.file_stream import FileStream, Sender
from gateway.spool.durable import unwritable
from gateway.web.dicomweb_accept import DICOM_JSON, OCTETS
from gateway.web.multipart_reader import media_type
from gateway.web.stow_bulk import BulkParts, Source
from gateway.web.stow_parts import Results, Stored, check_count

_METADATA_MOST_BYTES = 16 << 20
#: Each object costs a file, also one that goes to quarantine.
OBJECTS_MOST = 10_000
#: One object's metadata is parsed at a time: that takes many times its size.
_one_at_a_time = threading.Lock()

_SOP_CLASS_UID, _SOP_INSTANCE_UID = "00080016", "00080018"


def _no_number(_: str) -> float:
    raise ValueError("JSON has no such number")


#: Exact numbers: a decimal string keeps its digits.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
_BLANKS = re.compile(r"[ \t\r\n]*")

_NOT_AN_OBJECT = Refusal(status.CANNOT_UNDERSTAND, "The metadata of the object is no DICOM JSON.")


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
        self._descriptor, self._name = -1, ""
        self._bulk = BulkParts()
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
        check_count(self._count)
        self._bulk.begin(headers["content-location"].strip(), headers.get("content-type", OCTETS))
        if self._descriptor < 0:
            self._open()

    def write(self, piece: bytes | memoryview) -> None:
        if self._is_metadata and self._metadata is not None:
            self._metadata += piece
            if len(self._metadata) > _METADATA_MOST_BYTES:
                raise Rejected(f"the metadata is larger than {_METADATA_MOST_BYTES >> 20} MiB", status=413)
            return
        # The reserve is what the ledger and the scanners live on: a long message must not eat it.
        self._files.check_space(beside_bytes=len(piece))
        self._bulk.grow(len(piece))
        try:
            while piece:
                piece = memoryview(piece)[os.write(self._descriptor, piece) :]
        except OSError as error:
            raise unwritable(error) from error

    def end(self) -> None:
        """The next part says where it belongs."""

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
            source = Source(self._descriptor, self._bulk, dataset)
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


def _objects(metadata: bytes) -> Iterator[Json]:
    """The objects of the array, parsed one by one: only one is in memory. Raises :class:`Rejected` (400, 413)."""
    count = 0
    no_array = Rejected("the metadata is not a JSON array of DICOM JSON objects (PS3.18 annex F)", status=400)
    try:
        text = metadata.decode()
        position = _skip(text, 0)
        if text[position : position + 1] != "[":
            raise no_array
        position = _skip(text, position + 1)
        separator = "]" if text[position : position + 1] == "]" else ","
        while separator == ",":
            count += 1
            if count > OBJECTS_MOST:
                raise Rejected(f"the message holds more than {OBJECTS_MOST:,} objects", status=413)
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
