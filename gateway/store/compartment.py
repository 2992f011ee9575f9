"""The Patient compartment (R4 compartmentdefinition-patient.html): by which parameters a resource belongs to a patient."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.store.query import (
    DEFAULT_COUNT,
    MAX_COUNT,
    MAX_VALUE_CHARS,
    CareDate,
    Compartment,
    Condition,
    Filter,
    Include,
    Query,
)

#: Of the types that this gateway knows. The others are in no compartment of a patient.
PATIENT: dict[str, tuple[str, ...]] = {
    "AuditEvent": ("patient",),
    "BodyStructure": ("patient",),
    "Composition": ("subject", "author", "attester"),
    "Condition": ("patient", "asserter"),
    "DiagnosticReport": ("subject",),
    "DocumentReference": ("subject", "author"),
    "Encounter": ("patient",),
    "Group": ("member",),
    "ImagingStudy": ("patient",),
    "List": ("subject", "source"),
    "MedicationAdministration": ("patient", "performer", "subject"),
    "Observation": ("subject", "performer"),
    "Patient": ("link",),
    "Procedure": ("patient", "performer"),
    "Provenance": ("patient",),
    "ServiceRequest": ("subject", "performer"),
    "Specimen": ("subject",),
}


def compartment(logical_id: str, kind: str | None = None) -> Compartment:
    """The filter for one type, or for all of them."""
    kinds = PATIENT if kind is None else {kind: PATIENT.get(kind, ())}
    return Compartment(logical_id, tuple((name, code) for name, codes in kinds.items() for code in codes))


#: When what a resource tells of took place: what ``start`` and ``end`` of ``$everything`` look at.
_CARE_DATES = {
    "AuditEvent": "date",
    "Composition": "date",
    "Condition": "recorded-date",
    "DiagnosticReport": "date",
    "DocumentReference": "date",
    "Encounter": "date",
    "ImagingStudy": "started",
    "List": "date",
    "MedicationAdministration": "effective-time",
    "Observation": "date",
    "Procedure": "date",
    "Provenance": "when",
    "ServiceRequest": "occurrence",
    "Specimen": "collected",
}
#: With what is in the compartment comes what it refers to, and who vouches for it.
_BESIDE = (
    Include("*", "*", None, reverse=False, iterate=True),
    Include("Provenance", "target", None, reverse=True, iterate=False),
)


def everything(logical_id: str, parameters: Sequence[tuple[str, str]]) -> Query:
    """The search that ``Patient/{id}/$everything`` is. Raises :class:`Rejected` (400) for a value in the wrong form."""
    asked = {name: value for name, value in parameters if value}
    if any("\x00" in value or len(value) > MAX_VALUE_CHARS for value in asked.values()):
        raise Rejected("a parameter is too long or holds a NUL character", status=400)
    count = asked.get("_count", str(DEFAULT_COUNT))
    if not re.fullmatch(r"\d{1,9}", count, re.ASCII):
        raise Rejected("_count must be a whole number", status=400)
    wanted = tuple(part for part in asked.get("_type", "").split(",") if part)
    if not set(wanted) <= definitions.resource_types():
        raise Rejected("_type names a type that is not known here", status=400)
    filters: list[Filter] = [compartment(logical_id)]
    if "_since" in asked:
        filters.append(Condition("Patient", "_lastUpdated", "date", "", (f"ge{asked['_since']}",)))
    filters += [CareDate(tuple(_CARE_DATES.items()), prefix + asked[name]) for name, prefix in _ENDS.items() if name in asked]
    used = tuple((name, value) for name, value in parameters if name in _UNDERSTOOD and value)
    types = tuple(sorted(wanted or PATIENT))
    includes = () if wanted else _BESIDE
    return Query(
        type="", types=types, filters=tuple(filters), includes=includes, count=min(max(int(count), 1), MAX_COUNT), used=used
    )


_ENDS = {"start": "ge", "end": "le"}
_UNDERSTOOD = frozenset({"_since", "_type", "_count", "start", "end", "_format", "_pretty", "_elements", "_summary"})
