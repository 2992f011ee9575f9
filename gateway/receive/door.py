"""The one door: however an object comes, it goes bytes -> walk -> checks -> durable -> :class:`~gateway.model.Received`.

C-STORE, STOW-RS and folders all end here. What ``finish`` returns is on the disk, under its digest or in quarantine, and may
be answered. The statuses are those of C-STORE (PS3.4 B.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.walker import DEFAULT_LIMITS, Limits, Walk
from gateway.errors import Rejected
from gateway.model import Arrival, Received
from gateway.receive import status
from gateway.spool.files import SpoolFiles
from gateway.spool.incoming import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Incoming,
)

#: PS3.5 9.1: digits and dots. Components with a leading zero are forbidden there, common in the field, and harmless.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_MOST = 64
_NEEDED = (
    (SOP_CLASS_UID, "SOPClassUID"),
    (SOP_INSTANCE_UID, "SOPInstanceUID"),
    (STUDY_INSTANCE_UID, "StudyInstanceUID"),
    (SERIES_INSTANCE_UID, "SeriesInstanceUID"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the sender said it would send. Empty: it said nothing."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    abstract_syntax_uid: str = ""  #: of the presentation context
    study_instance_uid: str = ""  #: of the address that a web client stores to


@dataclass(frozen=True, slots=True)
class Prepared:
    """A judged object and what will be true of it once it is durable. Not to be answered yet."""

    incoming: Incoming
    received: Received


class Door:
    """Takes objects into the spool. Safe to use from several threads."""

    def __init__(self, files: SpoolFiles, *, max_object_bytes: int = 2 << 30, limits: Limits = DEFAULT_LIMITS) -> None:
        self.files = files
        self.max_object_bytes = max_object_bytes
        self._limits = limits

    def begin(self, meta: FileMetaInputs) -> Incoming:
        """Room for one object. Raises :class:`~gateway.errors.Retryable` when the disk has none."""
        return self.files.incoming(meta)

    def finish(self, incoming: Incoming, arrival: Arrival, expected: Expected) -> Received:
        """Check the complete object and make it durable, as an instance or in quarantine.

        Raises :class:`~gateway.errors.Retryable` when the disk fails; then nothing is kept.
        """
        return self.commit(self.prepare(incoming, arrival, expected))

    def prepare(self, incoming: Incoming, arrival: Arrival, expected: Expected) -> Prepared:
        """The first half of ``finish``: all that needs no disk, when the object is small."""
        try:
            walked = incoming.walk(self._limits)
        except Rejected as error:
            kept = incoming.stage(None, error.reason)
            return Prepared(incoming, Received(arrival=arrival, instance=kept, status=error.status, reason=error.reason))
        reason = complaint(walked, expected)
        code = status.SUCCESS if reason is None else status.DOES_NOT_MATCH
        kept = incoming.stage(walked, reason)
        return Prepared(incoming, Received(arrival=arrival, instance=kept, status=code, reason=reason))

    def commit(self, prepared: Prepared) -> Received:
        """The second half: make it durable. Raises :class:`~gateway.errors.Retryable`."""
        prepared.incoming.commit()
        return prepared.received

    def store(self, pieces: Iterable[bytes | memoryview], meta: FileMetaInputs, arrival: Arrival, expected: Expected) -> Received:
        """Take a whole data set from a stream. Raises :class:`Rejected` (A700) when it is larger than allowed."""
        incoming = self.begin(meta)
        try:
            for piece in pieces:
                incoming.write(piece)
                if incoming.size_bytes > self.max_object_bytes:
                    raise Rejected(self.too_large(), status=status.OUT_OF_RESOURCES)
            return self.finish(incoming, arrival, expected)
        finally:
            incoming.discard()

    def too_large(self) -> str:
        return f"The object is larger than the {self.max_object_bytes >> 20:,} MiB that are accepted."


def complaint(walked: Walk, expected: Expected) -> str | None:
    """Why a sound object must not be used: identifiers that are missing, illegal or not those announced."""
    for tag, name in _NEEDED:
        uid = walked.text(tag)
        if not uid:
            return f"The object has no {name}."
        if len(uid) > _UID_MOST or not _UID.fullmatch(uid):
            return f"The {name} of the object is not a legal identifier."
    announced = expected.sop_class_uid
    if announced and announced != walked.text(SOP_CLASS_UID):
        return "The SOP class of the object is not the one that was announced."
    if announced and expected.abstract_syntax_uid and announced != expected.abstract_syntax_uid:
        return "The SOP class of the object is not the one that was negotiated."
    if expected.sop_instance_uid and expected.sop_instance_uid != walked.text(SOP_INSTANCE_UID):
        return "The SOP instance UID of the object is not the one that was announced."
    if expected.study_instance_uid and expected.study_instance_uid != walked.text(STUDY_INSTANCE_UID):
        return "The study of the object is not the one that it was sent to."
    return None
