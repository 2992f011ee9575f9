"""What templates see of administrations, documents and results: their fields, and what rendering adds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from gateway.dicom.values import instant
from gateway.fhir.acts import act_fields, authorizing, dose_length_words
from gateway.model import Administration, Document, DoseResult, JsonObject
from gateway.nuclear.results import KINDS, coded, expected, is_final
from gateway.nuclear.units import convert
from gateway.r4.identifiers import system_of

#: SNOMED CT, the procedure that a dose report tells of.
_COMPUTED_TOMOGRAPHY = "77477000"
#: X-Ray Radiation Dose Report (PS3.16 TID 10001, 10011): no report of nuclear medicine.
_XRAY_DOSE = "113701"
_MOST_INTEGER = 2**31
_TOO_LATE = (
    "Points later than 24.8 days after the administration are not shown: FHIR's time offset in milliseconds cannot hold them."
)
#: Of an identifier whose issuer the report does not name.
_PERSON_SYSTEM = "urn:isobridge:person-id"
#: Person Role in Procedure: Irradiation Administering (PS3.16 CID 10033).
_ADMINISTERING = "113851"


def administration_scope(
    item: Administration,
    patient: JsonObject,
    studies: Sequence[JsonObject],
    documents: Iterable[Document] = (),
    results: Iterable[DoseResult] = (),
) -> JsonObject:
    """``documents`` and ``results``: those of the patient."""
    act = act_fields(item, patient, studies, documents, results)
    act["authorizer"] = _person(act["authorizer"]) if act["authorizer"] else None
    return {"administration": {**administration_fields(item), **act}, "patient": patient, "studies": list(studies)}


def administration_fields(item: Administration) -> JsonObject:
    """The fields of an administration, with what templates read besides."""
    persons = [_person(person) for person in item.fields.get("persons", ()) if "name" in person]
    performer = next((person for person in persons if (person.get("role") or {}).get("code") == _ADMINISTERING), None)
    started, stated = item.fields.get("started_at"), item.fields.get("activity_stated")
    return {
        **item.fields,
        **({"activity": {**item.fields["activity"], "stated": stated}} if stated and "activity" in item.fields else {}),
        "key": item.key,
        "event_uids": list(item.event_uids),
        "reconciled": item.reconciled or None,
        "observation_status": "final" if item.verified else "preliminary",
        "activity_absent": _absent(item, "activity"),
        "start_absent": _absent(item, "started_at"),
        "site_coded": _sided(item.fields.get("site"), item.fields.get("site_laterality")),
        "lot": "; ".join(map(str, item.fields.get("lots", ()))) or None,
        "performer": performer,
        "others": [person for person in persons if person is not performer],
        "measured_before_offset_ms": _offset_ms(item.fields.get("measured_before_at"), started),
        "measured_after_offset_ms": _offset_ms(item.fields.get("measured_after_at"), started),
        "remarks": [issue.reason[:1].upper() + issue.reason[1:] for issue in item.issues],  # a note stands alone
    }


def _absent(item: Administration, name: str) -> str | None:
    """HL7's data-absent-reason: ``error`` for what was stated and could not be believed, ``unknown`` for what nobody told."""
    if name in item.fields:
        return None
    return "error" if any(issue.field == f"administration.{name}" for issue in item.issues) else "unknown"


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
    return _integer(round((one - two).total_seconds() * 1000)) if one and two else None


def _integer(number: int) -> int | None:
    """What FHIR's integer can hold (32 bits): as milliseconds 24.8 days."""
    return number if abs(number) < _MOST_INTEGER else None


def document_scope(
    item: Document,
    patient: JsonObject,
    studies: Sequence[JsonObject],
    administrations: Sequence[JsonObject],
    *,
    replaces: Sequence[str] = (),
    url: str | None = None,
    has_results: bool = True,
) -> JsonObject:
    """``replaces``: references of the documents whose place it took; ``url``: where its bytes can be had."""
    document = {
        **_document(item),
        "replaces": [{"reference": reference} for reference in replaces],
        "url": url,
        "has_results": "results" if has_results and item.fields else None,
        # What the values are about: the administration where it is one; when the document was made is `issued`.
        "effective": administrations[0].get("started_at") if len(administrations) == 1 else _own_time(item.fields),
    }
    return {"document": document, "patient": patient, "studies": list(studies), "administrations": list(administrations)}


def _document(item: Document) -> JsonObject:
    verified = is_final(item.fields)
    #: A picture or a PDF that says nothing of itself may be anything.
    unknown = bool(item.fields.get("presented")) and "verification" not in item.fields
    created, kind = item.fields.get("created_at"), (item.fields.get("kind") or {}).get("code")
    computed = (item.fields.get("procedure") or {}).get("code") == _COMPUTED_TOMOGRAPHY
    partial = item.fields.get("completion") == "PARTIAL"
    authorizer = authorizing(item.fields.get("persons", ()))
    return {
        "content_type": "application/dicom",
        **item.fields,
        "key": item.key if item.fields else None,  # what headers tell has no document to refer to
        "verified": verified or None,
        "superseded": item.superseded or None,
        "reference_status": "superseded" if item.superseded else "current",
        "doc_status": None if unknown else "final" if verified else "preliminary",
        "report_status": "partial" if partial else "unknown" if unknown else "final" if verified else "preliminary",
        "report_code": item.fields.get("kind") or {"text": item.fields.get("title") or "Dosimetry"},
        "section": ("CT" if computed else "RAD") if kind == _XRAY_DOSE else "NMS",
        "created_instant": created if isinstance(created, str) and instant(created) else None,
        "remarks": [issue.reason for issue in item.issues],
        "authorizer": _person(authorizer) if authorizer else None,
        **_scanner(item.fields),
    }


def _own_time(fields: JsonObject) -> str | None:
    """When a document says that it was made. A table that does not say so has only the moment at which it came in."""
    return None if fields.get("undated") else fields.get("created_at")


def _scanner(fields: JsonObject) -> JsonObject:
    """The irradiating device of a report. Its AE title stands in the header: it counts where the header is of the same system."""
    told = {name: value for name, value in (fields.get("scanner") or {}).items() if value}
    station, header = told.pop("ae_title", None), fields.get("software") or {}
    own = station if told.get("model") and told["model"] == header.get("name") else None
    modality = "CT" if told and (fields.get("procedure") or {}).get("code") == _COMPUTED_TOMOGRAPHY else None
    words = {**told, "ae_title": own, "modality": modality} if told else {}
    key = "|".join(f"{name}={value}" for name, value in sorted(words.items()) if value)
    return {"scanner_key": key or None, "scanner_ae": own, "scanner_modality": modality}


def result_scope(
    item: DoseResult,
    document: Document,
    administration: JsonObject | None,
    patient: JsonObject,
    studies: Sequence[JsonObject],
    tracer_studies: Iterable[str] = (),
) -> JsonObject:
    """``tracer_studies``: those with an administration, which is their act already."""
    kind = KINDS[item.kind]
    statistic = item.fields.get("statistic")
    summary = _ct_summary(item, document, studies)
    fields = {
        **item.fields,
        "key": item.key,
        "label": item.label,
        "status": item.status,
        "kind_code": coded(item.kind, statistic.get("code") if isinstance(statistic, dict) else None, item.fields.get("code")),
        "missing": [{"code": name.replace("_", "-")} for name in expected(item.kind) if not item.fields.get(name)],
        "source_path": item.sources.get("value") or next((path for _, path in sorted(item.sources.items())), None),
        "effective": item.fields.get("at") or (administration or {}).get("started_at") or _own_time(document.fields),
        "uncertainty_in_unit": _uncertainty(item.fields),
        "fit_r2": _ratio((item.fields.get("fit") or {}).get("r2")),
        "parameter_text": _parameter(item.fields.get("parameter")),
        "region": item.fields.get("region") or _unnamed(item.fields.get("segment")),
        "segment_text": _segment(item.fields.get("segment")),
        "structure_key": _structure_key(item.fields, str(patient.get("key", ""))),
        "category": kind.category,
        "ct_summary": summary,
        "imaging_act": summary["study"] if summary and summary["study"]["uid"] not in set(tracer_studies) else None,
        "remarks": [*item.fields.get("remarks", ()), *(issue.reason for issue in item.issues)],
        "sources": [{"member": member, "path": path} for member, path in sorted(item.sources.items())],
    }
    if "points" in fields:
        placed = [{**point, "offset_ms": _milliseconds(point.get("time"))} for point in fields["points"]]
        fields["points"] = [point for point in placed if point["offset_ms"] is not None or "time" not in point]
        if len(fields["points"]) < len(placed):
            fields["remarks"].append(_TOO_LATE)
    return {
        "result": fields,
        "administration": administration,
        "document": _document(document),
        "patient": patient,
        "studies": list(studies),
    }


def _ct_summary(item: DoseResult, document: Document, studies: Sequence[JsonObject]) -> JsonObject | None:
    words = dose_length_words({**item.fields, "kind": item.kind})
    study = next((one for one in studies if one.get("uid") == document.study_uid), None)
    return {"of": item.key, "text": words, "study": study} if words and study else None


def _uncertainty(fields: JsonObject) -> Decimal | None:
    """An uncertainty in the unit of the value, as FHIR's extension wants it; one in another unit stands in a component."""
    value, uncertainty = fields.get("value"), fields.get("uncertainty")
    same = isinstance(value, dict) and isinstance(uncertainty, dict) and value["unit"] == uncertainty["unit"]
    return Decimal(uncertainty["value"]) if same and uncertainty else None


def _ratio(number: Decimal | int | None) -> JsonObject | None:
    return None if number is None else {"value": number, "unit": "1"}


def _parameter(parameter: JsonObject | None) -> str | None:
    """E.g. ``D95``, ``V20 Gy``."""
    if not parameter:
        return None
    unit = parameter.get("unit")
    return f"{parameter.get('name', '')}{parameter.get('value', '')}{f' {unit}' if unit else ''}"


def _unnamed(segment: JsonObject | None) -> JsonObject | None:
    """A region of which only the number is known."""
    number = (segment or {}).get("number")
    return {"text": f"ROI {number}"} if number is not None else None


def _segment(segment: JsonObject | None) -> str | None:
    """A segment of a segmentation: ``<SOP Instance UID>#<number>``."""
    if not segment or not segment.get("sop_instance_uid"):
        return None
    return f"{segment['sop_instance_uid']}#{segment.get('number', '')}"


def _milliseconds(time: JsonObject | None) -> int | None:
    return None if time is None else _integer(int(convert(Decimal(time["value"]), time["unit"], "ms").to_integral_value()))


def _structure_key(fields: JsonObject, patient_key: str) -> str | None:
    """What names a part of this patient's body: a lesion, or one of two organs. ``None`` for what a code says whole."""
    lesion = fields.get("lesion") or {}
    words = [lesion.get("tracking_uid") or lesion.get("tracking_id") or lesion.get("label")]
    words += [(fields.get(name) or {}).get("code") or (fields.get(name) or {}).get("text") for name in ("laterality", "region")]
    return "|".join([patient_key, *(str(word or "") for word in words)]) if words[0] or words[1] else None


#: What a kind is calculated from, where both stand in one document.
_MADE_OF = {
    "organ-absorbed-dose": ("time-activity-curve", "time-integrated-activity", "time-integrated-activity-coefficient"),
    "time-integrated-activity": ("time-activity-curve",),
    "time-integrated-activity-coefficient": ("time-activity-curve", "time-integrated-activity"),
    "effective-half-life": ("time-activity-curve",),
    "bed": ("organ-absorbed-dose",),
    "eqd2": ("organ-absorbed-dose", "bed"),
    "absorbed-dose-coefficient": ("organ-absorbed-dose",),
}


def made_of(kind: str, related: JsonObject) -> list[JsonObject]:
    """Of the related results those that this kind is calculated from."""
    return [part for name in _MADE_OF.get(kind, ()) for part in related.get(name.replace("-", "_"), ())]


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
