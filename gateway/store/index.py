"""Turns a resource into index rows, with extractors compiled once per type from the official search expressions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import SearchParameter
from gateway.r4.expression import Extractor, compile_expression
from gateway.store import values
from gateway.store.composite import Composite, compile_composite

#: Raise when the rows for the same resource change: the index is then made anew at the next start.
INDEX_VERSION = 2

#: Answered from columns of ``res`` itself.
BY_COLUMN = frozenset({"_id", "_lastUpdated"})

#: Index table name -> its rows as (parameter id, value columns ...), without row id and without repetition.
Rows = dict[str, set[tuple[Any, ...]]]

ParamIds = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class _Compiled:
    parameter: SearchParameter
    extractors: tuple[Extractor, ...]
    ids: Mapping[str, int]  #: of the parameter itself (empty suffix), of its ``:text`` and its ``:identifier``
    composite: Composite | None = None


class Indexer:
    """Makes the index rows of any resource type."""

    def __init__(self, param_ids: ParamIds, zone: ZoneInfo, *, left_out: Iterable[tuple[str, str]] = ()) -> None:
        self._ids = param_ids
        self._zone = zone
        self._left_out = frozenset(left_out)
        self._compiled: dict[str, tuple[_Compiled, ...]] = {}

    def rows(self, resource: JsonObject) -> Rows:
        """All index rows of a resource."""
        rows: Rows = {}
        for compiled in self._for_type(resource["resourceType"]):
            if compiled.composite:
                pairs = {(compiled.ids[""], *pair) for pair in compiled.composite.pairs(resource, self._zone)}
                if pairs:
                    rows.setdefault("cmp", set()).update(pairs)
                continue
            convert = _CONVERTERS[compiled.parameter.type]
            for extractor in compiled.extractors:
                found = extractor.values(resource)
                if found:
                    for table, row in convert(compiled.ids, extractor.kind, found, self._zone):
                        rows.setdefault(table, set()).add(row)
        return rows

    def references(self, resource: JsonObject, code: str | None) -> set[tuple[str, str]]:
        """(type, id) that a reference parameter of the resource points to; of all its parameters when ``code`` is ``None``."""
        return {
            (kind, target)
            for compiled in self._for_type(resource["resourceType"])
            if compiled.parameter.type == "reference" and code in (None, compiled.parameter.code)
            for extractor in compiled.extractors
            for value in extractor.values(resource)
            for target, kind in values.references(extractor.kind, value)
            if kind
        }

    def _for_type(self, kind: str) -> tuple[_Compiled, ...]:
        if kind not in self._compiled:
            self._compiled[kind] = tuple(self._compile(kind))
        return self._compiled[kind]

    def _compile(self, kind: str) -> Iterator[_Compiled]:
        for parameter in indexed_parameters(kind):
            if (kind, parameter.code) in self._left_out:
                continue
            ids = {suffix: self._ids[kind, parameter.code + suffix] for suffix in suffixes(parameter)}
            if parameter.type == "composite":
                yield _Compiled(parameter, (), ids, compile_composite(kind, parameter))
                continue
            extractors = compile_expression(parameter.expression, root=kind, elements=definitions.elements())
            yield _Compiled(parameter, extractors, ids)


def indexed_parameters(kind: str) -> list[SearchParameter]:
    """The parameters of a type that have index rows."""
    return [parameter for parameter in definitions.search_parameters()[kind].values() if parameter.code not in BY_COLUMN]


def suffixes(parameter: SearchParameter) -> tuple[str, ...]:
    """A parameter may have more than one kind of rows: ``code`` and ``code:text``, ``subject`` and ``subject:identifier``."""
    return {"token": ("", ":text"), "reference": ("", ":identifier")}.get(parameter.type, ("",))


def wanted_parameters() -> list[tuple[str, str]]:
    """(type, code) of everything that needs a parameter id, in a stable order."""
    return [
        (kind, parameter.code + suffix)
        for kind in sorted(definitions.resource_types())
        for parameter in indexed_parameters(kind)
        for suffix in suffixes(parameter)
    ]


def fingerprint(zone: ZoneInfo, left_out: Iterable[tuple[str, str]]) -> str:
    """Equal when two indexes of the same resources would be equal."""
    text = [str(INDEX_VERSION), zone.key, repr(sorted(left_out))]
    for kind in sorted(definitions.resource_types()):
        text += [f"{kind}.{item.code} {item.type} {item.expression}" for item in indexed_parameters(kind)]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


Row = tuple[str, tuple[Any, ...]]
Converter = Callable[[Mapping[str, int], str, list[Any], ZoneInfo], Iterator[Row]]

#: Kinds of token that are plain texts: a study has hundreds of these, so they take the short way.
_PLAIN = frozenset({"code", "id", "string", "uri", "canonical", "oid"})


def _token(ids: Mapping[str, int], kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Row]:
    own, texts = ids[""], ids[":text"]
    if kind in _PLAIN:
        for value in found:
            yield "tok", (own, values.key(value), "")
        return
    if kind == "Coding":  # five hundred images of a study have one SOP class between them
        found = list({(value.get("system"), value.get("code"), value.get("display")): value for value in found}.values())
    for value in found:
        for code, system in values.tokens(kind, value):
            yield "tok", (own, code, system)
        for text in values.token_texts(kind, value):
            yield "str", (texts, values.folded(text), values.key(text))


def _reference(ids: Mapping[str, int], kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Row]:
    for value in found:
        for target, target_kind in values.references(kind, value):
            yield "ref", (ids[""], target, target_kind)
        if kind == "Reference" and "identifier" in value:
            for code, system in values.tokens("Identifier", value["identifier"]):
                yield "tok", (ids[":identifier"], code, system)


def _string(ids: Mapping[str, int], kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Row]:
    for value in found:
        for text in values.strings(kind, value):
            yield "str", (ids[""], values.folded(text), values.key(text))


def _date(ids: Mapping[str, int], kind: str, found: list[Any], zone: ZoneInfo) -> Iterator[Row]:
    for value in found:
        for low, high in values.intervals(kind, value, zone):
            yield "dat", (ids[""], low, high)


def _quantity(ids: Mapping[str, int], kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Row]:
    for value in found:
        for row in values.quantities(kind, value):
            yield "qty", (ids[""], *row)


def _uri(ids: Mapping[str, int], kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Row]:
    for value in found:
        for text in values.uris(kind, value):
            yield "uri", (ids[""], text)


_CONVERTERS: Mapping[str, Converter] = {
    "token": _token,
    "reference": _reference,
    "string": _string,
    "date": _date,
    "quantity": _quantity,
    "number": _quantity,
    "uri": _uri,
}
