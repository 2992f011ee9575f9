"""Does what a server holds say what we sent? Servers add, shorten and rephrase; this tells such liberties from a difference. Pure.

Tolerated: ``meta.versionId``, ``lastUpdated`` and other members that a server adds to ``meta``; a narrative (``text``) that it
generates; numbers that went through binary floating point (``1.50`` came back as ``1.5``); references made absolute or versioned.
Of a Provenance the instant, the agent and the versions of mappings do not count, as in :func:`gateway.r4.bundles.resource_hash`.
"""

from __future__ import annotations

import re
from decimal import Decimal

from gateway.model import Json, JsonObject
from gateway.r4.bundles import MAPPING_EXTENSION

#: ``Type/id`` at the end of a reference, before the version that some servers append.
_LITERAL = re.compile(r"(?:^|/)([A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")

_GIVEN_BY_SERVERS = ("meta", "text")


def agrees(ours: JsonObject, theirs: JsonObject, *, exactly: bool) -> bool:
    """Whether ``theirs`` says all that ``ours`` says and, when ``exactly``, nothing else of substance."""
    mine, other = _substance(ours), _substance(theirs)
    for name in _GIVEN_BY_SERVERS:
        given = other.pop(name, None)
        asked = mine.pop(name, None)
        if asked is not None and not _same(asked, given, exactly=False):
            return False
    return _same(mine, other, exactly=exactly)


def _substance(resource: JsonObject) -> JsonObject:
    if resource.get("resourceType") != "Provenance":
        return dict(resource)
    kept = {name: value for name, value in resource.items() if name not in ("recorded", "agent")}
    if "extension" in kept:
        bare = [_without_version(item) for item in kept["extension"]]
        kept["extension"] = [item for number, item in enumerate(bare) if item not in bare[:number]]
    return kept


def _without_version(extension: JsonObject) -> JsonObject:
    if extension.get("url") != MAPPING_EXTENSION or "valueString" not in extension:
        return extension
    return {**extension, "valueString": extension["valueString"].partition("@")[0]}


def _same(ours: Json, theirs: Json, *, exactly: bool) -> bool:
    if isinstance(ours, dict):
        if not isinstance(theirs, dict) or not ours.keys() <= theirs.keys() or (exactly and ours.keys() != theirs.keys()):
            return False
        return all(
            _same_reference(value, theirs[name]) if name == "reference" else _same(value, theirs[name], exactly=exactly)
            for name, value in ours.items()
        )
    if isinstance(ours, list):
        if not isinstance(theirs, list) or (len(ours) != len(theirs) if exactly else len(ours) > len(theirs)):
            return False
        return all(_same(mine, other, exactly=exactly) for mine, other in zip(ours, theirs, strict=False))
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | Decimal) and isinstance(theirs, int | Decimal):
        return ours == theirs or float(ours) == float(theirs)
    return bool(ours == theirs)


def _same_reference(ours: Json, theirs: Json) -> bool:
    return isinstance(ours, str) and isinstance(theirs, str) and (ours == theirs or literal(theirs) == ours)


def literal(reference: str) -> str | None:
    """``Type/id`` of a reference or location, relative or absolute, with or without a version."""
    found = _LITERAL.search(reference)
    return found[1] if found else None
