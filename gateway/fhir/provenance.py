"""Provenance: which gateway made these resources, from which DICOM objects, by which mapping."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from gateway import __version__
from gateway.model import JsonObject
from gateway.r4.bundles import MAPPING_EXTENSION

_LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def provenance(
    identifier: str, *, targets: Sequence[str], entities: Sequence[JsonObject], mappings: Sequence[str], recorded: str
) -> JsonObject:
    """One Provenance per subject. ``entities`` are FHIR identifiers of the sources; ``recorded`` is an instant."""
    resource: JsonObject = {
        "resourceType": "Provenance",
        "id": identifier,
        "extension": [{"url": MAPPING_EXTENSION, "valueString": name} for name in mappings],
        "target": [{"reference": reference} for reference in targets],
        "recorded": recorded,
        "activity": {"coding": [{"system": _LIFECYCLE, "code": "transform"}]},
        "agent": [
            {
                "type": {"coding": [{"system": _PARTICIPANT, "code": "assembler"}]},
                "who": {"display": f"Isobridge {__version__}"},
            }
        ],
        "entity": [{"role": "source", "what": {"identifier": entity}} for entity in entities],
    }
    return {name: value for name, value in resource.items() if value != []}


def instant(now: float) -> str:
    """Seconds since 1970 as a FHIR instant (UTC, milliseconds)."""
    return dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="milliseconds")
