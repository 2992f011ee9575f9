"""The embedded FHIR store as a target: the same contract as a server elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import JsonObject, Receipt
from gateway.r4.bundles import resource_hash
from gateway.store.store import FhirStore


class EmbeddedTarget:
    """Publishes into the store that this gateway's own ``/fhir`` serves."""

    def __init__(self, store: FhirStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        return "embedded"

    def check(self) -> None:
        """Nothing to look at: it is part of this gateway."""

    def send(self, bundle: JsonObject) -> Receipt:
        answer = self._store.transact(bundle)
        versions: dict[str, str] = {}
        for entry in answer["entry"]:
            kind, identifier, _history, version = entry["response"]["location"].split("/")[-4:]
            versions[f"{kind}/{identifier}"] = version
        return Receipt(versions=versions)

    def verify(self, resources: Sequence[JsonObject], receipt: Receipt) -> bool:
        return all(map(self._holds, resources)) and len(receipt.versions) == len(resources)

    def missing(self, resources: Sequence[JsonObject]) -> list[JsonObject]:
        return [resource for resource in resources if not self._holds(resource)]

    def _holds(self, resource: JsonObject) -> bool:
        held = self._store.read(resource["resourceType"], resource["id"])
        return held is not None and not held.deleted and resource_hash(held.resource()) == resource_hash(resource)
