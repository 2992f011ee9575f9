"""Search of our own concept maps: a handful that stands in the package, because the store does not know their type."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.web.fhir_capability import CONCEPT_MAP_SEARCH


def concept_maps(maps: Sequence[JsonObject], parameters: Sequence[tuple[str, str]], base: str) -> JsonObject:
    """A searchset Bundle. Raises :class:`Rejected` for a parameter that is not known."""
    for name, _ in parameters:
        if name not in CONCEPT_MAP_SEARCH and name not in ("_format", "_pretty", "_count"):
            known = ", ".join(sorted(CONCEPT_MAP_SEARCH))
            raise Rejected(f"a ConceptMap is searched by {known}", status=400)
    found = [one for one in maps if all(_matches(one, name, value) for name, value in parameters)]
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{base}/ConceptMap"}],
        "entry": [{"fullUrl": f"{base}/ConceptMap/{one['id']}", "resource": one, "search": {"mode": "match"}} for one in found],
    }


def _matches(one: JsonObject, name: str, value: str) -> bool:
    """R4 search.html: a string by its beginning whatever the case, the others exactly; a comma means or."""
    if name not in CONCEPT_MAP_SEARCH:
        return True
    held = str(one["id" if name == "_id" else name])
    wanted = value.split(",")
    return any(held.lower().startswith(word.lower()) for word in wanted) if name == "name" else held in wanted
