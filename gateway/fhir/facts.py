"""What templates see of administrations, documents and results: their fields, and what rendering adds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gateway.model import Administration, Document, DoseResult, JsonObject
from gateway.nuclear.results import KINDS, coded, expected

_VERIFIED = "VERIFIED"


def administration_scope(item: Administration, patient: JsonObject, studies: Sequence[JsonObject]) -> JsonObject:
    fields = {
        **item.fields,
        "key": item.key,
        "event_uids": list(item.event_uids),
        "reconciled": item.reconciled or None,
        "remarks": [issue.reason for issue in item.issues],
    }
    return {"administration": fields, "patient": patient, "studies": list(studies)}


def document_scope(
    item: Document, patient: JsonObject, studies: Sequence[JsonObject], administrations: Sequence[JsonObject]
) -> JsonObject:
    return {
        "document": _document(item),
        "patient": patient,
        "studies": list(studies),
        "administrations": list(administrations),
    }


def _document(item: Document) -> JsonObject:
    return {
        "content_type": "application/dicom",
        **item.fields,
        "key": item.key,
        "verified": item.fields.get("verification") == _VERIFIED or None,
        "superseded": item.superseded or None,
        "remarks": [issue.reason for issue in item.issues],
    }


def result_scope(
    item: DoseResult,
    document: Document,
    administration: JsonObject | None,
    patient: JsonObject,
    studies: Sequence[JsonObject],
) -> JsonObject:
    kind = KINDS[item.kind]
    statistic = item.fields.get("statistic")
    fields = {
        **item.fields,
        "key": item.key,
        "status": item.status,
        "kind_code": coded(item.kind, statistic.get("code") if isinstance(statistic, dict) else None, item.fields.get("code")),
        "missing": [{"code": name.replace("_", "-")} for name in expected(item.kind) if not item.fields.get(name)],
        "structure_key": _structure_key(item.fields, str(patient.get("key", ""))),
        "category": kind.category,
        "remarks": [*item.fields.get("remarks", ()), *(issue.reason for issue in item.issues)],
        "sources": [{"member": member, "path": path} for member, path in sorted(item.sources.items())],
    }
    return {
        "result": fields,
        "administration": administration,
        "document": _document(document),
        "patient": patient,
        "studies": list(studies),
    }


def _structure_key(fields: JsonObject, patient_key: str) -> str | None:
    """What names a part of this patient's body: a lesion, or one of two organs. ``None`` for what a code says whole."""
    lesion = fields.get("lesion") or {}
    words = [lesion.get("tracking_uid") or lesion.get("tracking_id") or lesion.get("label")]
    words += [(fields.get(name) or {}).get("code") or (fields.get(name) or {}).get("text") for name in ("laterality", "region")]
    return "|".join([patient_key, *(str(word or "") for word in words)]) if words[0] or words[1] else None


def grouped(results: Sequence[DoseResult], references: Mapping[str, str]) -> dict[str, JsonObject]:
    """For each result the others of its region in its document, by kind: a BED finds the dose that it was made of."""
    groups: dict[tuple[str, str], list[DoseResult]] = defaultdict(list)
    for item in results:
        if item.fields.get("group"):
            groups[item.document, str(item.fields["group"])].append(item)
    found: dict[str, JsonObject] = {item.key: {} for item in results}
    for group in groups.values():
        for item in group:
            for other in group:
                if other is not item and other.key in references:
                    kind = other.kind.replace("-", "_")
                    found[item.key].setdefault(kind, []).append({"reference": references[other.key]})
    return found
