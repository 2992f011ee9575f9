"""HL7's Radiation Dose Summary (http://hl7.org/fhir/uv/radiation-dose-summary, 1.0.0): its profiles of Observation and Device, claimed only
with each required element. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.fhir.shape import codings, refers_to
from gateway.model import JsonObject
from gateway.nuclear.results import DCM, LOINC

RDS = "http://hl7.org/fhir/uv/radiation-dose-summary/StructureDefinition/radiation-dose-summary"
MODALITY_DEVICE = "http://hl7.org/fhir/uv/radiation-dose-summary/StructureDefinition/modality-device"
IDENTIFIER_TYPES = "http://hl7.org/fhir/uv/radiation-dose-summary/CodeSystem/dicom-identifier-type"
#: Acquisition modalities that irradiate (PS3.16 CID 33), to which the profile of a device binds its type.
_MODALITIES = frozenset({"CT", "CR", "DX", "IO", "MG", "NM", "PT", "PX", "RF", "RG", "XA"})
_ACCESSION = ("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN")


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
    orders = resource.get("basedOn", ())
    if len(orders) > 1 or not all(_names_order(one) for one in orders):
        yield "basedOn:serviceRequestRef"
    if "device" in resource and not refers_to(resource["device"], ("Device",)):
        yield "device"
    yield from (name for name in ("effectiveDateTime", "valueString") if name not in resource)
    yield from (name for name in ("dataAbsentReason", "specimen") if name in resource)


def _names_study(reference: JsonObject) -> bool:
    identifier = reference.get("identifier", {})
    typed = (IDENTIFIER_TYPES, "study-instance-uid") in codings(identifier.get("type"))
    return bool(typed and identifier.get("system") == "urn:dicom:uid" and identifier.get("value"))


def _names_order(reference: JsonObject) -> bool:
    identifier = reference.get("identifier", {})
    return reference.get("type") == "ServiceRequest" and _ACCESSION in codings(identifier.get("type")) and "value" in identifier


def lacks_of_device(resource: JsonObject) -> Iterator[str]:
    """What keeps a Device from claiming HL7's profile of a modality device: its AE title and what kind of modality it is."""
    titles = [
        one for one in resource.get("identifier", ()) if (IDENTIFIER_TYPES, "application-entity") in codings(one.get("type"))
    ]
    if len(titles) != 1 or not titles[0].get("value"):
        yield "identifier:aeTitle"
    if not any(system == DCM and code in _MODALITIES for system, code in codings(resource.get("type"))):
        yield "type"
