"""The definitions that we publish under our own name: profiles, code systems, value sets, search parameters, concept maps.

They stand as JSON beside this module, written by ``gateway.workbench.definitions``, and are part of every store from its start.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.bundles import transaction
from gateway.r4.canonical import decode

_FOLDER = Path(__file__).parent / "conformance"


@lru_cache(maxsize=1)
def published() -> tuple[JsonObject, ...]:
    """All of them. They are shared: treat them as read-only."""
    return tuple(decode(path.read_bytes()) for path in sorted(_FOLDER.glob("*.json")))


def as_transaction() -> JsonObject:
    """Those of types that the store knows, as a transaction that changes nothing when they are there."""
    return transaction(one for one in published() if one["resourceType"] in definitions.resource_types())


def unstored(kind: str) -> list[JsonObject]:
    """Those of a type that the store does not know: ConceptMap."""
    if kind in definitions.resource_types():
        return []
    return [one for one in published() if one["resourceType"] == kind]


def profiles_of(kind: str) -> list[str]:
    """The profiles of a resource type that instances may claim."""
    return [
        str(one["url"])
        for one in published()
        if one["resourceType"] == "StructureDefinition" and one["kind"] == "resource" and one["type"] == kind
    ]
