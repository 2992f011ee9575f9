"""Converters for what a document carries as bytes: its hash and its size, as FHIR's Attachment wants them. The bytes stay in the object."""

from __future__ import annotations

import base64
import hashlib

from gateway.dicom import values
from gateway.dicom.encapsulated import unpadded
from gateway.dicom.values import Invalid
from gateway.mapping.conversion import ABSENT, Converter, Options, Outcome, Part, Parts
from gateway.mapping.converters import one_value


def attachment_hash(parts: Parts, options: Options) -> Outcome:
    """SHA-1 of the bytes of a document, in base64, as FHIR R4 Attachment.hash has it. A checksum, no protection."""
    found = _bytes(parts)
    if found is None:
        return ABSENT
    digest = hashlib.sha1(found[0], usedforsecurity=False).digest()
    return Outcome(value=base64.b64encode(digest).decode("ascii"), source=found[1])


def attachment_size(parts: Parts, options: Options) -> Outcome:
    """How many bytes a document has, without padding (FHIR R4 Attachment.size)."""
    found = _bytes(parts)
    return Outcome(value=len(found[0]), source=found[1]) if found else ABSENT


def _bytes(parts: Parts) -> tuple[memoryview, str] | None:
    element = parts.first("value")
    if element is None:
        return None
    if not element.binary:
        raise Invalid("holds no bytes")
    stated = parts.first("length")
    length = values.integer(one_value(stated)) if stated is not None else None
    return unpadded(memoryview(element.binary), length), element.path


_PARTS = {"value": Part(), "length": Part(required=False)}
ATTACHMENTS: tuple[Converter, ...] = (
    Converter(name="attachment_hash", convert=attachment_hash, parts=_PARTS),
    Converter(name="attachment_size", convert=attachment_size, parts=_PARTS),
)
