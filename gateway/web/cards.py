"""What a page shows of one published study, drawn from the FHIR that left the house. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.web import show
from gateway.web.thumbnails import PREFERENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """One tracer administration in a line."""

    reference: str
    tracer: str
    activity: str  #: with its unit; nothing when it was withheld
    started: str
    repaired: bool
    reconciled: bool
    remarks: tuple[str, ...]
    in_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One study in a list."""

    uid: str
    study: JsonObject
    patient: JsonObject
    patient_id: str
    doses: tuple[Dose, ...]
    picture: tuple[str, str] | None  #: series UID and modality of what is shown
    withdrawn: bool

    @property
    def modalities(self) -> str:
        return " + ".join(str(item.get("code", "")) for item in self.study.get("modality", ()))


def card(uid: str, bundle: JsonObject, dossier: JsonObject | None) -> Card:
    """A study from its bundle and that of its patient's dossier."""
    resources = resources_of(bundle)
    study = _first(resources, "ImagingStudy")
    patient = _first(resources, "Patient")
    return Card(
        uid=uid,
        study=study,
        patient=patient,
        patient_id=", ".join(str(item.get("value", "")) for item in patient.get("identifier", ())),
        doses=doses(study, dossier),
        picture=picture(study),
        withdrawn=study.get("status") == "cancelled",
    )


def doses(study: JsonObject, dossier: JsonObject | None) -> tuple[Dose, ...]:
    """The administrations that name this study; those entered in error last."""
    resources = resources_of(dossier) if dossier else []
    medications = {f"Medication/{item['id']}": item for item in resources if item["resourceType"] == "Medication"}
    mine = f"ImagingStudy/{study.get('id')}"
    found = [
        _dose(item, medications)
        for item in resources
        if item["resourceType"] == "MedicationAdministration"
        and any(link.get("reference") == mine for link in item.get("supportingInformation", ()))
    ]
    return tuple(sorted(found, key=lambda dose: (dose.in_error, dose.started)))


def _dose(item: JsonObject, medications: dict[str, JsonObject]) -> Dose:
    medication = medications.get(str(item.get("medicationReference", {}).get("reference")), {})
    quantity = item.get("dosage", {}).get("dose")
    tags = {tag.get("code") for tag in item.get("meta", {}).get("tag", ())}
    return Dose(
        reference=f"MedicationAdministration/{item['id']}",
        tracer=show.fhir(medication.get("code") or item.get("medicationCodeableConcept") or {"text": "tracer unknown"}),
        activity=show.short_quantity(quantity) if quantity else "",
        started=str(item.get("effectiveDateTime") or item.get("effectivePeriod", {}).get("start") or ""),
        repaired="repaired" in tags,
        reconciled="reconciled" in tags,
        remarks=tuple(str(note.get("text", "")) for note in item.get("note", ())),
        in_error=item.get("status") == "entered-in-error",
    )


def picture(study: JsonObject) -> tuple[str, str] | None:
    """The series that a nuclear medicine physician would look at first: PET, SPECT, CT; of one kind that with the most images."""
    candidates = [
        (PREFERENCE.index(modality), -int(series.get("numberOfInstances") or 0), str(series.get("uid")), modality)
        for series in study.get("series", ())
        if (modality := str(series.get("modality", {}).get("code"))) in PREFERENCE
    ]
    return min(candidates)[2:] if candidates else None


def _first(resources: list[JsonObject], kind: str) -> JsonObject:
    return next((item for item in resources if item["resourceType"] == kind), {})
