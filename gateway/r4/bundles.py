"""Transaction bundles, and what of a resource counts as content.

Both the renderer and the publishers decide by these hashes whether something is new, so they stand here once.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.model import JsonObject
from gateway.r4.canonical import content_hash

#: What of a Provenance does not count: when, by which release and by which version of a mapping it was written.
_NOT_CONTENT = {"Provenance": ("recorded", "extension", "agent")}


def resource_hash(resource: JsonObject) -> str:
    """What a resource says, without what only tells when and by what it was written."""
    return content_hash(resource, without=_NOT_CONTENT.get(resource["resourceType"], ()))


def bundle_hash(resources: Iterable[JsonObject]) -> str:
    """What a set of resources says, whatever their order."""
    return content_hash({f"{item['resourceType']}/{item['id']}": resource_hash(item) for item in resources})


def transaction(resources: Iterable[JsonObject]) -> JsonObject:
    """A FHIR transaction that creates or updates each resource under its own id (R4 http.html#transaction)."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{resource['id']}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ],
    }


def resources_of(bundle: JsonObject) -> list[JsonObject]:
    """The resources of a bundle, in order."""
    return [entry["resource"] for entry in bundle.get("entry", ()) if "resource" in entry]
