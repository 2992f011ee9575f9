"""What templates see of administrations, documents and results: their fields, and what rendering adds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gateway.dicom.values import instant
from gateway.model import Administration, Document, DoseResult, JsonObject
from gateway.nuclear.results import KINDS, coded, expected
from gateway.r4.identifiers import system_of

_VERIFIED = "VERIFIED"
#: Of an identifier whose issuer the report does not name.
_PERSON_SYSTEM = "urn:isobridge:person-id"
#: Person Role in Procedure: Irradiation Administering (PS3.16 CID 10033).
_ADMINISTERING = "113851"


def administration_scope(item: Administration, patient: JsonObject, studies: Sequence[JsonObject]) -> JsonObject:
    return {"administration": administration_fields(item), "patient": patient, "studies": list(studies)}


def administration_fields(item: Administration) -> JsonObject:
    """The fields of an administration, with what templates read besides."""
    persons = [_person(person) for person in item.fields.get("persons", ()) if "name" in person]
    performer = next((person for person in persons if (person.get("role") or {}).get("code") == _ADMINISTERING), None)
    started = item.fields.get("started_at")
    return {
        **item.fields,
        "key": item.key,
        "event_uids": list(item.event_uids),
        "reconciled": item.reconciled or None,
        "observation_status": "final" if item.verified else "preliminary",
        "site_coded": _sided(item.fields.get("site"), item.fields.get("site_laterality")),
        "lot": "; ".join(map(str, item.fields.get("lots", ()))) or None,
        "performer": performer,
        "others": [person for person in persons if person is not performer],
        "measured_before_offset_ms": _offset_ms(item.fields.get("measured_before_at"), started),
        "measured_after_offset_ms": _offset_ms(item.fields.get("measured_after_at"), started),
        "remarks": [issue.reason for issue in item.issues],
    }


def _person(person: JsonObject) -> JsonObject:
    issuer = person.get("id_issuer")
    return {**person, "id_system": system_of(str(issuer or ""), _PERSON_SYSTEM) if person.get("id") else None}


def _sided(site: JsonObject | None, side: JsonObject | None) -> JsonObject | None:
    """A site with its side: R4 has one CodeableConcept for both, so the side stands in the words."""
    if site is None or side is None:
        return site
    return {**site, "text": f"{site['text']}, {str(side['text']).lower()}"}


def _offset_ms(at: object, started: object) -> int | None:
    """Milliseconds from the administration to a measurement, where both are told to the second."""
    one, two = (instant(text) if isinstance(text, str) else None for text in (at, started))
    return round((one - two).total_seconds() * 1000) if one and two else None


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
