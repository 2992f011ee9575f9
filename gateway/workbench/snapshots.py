"""The snapshot of a profile: every element of its base with what the differential says of it (R4 profiling.html#snapshot). Pure.

A slice stands behind the element that it slices and holds all its children again; where the differential looks into a data type, the
children of the type are opened. The bases stand in ``gateway/r4/base_snapshots.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gateway import r4
from gateway.model import JsonObject
from gateway.r4.canonical import decode


@lru_cache(maxsize=1)
def bases() -> Mapping[str, Sequence[JsonObject]]:
    """Type -> the elements of its official snapshot."""
    tree: JsonObject = decode((Path(r4.__file__).parent / "base_snapshots.json").read_bytes())
    types: Mapping[str, Sequence[JsonObject]] = tree["types"]
    return types


def snapshot(base: str, differential: Sequence[JsonObject]) -> list[JsonObject]:
    """Raises :class:`ValueError` for an element of the differential that the base does not have."""
    told = {str(element["id"]): element for element in differential}
    merged = list(_Merge(told).element(_Place(base, bases()[base]), base))
    unmet = told.keys() - {element["id"] for element in merged}
    if unmet:
        raise ValueError(f"{base} has no element {', '.join(sorted(unmet))}")
    return merged


@dataclass(frozen=True, slots=True)
class _Place:
    """An element of a definition: the path that names it there, and all elements of that definition."""

    path: str
    elements: Sequence[JsonObject]

    @property
    def own(self) -> JsonObject:
        return next(element for element in self.elements if element["path"] == self.path)

    def children(self) -> list[_Place]:
        depth = self.path.count(".") + 1
        below = (str(element["path"]) for element in self.elements if str(element["path"]).startswith(f"{self.path}."))
        return [_Place(path, self.elements) for path in below if path.count(".") == depth]


@dataclass(frozen=True, slots=True)
class _Merge:
    told: Mapping[str, JsonObject]

    def element(self, place: _Place, identifier: str, sliced: JsonObject | None = None) -> Iterator[JsonObject]:
        """The element under this id with all below it; ``sliced`` is the element that it is a slice of."""
        start = {name: value for name, value in (sliced or place.own).items() if name != "slicing"}
        own = _merged(start, self.told.get(identifier, {}))
        own |= {"id": identifier, "path": ".".join(step.partition(":")[0] for step in identifier.split("."))}
        yield _in_order(own)
        for child in self._children(place, identifier, own):
            name = child.path.rpartition(".")[2]
            inner = f"{identifier}.{name}"
            whole = _merged(child.own, self.told.get(inner, {}))
            yield from self.element(child, inner)
            for slice_id in self.told:
                if slice_id.startswith(f"{inner}:") and "." not in slice_id[len(inner) :]:
                    yield from self.element(child, slice_id, whole)

    def _children(self, place: _Place, identifier: str, own: JsonObject) -> list[_Place]:
        """Of the base; of the data type where the differential looks into one."""
        found = place.children()
        if found or not any(other.startswith(f"{identifier}.") for other in self.told):
            return found
        (kind,) = (str(one["code"]) for one in own["type"])
        return _Place(kind, bases()[kind]).children()


def _merged(base: JsonObject, told: JsonObject) -> JsonObject:
    merged = {**base, **told}
    if "constraint" in base and "constraint" in told:
        merged["constraint"] = [*base["constraint"], *told["constraint"]]
    return merged


#: R4 ElementDefinition: the order of its elements, as far as ours have them.
_ORDER = (
    "id", "path", "representation", "sliceName", "slicing", "short", "definition", "min", "max", "base", "contentReference", "type",
    "meaningWhenMissing", "fixedUri", "patternCodeableConcept", "patternQuantity", "condition", "constraint", "mustSupport",
    "isModifier", "isModifierReason", "isSummary", "binding",
)  # fmt: skip


def _in_order(element: JsonObject) -> JsonObject:
    return {name: element[name] for name in sorted(element, key=_ORDER.index)}
