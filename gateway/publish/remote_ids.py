"""How our resources are called at a server that gives ids of its own. Pure.

Where a server takes our ids (``updateCreate``), nothing here is needed. Elsewhere each resource carries our id as an ``identifier``
(or, where its type has none, as a tag), is found again by it, and references between resources are rewritten to the server's ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gateway.model import Json, JsonObject

#: The system under which a resource carries our id at such a server.
OWN_ID = "urn:isobridge:resource-id"

#: Types that have no ``identifier`` element in R4, among those we publish.
_WITHOUT_IDENTIFIER = frozenset({"Provenance"})

#: Of these a site may hold the very thing already, written by somebody else; it is found by its business identifier.
_SHARED_WITH_OTHERS = frozenset({"Patient", "ImagingStudy"})


def key_of(resource: JsonObject) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def criterion(resource: JsonObject) -> str:
    """The search by which this resource is found at a server, without its type: ``identifier=system%7Cvalue``."""
    kind = resource["resourceType"]
    if kind in _SHARED_WITH_OTHERS:
        for identifier in resource.get("identifier", ()):
            if identifier.get("system") and identifier.get("value") and not _is_accession(identifier):
                return f"identifier={_token(identifier['system'], identifier['value'])}"
    parameter = "_tag" if kind in _WITHOUT_IDENTIFIER else "identifier"
    return f"{parameter}={_token(OWN_ID, resource['id'])}"


def _is_accession(identifier: JsonObject) -> bool:
    """An accession number names the order, not the study."""
    return any(coding.get("code") == "ACSN" for coding in identifier.get("type", {}).get("coding", ()))


def _token(system: str, value: str) -> str:
    """A token parameter (R4 search.html#token): the separators inside a value are escaped first."""
    parts = (text.replace("\\", "\\\\").replace("|", "\\|").replace(",", "\\,").replace("$", "\\$") for text in (system, value))
    return quote("|".join(parts), safe="")


def is_ours(held: JsonObject, resource: JsonObject) -> bool:
    """Whether what a server holds was written by us: then it carries our id."""
    marks = [*held.get("identifier", ()), *({**tag, "value": tag.get("code")} for tag in held.get("meta", {}).get("tag", ()))]
    return any(mark.get("system") == OWN_ID and mark.get("value") == resource["id"] for mark in marks if isinstance(mark, dict))


class Translation:
    """Our names to a server's names, for the types whose ids the server gives."""

    def __init__(self, foreign: frozenset[str], names: Mapping[str, str], together: frozenset[str] = frozenset()) -> None:
        self._foreign = foreign  #: types whose ids the server gives
        self._names = names  #: our ``Type/id`` -> the server's id
        self._together = together  #: ours that travel in the same transaction and have no id there yet
        self.is_complete = True  #: False once something referred to what the server does not hold

    def of(self, resource: JsonObject) -> JsonObject:
        """The resource as it is to stand at the server. Without an ``id`` while the server has given none."""
        translated: JsonObject = self._translated(resource)
        if resource["resourceType"] not in self._foreign:
            return translated
        name = self._names.get(key_of(resource))
        own = {"resourceType": resource["resourceType"], **({"id": name} if name else {})}
        return {**own, **{k: v for k, v in self._marked(translated, resource["id"]).items() if k not in ("resourceType", "id")}}

    def _marked(self, translated: JsonObject, own_id: str) -> JsonObject:
        if translated["resourceType"] in _WITHOUT_IDENTIFIER:
            meta = translated.get("meta", {})
            return {**translated, "meta": {**meta, "tag": [*meta.get("tag", ()), {"system": OWN_ID, "code": own_id}]}}
        return {**translated, "identifier": [*translated.get("identifier", ()), {"system": OWN_ID, "value": own_id}]}

    def _translated(self, tree: Json) -> Any:
        if isinstance(tree, list):
            return [self._translated(child) for child in tree]
        if not isinstance(tree, dict):
            return tree
        copied = {name: self._translated(child) for name, child in tree.items()}
        reference = tree.get("reference")
        if isinstance(reference, str):
            kind, _, identifier = reference.partition("/")
            if kind in self._foreign:
                del copied["reference"]
                return {**self._reference(kind, identifier, reference), **copied}
        return copied

    def _reference(self, kind: str, identifier: str, reference: str) -> JsonObject:
        if reference in self._names:
            return {"reference": f"{kind}/{self._names[reference]}"}
        if reference in self._together:
            return {"reference": f"urn:uuid:{identifier}"}
        self.is_complete = False  # a logical reference until the server holds it
        return {"type": kind, "identifier": {"system": OWN_ID, "value": identifier}}
