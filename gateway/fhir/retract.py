"""Retraction: what was published and holds no longer is marked, never deleted. Pure.

A subject's new resources are compared with those that were sealed last. A fact that vanished is carried over with the status that
says so, and so it stays in all later versions until it comes back. What it refers to is carried along, so that a target that has
not seen it yet can take the fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.model import JsonObject
from gateway.r4.bundles import REPLACED_BY_EXTENSION, references

#: The status of what no longer holds, for every type that states facts (R4 value sets imagingstudy-status, medication-admin-status,
#: observation-status, diagnostic-report-status, event-status, document-reference-status). Patients, devices, medications state none:
#: they are shared.
RETRACTED = {
    "ImagingStudy": "cancelled",
    "MedicationAdministration": "entered-in-error",
    "Observation": "entered-in-error",
    "DiagnosticReport": "entered-in-error",
    "Procedure": "entered-in-error",
    "DocumentReference": "entered-in-error",
}
#: Our own identifiers of facts that may be lost to another one.
_FACT_SYSTEMS = {"MedicationAdministration": "urn:isobridge:administration", "Observation": "urn:isobridge:dose-result"}


def retractions(
    previous: Sequence[JsonObject], current: Sequence[JsonObject], replaced: Mapping[str, str] | None = None
) -> list[JsonObject]:
    """What must be added to ``current``: the facts of ``previous`` that it lacks, retracted, behind what they refer to.

    ``replaced`` maps the key of a lost administration to that of the one which survives it: the lost fact, and what is part of it,
    then points there.
    """
    present = {reference_of(resource) for resource in current}
    gone = [item for item in previous if item["resourceType"] in RETRACTED and reference_of(item) not in present]
    survivors = _survivors([*previous, *current], replaced or {})
    lost = [_retracted(item, survivors) for item in gone]
    return [*_support(lost, previous, present), *lost]


def cancelled(resources: Iterable[JsonObject]) -> list[JsonObject]:
    """The same resources of a study that must not be published: facts are marked as retracted, the rest stays."""
    return [_with_status(item) if item["resourceType"] in RETRACTED else item for item in resources]


def reference_of(resource: JsonObject) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def about(resources: Sequence[JsonObject], reference: str) -> list[str]:
    """References of the facts that refer to ``reference``, or to a fact that does."""
    facts = [item for item in resources if item["resourceType"] in RETRACTED]
    found = {reference_of(item) for item in facts if reference in references(item)}
    found |= {reference_of(item) for item in facts if found & set(references(item))}
    return sorted(found)


def _with_status(resource: JsonObject) -> JsonObject:
    return {**resource, "status": RETRACTED[resource["resourceType"]]}


def _retracted(resource: JsonObject, survivors: Mapping[str, str]) -> JsonObject:
    carried = _with_status(resource)
    named = [reference_of(resource), *(part["reference"] for part in resource.get("partOf", ()) if "reference" in part)]
    survivor = next((survivors[name] for name in named if name in survivors), None)
    if survivor is None:
        return carried  # a link that was made before stays
    others = [item for item in resource.get("extension", ()) if item.get("url") != REPLACED_BY_EXTENSION]
    return {**carried, "extension": [*others, {"url": REPLACED_BY_EXTENSION, "valueReference": {"reference": survivor}}]}


def _survivors(resources: Iterable[JsonObject], replaced: Mapping[str, str]) -> dict[str, str]:
    """``replaced`` as references, found by the administration's own identifier."""
    by_key = {
        identifier["value"]: reference_of(item)
        for item in resources
        if item["resourceType"] in _FACT_SYSTEMS
        for identifier in item.get("identifier", ())
        if identifier.get("system") == _FACT_SYSTEMS[item["resourceType"]]
    }
    return {by_key[lost]: by_key[kept] for lost, kept in replaced.items() if lost in by_key and kept in by_key}


def _support(lost: Sequence[JsonObject], previous: Sequence[JsonObject], present: set[str]) -> list[JsonObject]:
    """What the lost facts refer to, directly or through others, and the new version does not hold."""
    known = {reference_of(item): item for item in previous if item["resourceType"] not in {*RETRACTED, "Provenance"}}
    wanted: dict[str, JsonObject] = {}
    queue = [name for item in lost for name in references(item)]
    while queue:
        name = queue.pop()
        if name in known and name not in wanted and name not in present:
            wanted[name] = known[name]
            queue += references(known[name])
    return [item for name, item in known.items() if name in wanted]
