"""What a study's page shows of dosimetry, drawn from the FHIR that left the house: the facts of its administrations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.web import show
from gateway.web.cards import Dose

_RESULT_SYSTEM = "urn:isobridge:dose-result"
_REMARK = "http://isobridge.org/fhir/StructureDefinition/remark"
_LATERALITY = "272741003"
_ABSENT = {"error": "unusable", "not-performed": "not measured", "unknown": "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One fact of dosimetry in a line."""

    reference: str
    region: str  #: with its side; empty when it is about the whole patient
    quantity: str
    value: str
    stated: str  #: number and unit of the source, where they differ
    method: str
    status: str
    day: str  #: of what is measured at each visit; empty for what belongs to the administration
    rank: int  #: doses of the whole patient first, then those of regions, then what is only around them
    remarks: tuple[str, ...]

    @property
    def in_error(self) -> bool:
        return self.status == "entered-in-error"


def results(study: JsonObject, dossier: JsonObject | None, doses: Sequence[Dose]) -> list[ResultRow]:
    """The results that belong to one of these administrations, or were derived from this study; those in error last."""
    mine = {f"ImagingStudy/{study.get('id')}", *(dose.reference for dose in doses)}
    found = [
        _row(item)
        for item in (resources_of(dossier) if dossier else [])
        if item["resourceType"] == "Observation" and _is_result(item) and mine & set(_links(item))
    ]
    return sorted(found, key=lambda row: (row.in_error, row.rank, row.region, row.quantity, row.day, row.reference))


def remarks(study: JsonObject, dossier: JsonObject | None) -> list[str]:
    """What the reports of this study's facts had that was not published, and why."""
    mine = f"ImagingStudy/{study.get('id')}"
    told = (
        str(extension.get("valueString", ""))
        for item in (resources_of(dossier) if dossier else [])
        if item["resourceType"] == "DiagnosticReport"
        and any(link.get("reference") == mine for link in item.get("imagingStudy", ()))
        for extension in item.get("extension", ())
        if extension.get("url") == _REMARK
    )
    return list(dict.fromkeys(told))


def _is_result(item: JsonObject) -> bool:
    return any(identifier.get("system") == _RESULT_SYSTEM for identifier in item.get("identifier", ()))


def _is_vital(item: JsonObject) -> bool:
    return any(
        coding.get("code") == "vital-signs" for category in item.get("category", ()) for coding in category.get("coding", ())
    )


def _links(item: JsonObject) -> Iterable[str]:
    return (str(link.get("reference")) for link in (*item.get("partOf", ()), *item.get("derivedFrom", ())))


def _row(item: JsonObject) -> ResultRow:
    quantity = item.get("valueQuantity") or {}
    stated = next((one["valueQuantity"] for one in quantity.get("extension", ()) if "valueQuantity" in one), None)
    return ResultRow(
        reference=f"Observation/{item['id']}",
        region=", ".join(filter(None, (show.fhir(item["bodySite"]) if "bodySite" in item else "", _side(item)))),
        quantity=show.fhir(item.get("code", {})),
        value=_value(item),
        stated=show.fhir(stated) if stated else "",
        method=show.fhir(item["method"]) if "method" in item else "",
        status=str(item.get("status", "")),
        day=str(item.get("effectiveDateTime", ""))[:10] if _is_vital(item) else "",
        rank=2 if _is_vital(item) else int("bodySite" in item),
        remarks=tuple(str(note.get("text", "")) for note in item.get("note", ())),
    )


def _side(item: JsonObject) -> str:
    for part in item.get("component", ()):
        if any(coding.get("code") == _LATERALITY for coding in part.get("code", {}).get("coding", ())):
            return show.fhir(part.get("valueCodeableConcept", "")).lower()
    return ""


def _value(item: JsonObject) -> str:
    if "valueQuantity" in item:
        return show.short_quantity(item["valueQuantity"])
    for name in ("valueCodeableConcept", "valueString"):
        if name in item:
            return show.fhir(item[name])
    points = sum("valueQuantity" in part and "extension" in part for part in item.get("component", ()))
    reason = show.fhir(item.get("dataAbsentReason", "")) if "dataAbsentReason" in item else ""
    return f"{points} points" if points else _ABSENT.get(reason, reason) or show.NOTHING
