"""The kinds of dosimetry facts: one table that drives rendering, lint, documentation and our CodeSystem. Pure.

A result is a JSON tree (``model.SharedFields.results``); its members stand in :data:`MEMBERS`. Names of kinds are also the codes of
our CodeSystem, beside the official codes where DICOM or LOINC has one (PS3.16 annex D, CID 10050, 10061, 10062, 10070). No official
code exists for BED, EQD2, time-integrated activity and its coefficient, effective half-life and time-activity curves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.nuclear.units import dimension

#: The root of everything that we publish under our own name: profiles, code systems, extensions.
CANONICAL = "http://isobridge.org/fhir"
CODE_SYSTEM = f"{CANONICAL}/CodeSystem/nm-dosimetry"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
LOINC = "http://loinc.org"
SCT = "http://snomed.info/sct"


class Link(StrEnum):
    """How a kind belongs to an administration."""

    REQUIRED = "required"  #: it means nothing without one
    OPTIONAL = "optional"  #: linked when its source names one
    NEVER = "never"  #: it is no effect of an administration


class Use(StrEnum):
    """For which purpose of the procedure a kind may be published."""

    ANY = "any"
    DIAGNOSTIC = "diagnostic"  #: only where the intent is explicitly diagnostic (ICRP 103: stochastic risk of populations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fact. ``units`` are the canonical units (UCUM) of its value, one for each dimension that it may have."""

    name: str
    title: str
    codings: tuple[tuple[str, str], ...] = ()  #: official codes: (system, code), the most exact first
    units: tuple[str, ...] = ()  #: empty: any unit, decided by the code of what is measured
    administration: Link = Link.REQUIRED
    region: bool = False  #: it is about a region of the body, and must name it
    use: Use = Use.ANY
    signed: bool = False  #: a number below zero can be true; of all others it is an error
    timed: bool = False  #: it is measured again and again: the time tells one from another
    category: str = "imaging"  #: code of HL7's observation-category
    profile: str | None = None  #: name of our StructureDefinition

    @property
    def canonical_unit(self) -> str | None:
        return self.units[0] if len(self.units) == 1 else None

    @property
    def dimensions(self) -> frozenset[str]:
        """What its value may measure; empty: anything."""
        return frozenset(found for unit in self.units if (found := dimension(unit)))

    def unit_for(self, unit: str) -> str | None:
        """The canonical unit for a number in ``unit``; ``None`` when the kind is not measured in it."""
        if not self.units:
            return unit
        return next((one for one in self.units if dimension(one) == dimension(unit) and dimension(unit)), None)


def _kind(name: str, title: str, *units: str, codings: tuple[tuple[str, str], ...] = (), **more: Any) -> Kind:
    return Kind(name=name, title=title, units=units, codings=codings, **more)


_REGION: Mapping[str, Any] = {"region": True}
_FREE: Mapping[str, Any] = {"administration": Link.OPTIONAL}
_APART: Mapping[str, Any] = {"administration": Link.NEVER}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind(
            "organ-absorbed-dose",
            "Organ absorbed dose",
            "Gy",
            codings=((DCM, "113518"),),
            profile="nm-organ-absorbed-dose",
            **_REGION,
        ),
        _kind("equivalent-dose", "Equivalent dose", "mSv", codings=((DCM, "128512"),), profile="nm-equivalent-dose", **_REGION),
        _kind(
            "effective-dose", "Effective dose", "mSv", codings=((DCM, "113839"),), use=Use.DIAGNOSTIC, profile="nm-effective-dose"
        ),
        _kind(
            "absorbed-dose-coefficient",
            "Absorbed dose per administered activity",
            "mGy/MBq",
            profile="nm-dose-coefficient",
            **_REGION,
        ),
        _kind("effective-dose-coefficient", "Effective dose per administered activity", "mSv/MBq", profile="nm-dose-coefficient"),
        _kind("time-activity-curve", "Time-activity curve", "MBq", "%", profile="nm-time-activity-curve", **_REGION),
        _kind("time-integrated-activity", "Time-integrated activity", "MBq.h", profile="nm-time-integrated-activity", **_REGION),
        _kind(
            "time-integrated-activity-coefficient",
            "Time-integrated activity coefficient",
            "h",
            profile="nm-time-integrated-activity",
            **_REGION,
        ),
        _kind("effective-half-life", "Effective half-life", "h", profile="nm-half-life", **_REGION),
        _kind("biological-half-life", "Biological half-life", "h", profile="nm-half-life", **_REGION),
        _kind("bed", "Biologically effective dose", "Gy{BED}", profile="nm-bed", **_REGION),
        _kind("eqd2", "Equieffective dose in fractions of 2 Gy", "Gy{EQD2}", profile="nm-eqd2", **_REGION),
        _kind("dvh-parameter", "Parameter of a dose-volume histogram", "Gy", "%", "mL", profile="nm-dvh-parameter", **_REGION),
        _kind("dose-volume-histogram", "Dose-volume histogram", profile="nm-dose-volume-histogram", **_REGION),
        _kind("dose-grid", "Dose grid", "Gy", profile="nm-dose-grid"),
        _kind("dose-rate", "Dose rate", "uSv/h", "Gy/h", timed=True, profile="nm-dose-rate"),
        _kind("cumulative-absorbed-dose", "Absorbed dose over declared cycles", "Gy", profile="nm-cumulative-dose", **_REGION),
        _kind("residual-activity", "Residual activity", "MBq", codings=((DCM, "113509"),), profile="nm-administration-fact"),
        _kind("uptake", "Uptake", "%", timed=True, signed=True, profile="nm-uptake", **_REGION),
        _kind("retention", "Retention", "%", "MBq", timed=True, profile="nm-uptake"),
        _kind("lung-shunt-fraction", "Lung shunt fraction", "%", profile="nm-administration-fact"),
        _kind("treated-volume", "Treated volume", "mL", profile="nm-administration-fact", **_REGION),
        _kind("tumour-to-normal-ratio", "Tumour-to-normal ratio", "1", profile="nm-administration-fact"),
        _kind("suv-scale-factor", "SUV scale factor", "g/Bq", profile="nm-suv-scale-factor", **_FREE),
        _kind("measurement", "Measurement", timed=True, signed=True, profile="nm-measurement", **_FREE),
        _kind("patient-characteristic", "Patient characteristic", category="vital-signs", timed=True, signed=True, **_FREE),
        _kind("calibration-factor", "Calibration factor", timed=True, **_APART),
        _kind("ct-dose", "CT dose", "mGy.cm", "mGy", "mSv", **_APART),
        _kind("ct-event", "CT irradiation event", "mGy", "mGy.cm", "mSv", codings=((DCM, "113852"),), **_APART),
        _kind("xray-dose", "X-ray dose", "Gy.m2", "Gy", "mSv", "s", "1", **_APART),
        _kind("radiation-dose-summary", "Radiation dose summary", codings=((LOINC, "73569-6"),), **_FREE),
    )
}

#: Absorbed and equivalent doses by their statistic over the region (SCT codes of CID 7464 -> CID 10061, 10062).
_STATISTICS: dict[str, dict[str, tuple[str, ...]]] = {
    "organ-absorbed-dose": {
        "373098007": ("128533", "128513"),
        "56851009": ("128531", "128513"),
        "255605001": ("128532", "128513"),
        "373099004": ("128539", "128513"),
    },
    "equivalent-dose": {
        "373098007": ("128537", "128512"),
        "56851009": ("128535", "128512"),
        "255605001": ("128536", "128512"),
        "373099004": ("128540", "128512"),
    },
}


def coded(kind: str, statistic: str | None = None, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The FHIR CodeableConcept of a kind: official codes first, ours always.

    ``statistic`` is its SNOMED code, where one is told; ``measured`` the concept that is measured, of kinds that leave it open.
    """
    found = KINDS[kind]
    exact = _STATISTICS.get(kind, {}).get(statistic or "")
    official = tuple((DCM, code) for code in exact) if exact else found.codings
    codings = [{"system": system, "code": code} for system, code in (*official, (CODE_SYSTEM, kind))]
    if measured is None:
        return {"coding": codings, "text": found.title}
    own = {name: measured[name] for name in ("system", "code") if name in measured}
    return {"coding": [*([own] if "code" in own else []), *codings], "text": measured.get("text") or found.title}


def expected(kind: str) -> tuple[str, ...]:
    """Members that every fact of this kind must carry or declare as unknown (issue of dosimetry: what a dose needs to be judged)."""
    return _JUDGED if kind in _DOSES else ()


_DOSES = frozenset({"organ-absorbed-dose", "bed", "eqd2", "cumulative-absorbed-dose"})
_JUDGED = ("intent", "target_definition", "method", "software", "calibration")

#: The members of a result and what each holds: a FHIR type, ``list`` of texts, or the members of the objects of a list (``[]``).
#: A result has no others, whatever it was read from.
MEMBERS: dict[str, str] = {
    "kind": "code",
    "value": "Quantity",
    "stated": "Quantity",
    "concept": "CodeableConcept",
    "text": "string",
    "absent": "code",
    "uncertainty": "Quantity",
    "statistic": "CodeableConcept",
    "code": "CodeableConcept",
    "parameter.name": "string",
    "parameter.value": "decimal",
    "parameter.unit": "code",
    "region": "CodeableConcept",
    "laterality": "CodeableConcept",
    "lesion.tracking_id": "string",
    "lesion.tracking_uid": "string",
    "lesion.label": "string",
    "lesion.finding": "CodeableConcept",
    "segment.sop_instance_uid": "string",
    "segment.number": "integer",
    # Of a histogram: as the object holds it. Of a dose grid: what kind of dose it holds; its voxels stay in the object.
    "dvh.type": "code",
    "dvh.bins": "integer",
    "dvh.dose_unit": "code",
    "dvh.dose_widths": "string",
    "dvh.volume_unit": "code",
    "dvh.volumes": "string",
    "grid.units": "code",
    "grid.type": "code",
    "grid.weighted": "code",
    "grid.summation": "code",
    "grid.heterogeneity": "string",
    "grid.frames": "integer",
    "grid.scaling": "decimal",
    "grid.comment": "string",
    "grid.effect_model": "CodeableConcept",
    "mass": "Quantity",
    "mass_method": "string",
    "volume": "Quantity",
    "points[].time": "Quantity",
    "points[].activity": "Quantity",
    "points[].dose_rate": "Quantity",
    "points[].value": "Quantity",
    "points[].image_uid": "string",
    "components[].code": "CodeableConcept",
    "components[].value": "Quantity",
    "components[].concept": "CodeableConcept",
    "components[].text": "string",
    "components[].absent": "code",
    "alpha_beta": "Quantity",
    "repair_half_time": "Quantity",
    "fit.model": "string",
    "fit.r2": "decimal",
    "fit.parameters": "string",
    "intent": "code",
    "use": "code",
    "target_definition": "code",
    "method": "CodeableConcept",
    "reference_authority": "CodeableConcept",
    "software.name": "string",
    "software.version": "string",
    "software.manufacturer": "string",
    "calibration": "string",
    "approved.by": "string",
    "approved.at": "dateTime",
    "approved.accepted": "boolean",
    "at": "dateTime",
    "ended_at": "dateTime",
    "scope": "CodeableConcept",
    "scope_uid": "string",
    "event_uid": "string",
    "administration.event_uid": "string",
    "administration.started_at": "dateTime",
    "administration.activity": "Quantity",
    "administration.radionuclide": "CodeableConcept",
    "administration.agent": "CodeableConcept",
    "administration.cycle": "integer",
    "cycle": "integer",
    "images": "list",
    "remarks": "list",
    "group": "string",
    "about.manufacturer": "string",
    "about.model": "string",
    "about.serial": "string",
    "about.station": "string",
    "about.software": "string",
}
#: What stands beside the members: set by reading, not by a mapping.
LABEL, OF, PLACE = "label", "of_administration", "place"
"""``label``: how ``sources`` and issues call the result; ``of_administration``: its place in ``administrations`` of the same record;
``place``: what names its region where no name does, set by gathering."""
#: Members of which one must be there, or there is no result.
TELLING = ("value", "concept", "text", "points", "components", "dvh", "grid", "absent")
#: What a member with a closed list of words may say.
WORDS: dict[str, frozenset[str]] = {
    "intent": frozenset({"predicted", "verified"}),
    "use": frozenset({"diagnostic", "therapeutic"}),
    "target_definition": frozenset({"whole-organ", "lesion", "treated-volume", "dose-volume-cut"}),
}


#: Intent of a procedure (PS3.16 CID 3629) that makes an administration part of a therapy; SNOMED CT.
THERAPEUTIC = frozenset({"262202000", "1279505009", "363676003", "373808002"})


def is_final(document: Mapping[str, Any]) -> bool:
    """Whether a document may be taken as the last word: a person verified it (PS3.3 C.17.2), and it is not PARTIAL."""
    return document.get("verification") == "VERIFIED" and document.get("completion") != "PARTIAL"


#: The members of a document, besides what a mapping adds.
DOCUMENT_MEMBERS: dict[str, str] = {
    "uid": "string",
    "class_uid": "string",
    "kind": "CodeableConcept",
    "title": "string",
    "template": "code",
    "completion": "code",
    "verification": "code",
    "verified_at": "dateTime",
    "verifier": "HumanName",
    "created_at": "dateTime",
    "predecessors": "list",
    "study_uid": "string",
    "series_uid": "string",
    "language": "CodeableConcept",
    "software.name": "string",
    "software.version": "string",
    "software.manufacturer": "string",
    "source": "code",
    "content_type": "code",
    "hash": "string",
    "size": "unsignedInt",
    "presented": "string",  #: it is for people to look at: any word
    "digest": "string",
}
