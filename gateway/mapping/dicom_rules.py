"""What a mapping wants of the DICOM objects that go out, compiled: frozen rules that ``normalise.coerce`` runs. Nothing here reads YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pydicom.datadict import keyword_for_tag

from gateway.dicom.paths import Path, vr_of
from gateway.mapping.conditions import Condition
from gateway.mapping.sources import Source

#: What ``identity: effective`` decides.
IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
#: PS3.5 table 6.2-1: value representations that hold numbers, dates and times.
NUMBER_VRS = frozenset(["AS", "DA", "DS", "DT", "FD", "FL", "IS", "SL", "SS", "SV", "TM", "UL", "US", "UV"])
#: Codes that say what numbers mean: changing one changes the numbers (PS3.3 C.8.9.1, C.7.6.16.2.11, C.8.8.3).
UNIT_KEYWORDS = frozenset(
    {
        "Units",
        "SUVType",
        "DecayCorrection",
        "CountsSource",
        "RescaleType",
        "DoseUnits",
        "DoseType",
        "MeasurementUnitsCodeSequence",
    }
)


@dataclass(frozen=True, slots=True)
class SetText:
    """Write this text, of one or several values."""

    text: str


@dataclass(frozen=True, slots=True)
class CopyElement:
    """Write what stands at another place of the object, such as a private element."""

    sources: tuple[Source, ...]  #: alternatives, in order


@dataclass(frozen=True, slots=True)
class SetField:
    """Write what a field of the mapping says; a quantity in this unit (UCUM), a concept as a code item or as its words."""

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the element away."""


Action: TypeAlias = SetText | CopyElement | SetField | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementRule:
    """One element of the outgoing object."""

    target: Path
    action: Action
    per_item: bool  #: the target stands in each item of ``for_each``
    where: str  #: file:line:column
    when: Condition | None = None

    @property
    def changes_numbers(self) -> bool:
        """A change of this element asks for a new SOP Instance UID. A sequence that is taken away may hold numbers."""
        names = {keyword_for_tag(step.tag) for step in self.target.steps}
        vr = vr_of(self.target.steps[-1].tag)
        return vr in NUMBER_VRS or bool(names & UNIT_KEYWORDS) or (vr == "SQ" and isinstance(self.action, Remove))


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomRules:
    """What a mapping wants of the DICOM objects it sends out."""

    utf8: bool = False
    identity: bool = False
    elements: tuple[ElementRule, ...] = ()
    version: str = ""  #: hash of the section: named in Original Attributes. It does not change the mapping's version

    @property
    def changes_numbers(self) -> bool:
        return any(rule.changes_numbers for rule in self.elements)


NO_RULES = DicomRules()
