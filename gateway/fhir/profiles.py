"""Our own FHIR profiles as data: what an Observation of each kind must hold. A profile is claimed only when all of it is there.

One table drives three things: which profile a rendered resource claims (:func:`claimed`), the StructureDefinitions that we publish
(``workbench/definitions.py``) and their guide pages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.fhir.radiation_dose_summary import MODALITY_DEVICE, RDS, lacks_of_device, lacks_of_summary
from gateway.fhir.shape import TIME_OFFSET, Coding, Element, Part, Profile, Rule, codings, components, lacks
from gateway.model import JsonObject
from gateway.nuclear.results import CODE_SYSTEM, DCM, KINDS, LOINC, SCT, Kind, Link, expected

VERSION = "1.0.0"


def _local(name: str) -> Coding:
    return (CODE_SYSTEM, name)


_SUBJECT = Element(name="subject", minimum=1, maximum="1", short="Whose it is", targets=("Patient",))
_WHEN = Element(name="effective[x]", minimum=1, maximum="1", short="When the tracer was given, or the measurement made")
_OWN_ID = Element(
    name="identifier", minimum=1, maximum="*", short="urn:isobridge:dose-result: the same fact, whatever was corrected"
)
_REGION = Element(name="bodySite", minimum=1, maximum="1", short="The organ or tissue; its side stands in a component")
_GIVEN = Element(
    name="partOf", minimum=1, maximum="*", short="The administration that caused it", targets=("MedicationAdministration",)
)
_SERIES_STUDY = Element(name="partOf", minimum=1, maximum="*", short="The study", targets=("ImagingStudy",))
_CYCLES = Element(name="hasMember", minimum=1, maximum="*", short="The doses of the cycles", targets=("Observation",))

_INTENT = Part(name="intent", code=_local("intent"), kind="CodeableConcept", title="Predicted or verified", values="nm-intent")
_TARGET = Part(
    name="targetDefinition",
    code=_local("target-definition"),
    kind="CodeableConcept",
    title="What the region is",
    values="nm-target-definition",
)
_CALIBRATION = Part(name="calibration", code=_local("calibration"), kind="string", title="Calibration")
_SIDE = Part(name="laterality", code=(SCT, "272741003"), kind="CodeableConcept", title="Side")
_STATISTIC = Part(name="statistic", code=(DCM, "121401"), kind="CodeableConcept", title="Mean, maximum, ... of the region")
_MASS = Part(name="mass", code=(SCT, "118538004"), kind="Quantity", title="Mass of the region")
_VOLUME = Part(name="volume", code=(SCT, "118565006"), kind="Quantity", title="Volume of the region")
_CYCLE = Part(name="cycle", code=_local("cycle-number"), kind="integer", title="Number of the therapy cycle")
_UNCERTAINTY = Part(name="uncertainty", code=_local("uncertainty"), kind="Quantity", title="Uncertainty, with its unit")
_ALPHA_BETA = Part(name="alphaBeta", code=_local("alpha-beta-ratio"), kind="Quantity", title="alpha/beta")
_REPAIR = Part(name="repairHalfTime", code=_local("repair-half-time"), kind="Quantity", title="Half-time of repair")
_FIT = (
    Part(name="fitModel", code=_local("fit-model"), kind="string", title="Model of the fit"),
    Part(name="fitR2", code=_local("fit-r2"), kind="Quantity", title="R2 of the fit"),
    Part(name="fitParameters", code=_local("fit-parameters"), kind="string", title="Parameters of the fit"),
)
_POINTS = (
    Part(name="activity", code=_local("activity-in-voi"), kind="Quantity", title="Activity at a time", many=True, timed=True),
    Part(name="doseRate", code=_local("dose-rate"), kind="Quantity", title="Dose rate at a time", many=True, timed=True),
    Part(name="valueAtTime", code=_local("value-at-time"), kind="Quantity", title="Value at a time", many=True, timed=True),
)


def _told_or_declared(name: str, element: str) -> Rule:
    """A reader needs it to judge a dose: it stands there, or that nobody told it."""
    return Rule(
        key=f"nm-{name}",
        human=f"{name}: told, or declared as not told",
        expression=f"{element}.exists() or component.where(code.coding.where(system = '{CODE_SYSTEM}' and code = '{name}').exists())"
        ".dataAbsentReason.exists()",
        holds=lambda resource: (
            element in resource or any("dataAbsentReason" in part for part in components(resource, _local(name)))
        ),
    )


_HAS_POINTS = Rule(
    key="nm-points",
    human="A curve has at least one point",
    expression="component.where(extension('" + TIME_OFFSET + "').exists()).exists()",
    holds=lambda resource: any(components(resource, part.code) for part in _POINTS),
)
_HAS_COMPONENT = Rule(
    key="nm-told",
    human="It says something beside its code",
    expression="component.exists() or value.exists()",
    holds=lambda resource: bool(resource.get("component")) or any(name.startswith("value") for name in resource),
)

_PURPOSES = {
    "nm-organ-absorbed-dose": "The energy that an organ, a lesion or a treated volume took up per mass, in Gy, with what is needed to "
    "judge it. What nobody told is declared as unknown.",
    "nm-equivalent-dose": "An absorbed dose weighted by the kind of radiation, in mSv.",
    "nm-effective-dose": "The effective dose of a diagnostic administration, in mSv. It is never published for a therapy.",
    "nm-dose-coefficient": "Dose per administered activity. A coefficient is never multiplied by us.",
    "nm-time-activity-curve": "What was in a region at several times after the administration. R4's SampledData needs equal "
    "spacing, so each point is a component with its time offset in milliseconds.",
    "nm-time-integrated-activity": "The number of decays in a region: time-integrated activity in MBq.h, or its coefficient in h.",
    "nm-half-life": "The effective or biological half-life of a region, in h.",
    "nm-bed": "The biologically effective dose, as the source calculated it, with its alpha/beta. We only check the formula.",
    "nm-eqd2": "The equieffective dose in fractions of 2 Gy, as the source calculated it, with its alpha/beta.",
    "nm-dvh-parameter": "One parameter of a dose-volume histogram, such as D95 or V20 Gy.",
    "nm-dose-volume-histogram": "A dose-volume histogram as an RT Dose object holds it; nothing is computed of it.",
    "nm-dose-grid": "That there is a dose grid, and of which kind. Its voxels stay in the object.",
    "nm-dose-rate": "A dose rate at a distance from the patient, or in a region, at a time.",
    "nm-cumulative-dose": "The sum of an absorbed dose over the cycles of one therapy that a person declared complete.",
    "nm-administration-fact": "What was measured about an administration: residual, lung shunt, treated volume, tumour to normal ratio.",
    "nm-uptake": "The share of the administered activity in a region or in the body at a time.",
    "nm-suv-scale-factor": "What makes the voxels of a PET series standardised uptake values, derived by the gateway for research.",
    "nm-measurement": "A measurement on images, such as SUVmax or metabolic volume; its own code stands first.",
    "nm-administered-activity": "The activity that was given, net, in MBq, with agent, radionuclide, route and the measurements before "
    "and after.",
    "nm-radiation-dose-summary": "A summary of one irradiation in words with the components of HL7's Radiation Dose Summary, where an "
    "element that HL7 requires is not told, most often who authorised it.",
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "nm-organ-absorbed-dose": {"parts": (_STATISTIC, _ALPHA_BETA)},
    "nm-bed": {"parts": (replace(_ALPHA_BETA, minimum=1), _REPAIR)},
    "nm-eqd2": {"parts": (replace(_ALPHA_BETA, minimum=1), _REPAIR)},
    "nm-time-activity-curve": {"parts": (*_POINTS, *_FIT), "rules": (_HAS_POINTS,)},
    "nm-time-integrated-activity": {"parts": _FIT},
    "nm-half-life": {"parts": _FIT},
    "nm-dvh-parameter": {
        "parts": (
            Part(
                name="parameter",
                code=_local("dvh-parameter-name"),
                kind="string",
                title="Name of the parameter, as D95",
                minimum=1,
            ),
        )
    },
    "nm-dose-volume-histogram": {
        "parts": (
            Part(name="bins", code=_local("dvh-bins"), kind="integer", title="Number of bins", minimum=1),
            Part(name="doseWidths", code=_local("dvh-dose-widths"), kind="string", title="Widths of the dose bins", minimum=1),
            Part(name="volumes", code=_local("dvh-volumes"), kind="string", title="Volumes of the bins", minimum=1),
        )
    },
    "nm-dose-grid": {"parts": (Part(name="doseUnits", code=_local("dose-units"), kind="string", title="DoseUnits", minimum=1),)},
    "nm-suv-scale-factor": {
        "parts": (
            Part(name="voxelUnit", code=_local("voxel-unit"), kind="CodeableConcept", title="Unit of the voxels"),
            Part(name="weight", code=(LOINC, "29463-7"), kind="Quantity", title="Body weight"),
            Part(
                name="uptakeTime", code=_local("uptake-time"), kind="Quantity", title="From the administration to the scan, in h"
            ),
            Part(
                name="reason",
                code=_local("suv-not-computable-reason"),
                kind="CodeableConcept",
                title="Why there is none",
                many=True,
                values="nm-suv-reason",
            ),
        )
    },
}


def _of_kinds(name: str, kinds: list[Kind]) -> Profile:
    judged = any(expected(kind.name) for kind in kinds)
    elements = [_OWN_ID, _SUBJECT, _WHEN]
    if all(kind.administration is Link.REQUIRED for kind in kinds) and name != "nm-cumulative-dose":
        elements.append(_GIVEN)
    if all(kind.region for kind in kinds):
        elements.append(_REGION)
    if name == "nm-cumulative-dose":
        elements.append(_CYCLES)
    if name == "nm-suv-scale-factor":
        elements = [replace(_OWN_ID, short="The Series Instance UID"), _SUBJECT, _SERIES_STUDY]
    needed = [replace(one, minimum=1, absent=True) for one in (_INTENT, _TARGET, _CALIBRATION)] if judged else [_INTENT, _TARGET]
    common = [*needed, _SIDE, _MASS, _VOLUME, _CYCLE, _UNCERTAINTY] if name != "nm-suv-scale-factor" else []
    special = _SPECIAL.get(name, {})
    units = tuple(dict.fromkeys(unit for kind in kinds for unit in kind.units))
    told = [_told_or_declared("method", "method"), _told_or_declared("software", "device")] if judged else []
    return Profile(
        name=name,
        title="; ".join(kind.title for kind in kinds),
        purpose=_PURPOSES[name],
        codes=tuple(_local(kind.name) for kind in kinds),
        elements=tuple(elements),
        value=("Quantity",) if units else ("Quantity", "CodeableConcept", "string"),
        units=units,
        parts=(*common, *special.get("parts", ())),
        rules=(*told, *special.get("rules", ()), *(() if units else (_HAS_COMPONENT,))),
    )


def _activity(name: str, code: Coding, title: str, kind: str, minimum: int = 0) -> Part:
    return Part(name=name, code=code, kind=kind, title=title, minimum=minimum)


_AGENT = _activity("agent", (SCT, "349358000"), "Radiopharmaceutical", "CodeableConcept")
_NUCLIDE = _activity("radionuclide", (SCT, "89457008"), "Radionuclide", "CodeableConcept")
_ROUTE = _activity("route", (SCT, "410675002"), "Route", "CodeableConcept")
_AMOUNT = _activity("activity", (DCM, "113507"), "Administered activity", "Quantity")
_AMOUNT_VOLUME = _activity("volume", (DCM, "123005"), "Volume", "Quantity")

_ADMINISTERED = Profile(
    name="nm-administered-activity",
    title="Administered activity with its details",
    purpose=_PURPOSES["nm-administered-activity"],
    codes=((DCM, "113507"),),
    elements=(_SUBJECT, _WHEN, _GIVEN),
    value=("Quantity",),
    units=("MBq",),
    parts=(
        _AGENT,
        replace(_NUCLIDE, minimum=1),
        _activity("halfLife", (SCT, "304283002"), "Half-life of the radionuclide", "Quantity"),
        _ROUTE,
        _AMOUNT_VOLUME,
        replace(_activity("before", (DCM, "113508"), "Measured before", "Quantity")),
        replace(_activity("after", (DCM, "113509"), "Measured after", "Quantity")),
        _activity("extravasation", (DCM, "113506"), "Estimated extravasation", "Quantity"),
    ),
)
_SUMMARY = Profile(
    name="nm-radiation-dose-summary",
    title="Radiation dose summary",
    purpose=_PURPOSES["nm-radiation-dose-summary"],
    codes=((LOINC, "73569-6"),),
    elements=(_SUBJECT, _WHEN, Element(name="partOf", minimum=1, maximum="*", short="The administration, the study")),
    value=("string",),
    parts=(_AGENT, _NUCLIDE, _ROUTE, _AMOUNT, _AMOUNT_VOLUME),
)


def _profiles() -> dict[str, Profile]:
    by_name: dict[str, list[Kind]] = {}
    for kind in KINDS.values():
        if kind.profile:
            by_name.setdefault(kind.profile, []).append(kind)
    made = [_of_kinds(name, kinds) for name, kinds in by_name.items()]
    return {one.name: one for one in (*made, _ADMINISTERED, _SUMMARY)}


#: Our profiles by name.
PROFILES: dict[str, Profile] = _profiles()
_BY_CODE: dict[Coding, Profile] = {code: profile for profile in PROFILES.values() for code in profile.codes}


def claimed(resource: JsonObject) -> JsonObject:
    """The resource with the profile that it fulfils in ``meta.profile``; as it is when there is none."""
    if resource["resourceType"] == "Device":
        return _claiming(resource, [] if list(lacks_of_device(resource)) else [MODALITY_DEVICE])
    if resource["resourceType"] != "Observation":
        return resource
    found = [_BY_CODE[code] for code in codings(resource.get("code")) if code in _BY_CODE]
    urls = [profile.url for profile in dict.fromkeys(found) if not list(lacks(resource, profile))]
    if any(profile is _SUMMARY for profile in found) and not list(lacks_of_summary(resource)):
        urls = [RDS]
    return _claiming(resource, urls)


def _claiming(resource: JsonObject, urls: list[str]) -> JsonObject:
    if not urls or resource.get("meta", {}).get("profile") == urls:
        return resource
    return {**resource, "meta": {**resource.get("meta", {}), "profile": urls}}
