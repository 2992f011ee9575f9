"""Puts real references in the place of those that a bundle uses among its entries (R4 http.html#trules). Pure.

A full URL of the bundle is replaced wherever an element of type Reference, uri, url, oid or uuid says exactly that. Canonicals and
narratives stay as they are: a link in a narrative is text for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions

_LINKS = frozenset({"uri", "url", "oid", "uuid"})
_NO_SUCH_ENTRY = "a urn:uuid: reference names no entry of the same transaction"


class Resolver:
    """``names``: full URL -> ``Type/id``. ``base``: our own address, which is cut off references. ``referred`` makes ``Type/id`` of a
    conditional reference and ``None`` of any other text; what it raises goes through."""

    def __init__(self, names: Mapping[str, str], base: str, referred: Callable[[str], str | None]) -> None:
        self._names = names
        self._base = f"{base}/" if base else ""
        self._referred = referred

    def resolved(self, resource: JsonObject) -> JsonObject:
        """The resource itself when there was nothing to replace. Raises :class:`Rejected` (400) for a ``urn:uuid:`` that is nowhere."""
        found: JsonObject = self._object(resource, resource["resourceType"])
        return found

    def _object(self, node: Any, kind: str) -> Any:
        if not isinstance(node, dict):
            return node
        if kind == "Resource":
            kind = str(node.get("resourceType", ""))
        types = _types(kind)
        changed = {}
        for key, value in node.items():
            fresh = self._value(value, kind, key, types.get(key) or ("Element" if key.startswith("_") else ""))
            if fresh is not value:
                changed[key] = fresh
        return {**node, **changed} if changed else node

    def _value(self, value: Any, parent: str, key: str, kind: str) -> Any:
        if isinstance(value, list):
            fresh = [self._value(item, parent, key, kind) for item in value]
            return fresh if any(new is not old for new, old in zip(fresh, value, strict=True)) else value
        if isinstance(value, dict):
            return self._object(value, kind)
        if not isinstance(value, str):
            return value
        if parent == "Reference" and key == "reference":
            return self._reference(value)
        return self._names.get(value, value) if kind in _LINKS else value

    def _reference(self, text: str) -> str:
        if text in self._names:
            return self._names[text]
        if text.startswith("urn:uuid:"):
            raise Rejected(_NO_SUCH_ENTRY, status=400)
        if self._base and text.startswith(self._base):
            text = text.removeprefix(self._base)
        return self._referred(text) or text


@lru_cache(maxsize=512)
def _types(kind: str) -> Mapping[str, str]:
    """JSON key -> type, for every key that a type can have."""
    known = definitions.elements().get(kind, {})
    return {key: name for element in known.values() for key, name in element.keys().items()}
