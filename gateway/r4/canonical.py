"""FHIR JSON with exact decimals, and the hash that decides whether two resources say the same.

FHIR decimals carry their precision: ``1.50`` is not ``1.5`` (R4 datatypes.html#decimal). So numbers travel as ``Decimal``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from decimal import Decimal

import msgspec

from gateway.model import Json, JsonObject

#: What a server writes into ``meta`` by itself; it never makes two resources different.
SERVER_META = frozenset({"versionId", "lastUpdated"})

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_SORTED = msgspec.json.Encoder(decimal_format="number", order="sorted")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


def encode(tree: Json) -> bytes:
    """JSON in the order of the keys given, decimals as they were written. Raises ``ValueError`` for NaN and infinity."""
    return _checked(_ENCODER.encode(tree), tree)


def decode(data: bytes | str) -> Json:
    """The reverse of :func:`encode`. Raises ``ValueError`` when it is not JSON, or nested without reason."""
    try:
        return _DECODER.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def content_hash(resource: JsonObject, *, without: Collection[str] = ()) -> str:
    """Lower-case hex SHA-256 of what the resource says: sorted keys, without server meta and without the elements named.

    Raises ``ValueError`` for NaN and infinity, as :func:`encode` does.

    ``without`` holds element names at the top (``text``) or dotted ones (``meta.tag``) through objects.
    """
    return content_and_hash(resource, without=without)[1]


def content_and_hash(resource: JsonObject, *, without: Collection[str] = ()) -> tuple[bytes, str]:
    """What :func:`content_hash` is of, too: JSON with sorted keys."""
    content = _without(resource, [f"meta.{name}" for name in SERVER_META] + list(without))
    encoded = _checked(_SORTED.encode(content), content)
    return encoded, hashlib.sha256(encoded).hexdigest()


def _checked(encoded: bytes, tree: Json) -> bytes:
    """msgspec writes NaN as a bare word, which is not JSON. The check costs nothing unless one of the words occurs at all."""
    if (b"NaN" in encoded or b"Infinity" in encoded) and _has_no_number(tree):
        raise ValueError("NaN and infinity are not numbers in FHIR")
    return encoded


def _without(node: JsonObject, paths: list[str]) -> JsonObject:
    kept = dict(node)
    deeper: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(name, []).append(rest)
        else:
            kept.pop(name, None)
    for name, rest_paths in deeper.items():
        if isinstance(kept.get(name), dict):
            kept[name] = _without(kept[name], rest_paths)
            if not kept[name]:
                del kept[name]
    return kept


def _has_no_number(tree: Json) -> bool:
    if isinstance(tree, dict):
        return any(_has_no_number(child) for child in tree.values())
    if isinstance(tree, list | tuple):
        return any(_has_no_number(child) for child in tree)
    return isinstance(tree, Decimal | float) and not Decimal(tree).is_finite()
