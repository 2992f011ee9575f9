"""What a mapping read of an object, sealed under the hash of its content. After reading, before the ledger."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

from gateway.mapping.rules import Mapping
from gateway.model import Issue, JsonObject, SharedFields


def sealed(
    mapping: Mapping,
    levels: dict[str, JsonObject],
    administrations: list[JsonObject],
    results: list[JsonObject],
    *,
    issues: list[Issue],
    sources: dict[str, str],
) -> SharedFields:
    """The shared fields with their key: equal content, equal key."""
    document = levels.pop("document", {})
    later = {name: value for name, value in (("document", document), ("results", results)) if value}
    content = {
        "mapping": mapping.name,
        "mapping_version": mapping.version,
        **levels,
        **later,  # absent from the key where they are empty: a record of an older release keeps its key
        "administrations": administrations,
        "issues": [issue.as_json() for issue in issues],
        "sources": sources,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_number)
    return SharedFields(
        key=hashlib.sha256(text.encode()).hexdigest(),
        mapping=mapping.name,
        mapping_version=mapping.version,
        patient=levels["patient"],
        study=levels["study"],
        series=levels["series"],
        device=levels["device"],
        administrations=tuple(administrations),
        issues=tuple(issues),
        sources=sources,
        document=document,
        results=tuple(results),
    )


def _number(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is not JSON")
