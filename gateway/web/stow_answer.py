"""The Store Instances Response Module (PS3.18 annex I) as DICOM JSON or XML (PS3.19 A.1), and the HTTP status that goes with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

import msgspec
from starlette.responses import Response

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.receive import status
from gateway.web.dicomweb_accept import DICOM_JSON, ranges
from gateway.web.multipart import HEADERS
from gateway.web.stow_parts import Stored

DICOM_XML = "application/dicom+xml"
_RETRIEVE_URL, _FAILED, _REFERENCED, _OTHER_FAILURES = "00081190", "00081198", "00081199", "0008119A"
_CLASS, _INSTANCE, _FAILURE_REASON = "00081150", "00081155", "00081197"
_UID = re.compile(r"[0-9.]{1,64}")
_KEYWORDS = {
    _RETRIEVE_URL: "RetrieveURL",
    _FAILED: "FailedSOPSequence",
    _REFERENCED: "ReferencedSOPSequence",
    _OTHER_FAILURES: "OtherFailuresSequence",
    _CLASS: "ReferencedSOPClassUID",
    _INSTANCE: "ReferencedSOPInstanceUID",
    _FAILURE_REASON: "FailureReason",
}


def answer_type(accept: str | None) -> str:
    """JSON unless only XML is welcome. Raises :class:`Rejected` (406)."""
    for item in ranges(accept):
        if item.media_type in (DICOM_JSON, "application/json", "*/*", "application/*"):
            return DICOM_JSON
        if item.media_type in (DICOM_XML, "application/xml", "text/xml"):
            return DICOM_XML
    raise Rejected(f"Accept: the answer is {DICOM_JSON} or {DICOM_XML}", status=406)


def http_status(results: Sequence[Stored], broken: Rejected | None) -> int:
    """PS3.18 table 10.5.3-1. ``broken``: why the message could not be read to its end."""
    failed = [item for item in results if item.status != status.SUCCESS]
    if len(failed) < len(results):
        return 202 if failed or broken else 200
    if broken is not None:
        return broken.status
    if not results:
        return 400
    if all(item.may_try_again for item in failed):
        # RFC 4918 11.5: there is no room; all else that passes by itself is 503.
        return 507 if any("disk" in item.reason for item in failed) else 503
    return 409


def answer(results: Sequence[Stored], broken: Rejected | None, *, base: str, kind: str) -> Response:
    """``base`` is the address of our DICOMweb service as this client knows it."""
    code = http_status(results, broken)
    module = _module(results, broken, base)
    body = _xml(module) if kind == DICOM_XML else msgspec.json.encode(module)
    headers = {**HEADERS, "Warning": f'299 isobridge "{reason}"'} if (reason := _first_reason(results, broken)) else {**HEADERS}
    if code in (503, 507):
        headers["Retry-After"] = "30"
    return Response(body, code, headers, kind)


def _first_reason(results: Sequence[Stored], broken: Rejected | None) -> str:
    reasons = [item.reason for item in results if item.status != status.SUCCESS] + ([broken.reason] if broken else [])
    return reasons[0].replace('"', "'").encode("ascii", "replace").decode() if reasons else ""


def _module(results: Sequence[Stored], broken: Rejected | None, base: str) -> JsonObject:
    stored = [item for item in results if item.status == status.SUCCESS]
    failed = [item for item in results if item.status != status.SUCCESS]
    module: JsonObject = {}
    studies = {item.study_uid for item in stored}
    if len(studies) == 1:
        module[_RETRIEVE_URL] = {"vr": "UR", "Value": [f"{base}/studies/{studies.pop()}"]}
    if stored:
        module[_REFERENCED] = {"vr": "SQ", "Value": [_referenced(item, base) for item in stored]}
    # PS3.18 table I.2-1: failures that no SOP instance can be named for stand apart.
    named = [_names(item) | _reason(item.status) for item in failed if _can_be_named(item)]
    others = [_reason(item.status) for item in failed if not _can_be_named(item)]
    if broken is not None:
        others.append(_reason(status.CANNOT_UNDERSTAND))
    if named:
        module[_FAILED] = {"vr": "SQ", "Value": named}
    if others:
        module[_OTHER_FAILURES] = {"vr": "SQ", "Value": others}
    return dict(sorted(module.items()))


def _can_be_named(item: Stored) -> bool:
    """What is no identifier stands in no answer: we could only tell another one than was sent."""
    return all(_UID.fullmatch(uid) for uid in (item.sop_class_uid, item.sop_instance_uid))


def _names(item: Stored) -> JsonObject:
    return {
        _CLASS: {"vr": "UI", "Value": [item.sop_class_uid]},
        _INSTANCE: {"vr": "UI", "Value": [item.sop_instance_uid]},
    }


def _referenced(item: Stored, base: str) -> JsonObject:
    address = f"{base}/studies/{item.study_uid}/series/{item.series_uid}/instances/{item.sop_instance_uid}"
    return _names(item) | {_RETRIEVE_URL: {"vr": "UR", "Value": [address]}}


def _reason(code: int) -> JsonObject:
    return {_FAILURE_REASON: {"vr": "US", "Value": [code]}}


def _xml(module: JsonObject) -> bytes:
    """The Native DICOM Model, as far as this module needs it."""
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">{_xml_of(module)}</NativeDicomModel>'.encode()


def _xml_of(dataset: JsonObject) -> str:
    found = []
    for tag, element in sorted(dataset.items()):
        values = []
        for number, value in enumerate(element["Value"], 1):
            inner = f'<Item number="{number}">{_xml_of(value)}</Item>' if element["vr"] == "SQ" else ""
            values.append(inner or f'<Value number="{number}">{escape(str(value))}</Value>')
        names = f'tag="{tag}" vr="{element["vr"]}" keyword="{_KEYWORDS[tag]}"'
        found.append(f"<DicomAttribute {names}>{''.join(values)}</DicomAttribute>")
    return "".join(found)
