"""Transaction bundles, and what of a resource counts as content.

Both the renderer and the publishers decide by these hashes whether something is new, so they stand here once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.model import Json, JsonObject
from gateway.r4.canonical import content_hash

#: Names the mapping that read the sources, as ``name@version``; one extension of a Provenance for each.
MAPPING_EXTENSION = "urn:isobridge:fhir:StructureDefinition:mapping"

#: On the agent of a Provenance: the deployed version of the whole set of mappings that wrote the resources.
MAPPINGS_EXTENSION = "urn:isobridge:fhir:StructureDefinition:mappings-in-force"

#: On a fact that was entered in error: the one that stands for the same event (valueReference).
REPLACED_BY_EXTENSION = "urn:isobridge:fhir:StructureDefinition:replaced-by"


def resource_hash(resource: JsonObject) -> str:
    """What a resource says, without what only tells when and by what it was written.

    Of a Provenance the instant, the release and the versions of the mappings do not count: a comment edit or an update of the
    gateway re-publishes nothing. Which mappings took part does count.
    """
    if resource["resourceType"] != "Provenance":
        return content_hash(resource)
    names = [mapping["valueString"].partition("@")[0] for mapping in resource.get("extension", ()) if "valueString" in mapping]
    # Records that two versions of one mapping read name it twice: that is no news either.
    return content_hash({**resource, "extension": list(dict.fromkeys(names))}, without=("recorded", "agent"))


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


def references(tree: Json) -> Iterator[str]:
    """Every literal reference inside, as it is written."""
    if isinstance(tree, dict):
        reference = tree.get("reference")
        if isinstance(reference, str):
            yield reference
        for child in tree.values():
            yield from references(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from references(child)
