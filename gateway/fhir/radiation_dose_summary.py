"""HL7's Radiation Dose Summary (http://hl7.org/fhir/uv/radiation-dose-summary, 1.0.0): claimed only with each required element. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.fhir.shape import codings, refers_to
from gateway.model import JsonObject
from gateway.nuclear.results import LOINC

RDS = "http://hl7.org/fhir/uv/radiation-dose-summary/StructureDefinition/radiation-dose-summary"
IDENTIFIER_TYPES = "http://hl7.org/fhir/uv/radiation-dose-summary/CodeSystem/dicom-identifier-type"


def lacks_of_summary(resource: JsonObject) -> Iterator[str]:
    """What keeps an Observation from claiming HL7's Radiation Dose Summary 1.0.0: each of its required elements."""
    if (LOINC, "73569-6") not in codings(resource.get("code")):
        yield "code"
    studies = [one for one in resource.get("partOf", ()) if refers_to(one, ("ImagingStudy",))]
    if len(studies) != 1 or not _names_study(studies[0]):
        yield "partOf:imagingStudyRef"
    focus = resource.get("focus", ())
    if len(focus) != 1 or not refers_to(focus[0], ("ImagingStudy",)):
        yield "focus"
    if not refers_to(resource.get("subject", {}), ("Patient",)):
        yield "subject"
    performers = resource.get("performer", ())
    if len(performers) != 1 or not refers_to(performers[0], ("Practitioner",)):
        yield "performer:irradiationAuthorizingPerson"
    yield from (name for name in ("effectiveDateTime", "valueString") if name not in resource)
    yield from (name for name in ("dataAbsentReason", "specimen") if name in resource)


def _names_study(reference: JsonObject) -> bool:
    identifier = reference.get("identifier", {})
    typed = (IDENTIFIER_TYPES, "study-instance-uid") in codings(identifier.get("type"))
    return bool(typed and identifier.get("system") == "urn:dicom:uid" and identifier.get("value"))
