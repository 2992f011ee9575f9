"""Provenance: which gateway made these resources, from which DICOM objects, by which mapping; and what people decided about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from gateway import __version__
from gateway.model import JsonObject, PersonsWord
from gateway.r4.bundles import MAPPING_EXTENSION, MAPPINGS_EXTENSION
from gateway.spool.standing import Decision, DecisionKind

_LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def provenance(
    identifier: str,
    *,
    targets: Sequence[str],
    entities: Sequence[JsonObject],
    mappings: Sequence[str],
    recorded: str,
    deployed: str | None = None,
) -> JsonObject:
    """One Provenance per subject. ``entities`` are FHIR identifiers of the sources; ``recorded`` is an instant.

    ``mappings`` are those that read the sources, as ``name@version``; ``deployed`` is the version of the whole set that wrote
    the resources. It stands with the agent, which is no content: a comment edit that is deployed re-publishes nothing.
    """
    in_force = [{"url": MAPPINGS_EXTENSION, "valueString": deployed}] if deployed else []
    resource: JsonObject = {
        "resourceType": "Provenance",
        "id": identifier,
        "extension": [{"url": MAPPING_EXTENSION, "valueString": name} for name in mappings],
        "target": [{"reference": reference} for reference in targets],
        "recorded": recorded,
        "activity": {"coding": [{"system": _LIFECYCLE, "code": "transform"}]},
        "agent": [
            {
                **({"extension": in_force} if in_force else {}),
                "type": {"coding": [{"system": _PARTICIPANT, "code": "assembler"}]},
                "who": {"display": f"Isobridge {__version__}"},
            }
        ],
        "entity": [{"role": "source", "what": {"identifier": entity}} for entity in entities],
    }
    return {name: value for name, value in resource.items() if value != []}


#: What a decision does to a record, in the words of ISO 21089 (R4 value set provenance-activity-type).
_ACTIVITIES = {
    DecisionKind.ACCEPT: "unhold",
    DecisionKind.CONTENT: "amend",
    DecisionKind.REASSIGN: "amend",
    DecisionKind.WITHDRAW: "deprecate",
    DecisionKind.UNDO: "reactivate",
}
_WORDS = {
    DecisionKind.ACCEPT: "Held objects accepted as the study's own",
    DecisionKind.CONTENT: "Another content of an object put in force",
    DecisionKind.REASSIGN: "Moved to another patient",
    DecisionKind.WITHDRAW: "Study withdrawn",
    DecisionKind.UNDO: "Earlier decision undone",
}


def decision_provenance(identifier: str, decision: Decision, *, targets: Sequence[str]) -> JsonObject:
    """Who decided what about a study, and why. One for each decision and subject; it never changes but for its targets."""
    study = {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{decision.study_uid}"}}
    said = PersonsWord(
        key=identifier,
        activity=_ACTIVITIES[decision.kind],
        words=_WORDS[decision.kind],
        reason=decision.reason,
        decided_by=decision.decided_by,
        decided_at=decision.decided_at,
        facts=(),
        sources=(study,),
    )
    return word_provenance(identifier, said, targets=targets)


def word_provenance(identifier: str, said: PersonsWord, *, targets: Sequence[str]) -> JsonObject:
    """Who said what about facts, and why, with what it was said of."""
    at = instant(said.decided_at)
    return {
        "resourceType": "Provenance",
        "id": identifier,
        "target": [{"reference": reference} for reference in targets],
        "occurredDateTime": at,
        "recorded": at,
        "reason": [{"text": said.reason}],
        "activity": {"coding": [{"system": _LIFECYCLE, "code": said.activity}], "text": said.words},
        "agent": [{"type": {"coding": [{"system": _PARTICIPANT, "code": "verifier"}]}, "who": {"display": said.decided_by}}],
        "entity": [{"role": "source", "what": source} for source in said.sources],
    }


def instant(now: float) -> str:
    """Seconds since 1970 as a FHIR instant (UTC, milliseconds)."""
    return dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="milliseconds")
