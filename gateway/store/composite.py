"""The rows of composite search parameters: pairs of values that stand together in one place of a resource (R4 search.html#combining).

The first component of every composite we know is a code. The second can be of any search type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from gateway.r4 import definitions
from gateway.r4.definitions import SearchParameter
from gateway.r4.expression import Extractor, UnknownExpression, compile_expression
from gateway.store import values

#: code, system, value, value_system, low, high, unit
Pair = tuple[str, str, str, str, float, float, str]
_Second = tuple[str, str, float, float, str]
#: The codes of one place: (identity of the node, nought for the whole; paths) -> (code, system). Good while the resource is held,
#: of the whole for all that have the same codes.
Codes = dict[tuple[int, tuple[tuple[str, ...], ...]], list[tuple[str, str]]]
_TOKENS = frozenset({"CodeableConcept", "Coding", "Identifier", "code", "boolean"})


@dataclass(frozen=True, slots=True)
class Composite:
    """A compiled composite: per place where the pairs stand, how to read their halves."""

    places: tuple[tuple[Extractor, tuple[Extractor, ...], tuple[Extractor, ...]], ...]
    second: str  #: search type of the second component

    def by_place(self) -> list[Composite]:
        """The same, one for each kind of place."""
        return [Composite((place,), self.second) for place in self.places]

    @property
    def first_key(self) -> str:
        """The JSON key without which there is no pair; empty when there is no such key."""
        keys = {place.first_key for place, _, _ in self.places}
        return keys.pop() if len(keys) == 1 else ""

    @property
    def second_keys(self) -> set[str]:
        """One of these JSON keys must be there when the pair stands in the whole; empty text: always look."""
        return {part.first_key for place, _, second in self.places for part in second} if self.places else {""}

    @property
    def chosen_by(self) -> str:
        """The JSON key of the whole that tells the codes of the pairs; empty when there is no such key."""
        keys = {part.first_key if not place.steps else "" for place, first, _ in self.places for part in first}
        return keys.pop() if len(keys) == 1 else ""

    def pairs(self, resource: Mapping[str, Any], zone: ZoneInfo, known: Codes) -> list[Pair]:
        """Every pair of the resource. ``known`` keeps the codes that were read for one composite of the resource for the others."""
        found: list[Pair] = []
        for place, first, second in self.places:
            if not place.steps and not any(part.first_key in resource for part in second):
                continue
            for node in place.values(resource):
                others = [row for part in second for value in part.values(node) for row in self._second(part.kind, value, zone)]
                if others:
                    found += [
                        (*code, *other) for code in _codes(node, id(node) if place.steps else 0, first, known) for other in others
                    ]
        return found

    def _second(self, kind: str, value: Any, zone: ZoneInfo) -> Iterator[_Second]:
        return _SECONDS[self.second](kind, value, zone)


def _codes(node: Any, who: int, parts: Sequence[Extractor], known: Codes) -> list[tuple[str, str]]:
    same = who, tuple(part.path for part in parts)
    if same not in known:
        known[same] = [code for part in parts for value in part.values(node) for code in values.tokens(part.kind, value)]
    return known[same]


def compile_composite(kind: str, parameter: SearchParameter) -> Composite:
    """Raises :class:`UnknownExpression` when the parameter has not two components that can be read."""
    elements = definitions.elements()
    (_, first), (_, second) = parameter.components
    # The published expression says DateTime, but the type is called dateTime.
    second = second.replace("as(DateTime)", "as(dateTime)")
    places = tuple(
        (
            place,
            compile_expression(first, root=place.kind, elements=elements),
            compile_expression(second, root=place.kind, elements=elements),
        )
        for place in compile_expression(parameter.expression, root=kind, elements=elements)
    )
    kinds = {part.kind for _, _, parts in places for part in parts}
    return Composite(places, second_type(kind, parameter, kinds))


def second_type(kind: str, parameter: SearchParameter, kinds: set[str] | None = None) -> str:
    """The search type of the second component. R4 names the two of DocumentReference.relationship the wrong way round."""
    if kinds is None:
        return compile_composite(kind, parameter).second
    if kinds == {"Reference"}:
        return "reference"
    declared = definitions.search_parameters()[kind][parameter.components[1][0]].type
    if declared not in _SECONDS:
        raise UnknownExpression(f"{kind}.{parameter.code}: a {declared} cannot be the second of a pair")
    return declared


def _token(kind: str, value: Any, _zone: ZoneInfo) -> Iterator[_Second]:
    if kind in _TOKENS:
        for code, system in values.tokens(kind, value):
            yield code, system, 0.0, 0.0, ""


def _string(kind: str, value: Any, _zone: ZoneInfo) -> Iterator[_Second]:
    for text in values.strings(kind, value):
        yield values.folded(text), "", 0.0, 0.0, ""


def _date(kind: str, value: Any, zone: ZoneInfo) -> Iterator[_Second]:
    for low, high in values.intervals(kind, value, zone):
        yield "", "", float(low), float(high), ""


def _quantity(kind: str, value: Any, _zone: ZoneInfo) -> Iterator[_Second]:
    for low, high, system, code, unit in values.quantities(kind, value):
        yield code, system, low, high, unit


def _reference(kind: str, value: Any, _zone: ZoneInfo) -> Iterator[_Second]:
    for target, target_kind in values.references(kind, value):
        yield target, target_kind, 0.0, 0.0, ""


_SECONDS: Mapping[str, Callable[[str, Any, ZoneInfo], Iterator[_Second]]] = {
    "token": _token,
    "string": _string,
    "date": _date,
    "quantity": _quantity,
    "reference": _reference,
}
