"""Turns a resource into index rows, with extractors compiled once per type from the official search expressions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import SearchParameter
from gateway.r4.expression import Extractor, compile_expression
from gateway.store import values
from gateway.store.composite import Codes, Composite, compile_composite

#: Raise when the rows for the same resource change: the index is then made anew at the next start.
INDEX_VERSION = 2

#: Answered from columns of ``res`` itself.
BY_COLUMN = frozenset({"_id", "_lastUpdated"})

#: Index table name -> its rows as (parameter id, value columns ...), without row id and without repetition.
Rows = dict[str, set[tuple[Any, ...]]]

ParamIds = Mapping[tuple[str, str], int]

#: A table and some rows of it.
Some = tuple[str, Iterable[tuple[Any, ...]]]
#: The ids of the parameters that read the same place: of each itself (empty suffix), of its ``:text`` and its ``:identifier``.
Owners = tuple[Mapping[str, int], ...]
Converter = Callable[[Owners, str, list[Any], ZoneInfo], Iterator[Some]]

_ENCODER = msgspec.json.Encoder(decimal_format="number")
#: Elements remembered, about a kilobyte each.
_MOST_KNOWN = 10_000
#: Elements that are large and never the same twice.
_TOLD_ONCE = frozenset({("ImagingStudy", "series"), ("Provenance", "target"), ("Group", "member")})

#: Kinds of token that are plain texts: a study has hundreds of these, so they take the short way.
_PLAIN = frozenset({"code", "id", "string", "uri", "canonical", "oid"})


@dataclass(frozen=True, slots=True)
class _Read:
    """One path through a resource, and for which parameters what lies there is indexed, as the ids by suffix."""

    extractor: Extractor
    convert: Converter
    owners: Owners


@dataclass(frozen=True, slots=True)
class _Type:
    """All that is read of one type. Most resources have few of the elements that could be searched, so what is read is found by key."""

    reads: Mapping[str, tuple[_Read, ...]]  #: by the first JSON key; the empty one stands for what is looked at in the whole
    pairs: Mapping[str, tuple[tuple[int, Composite], ...]]  #: the same for composites
    references: tuple[tuple[str, Extractor], ...]  #: code of a reference parameter and one of its paths


class Indexer:
    """Makes the index rows of any resource type.

    What one element gives does not depend on the others, and most elements say what others of their kind have said: the code of a
    measurement, the subject, the method. So the rows of an element are remembered by its JSON.
    """

    def __init__(self, param_ids: ParamIds, zone: ZoneInfo, *, left_out: Iterable[tuple[str, str]] = ()) -> None:
        self._ids = param_ids
        self._zone = zone
        self._left_out = frozenset(left_out)
        self._compiled: dict[str, _Type] = {}
        self._known: dict[tuple[str, str, bytes], Rows] = {}

    def rows(self, resource: JsonObject) -> Rows:
        """All index rows of a resource."""
        kind = resource["resourceType"]
        compiled = self._for_type(kind)
        rows = self._read(compiled, "", resource)
        for key, value in resource.items():
            if key not in compiled.reads and key not in compiled.pairs:
                continue
            if (kind, key) in _TOLD_ONCE:
                _add(rows, self._read(compiled, key, resource))
            else:
                for part in value if isinstance(value, list) else (value,):
                    _add(rows, self._remembered(kind, compiled, key, [part] if isinstance(value, list) else part))
        return rows

    def _remembered(self, kind: str, compiled: _Type, key: str, value: Any) -> Rows:
        name = kind, key, _ENCODER.encode(value)
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[name] = self._read(compiled, key, {key: value})
        return found

    def _read(self, compiled: _Type, key: str, resource: JsonObject) -> Rows:
        """The rows that come of one element, or with an empty key those that come of the whole."""
        rows: Rows = {}
        for read in compiled.reads.get(key, ()):
            if found := read.extractor.values(resource):
                for table, more in read.convert(read.owners, read.extractor.kind, found, self._zone):
                    rows.setdefault(table, set()).update(more)
        codes: Codes = {}
        for number, composite in compiled.pairs.get(key, ()):
            if pairs := composite.pairs(resource, self._zone, codes):
                rows.setdefault("cmp", set()).update((number, *pair) for pair in pairs)
        return rows

    def references(self, resource: JsonObject, code: str | None) -> set[tuple[str, str]]:
        """(type, id) that a reference parameter of the resource points to; of all its parameters when ``code`` is ``None``."""
        return {
            (kind, target)
            for own, extractor in self._for_type(resource["resourceType"]).references
            if code in (None, own)
            for value in extractor.values(resource)
            for target, kind in values.references(extractor.kind, value)
            if kind
        }

    def _for_type(self, kind: str) -> _Type:
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(kind)
        return self._compiled[kind]

    def _compile(self, kind: str) -> _Type:
        owners: dict[tuple[Converter, tuple[str, ...], str], list[Mapping[str, int]]] = {}
        paths: dict[tuple[Converter, tuple[str, ...], str], Extractor] = {}
        pairs: dict[str, list[tuple[int, Composite]]] = {}
        references = []
        for parameter in indexed_parameters(kind):
            if (kind, parameter.code) in self._left_out:
                continue
            ids = {suffix: self._ids[kind, parameter.code + suffix] for suffix in suffixes(parameter)}
            if parameter.type == "composite":
                for composite in compile_composite(kind, parameter).by_place():
                    pairs.setdefault(composite.first_key, []).append((ids[""], composite))
                continue
            for extractor in compile_expression(parameter.expression, root=kind, elements=definitions.elements()):
                same = _CONVERTERS[parameter.type], extractor.path, extractor.kind
                owners.setdefault(same, []).append(ids)
                paths[same] = extractor
                if parameter.type == "reference":
                    references.append((parameter.code, extractor))
        reads: dict[str, list[_Read]] = {}
        for same, extractor in paths.items():
            reads.setdefault(extractor.first_key, []).append(_Read(extractor, same[0], tuple(owners[same])))
        return _Type(
            {key: tuple(found) for key, found in reads.items()},
            {key: tuple(of_place) for key, of_place in pairs.items()},
            tuple(references),
        )


def _add(rows: Rows, more: Rows) -> None:
    for table, found in more.items():
        if table in rows:
            rows[table] |= found
        elif found:
            rows[table] = set(found)


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


def _token(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Some]:
    if kind in _PLAIN:
        for ids in owners:
            own = ids[""]
            yield "tok", [(own, values.key(value), "") for value in found]
        return
    if kind == "Coding":  # five hundred images of a study have one SOP class between them
        found = list({(value.get("system"), value.get("code"), value.get("display")): value for value in found}.values())
    codes = [code for value in found for code in values.tokens(kind, value)]
    texts = [(values.folded(text), values.key(text)) for value in found for text in values.token_texts(kind, value)]
    for ids in owners:
        yield "tok", [(ids[""], *code) for code in codes]
        if texts:
            yield "str", [(ids[":text"], *text) for text in texts]


def _reference(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Some]:
    targets = [target for value in found for target in values.references(kind, value)]
    named = [value["identifier"] for value in found if "identifier" in value] if kind == "Reference" else []
    codes = [code for identifier in named for code in values.tokens("Identifier", identifier)]
    for ids in owners:
        yield "ref", [(ids[""], *target) for target in targets]
        if codes:
            yield "tok", [(ids[":identifier"], *code) for code in codes]


def _string(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Some]:
    texts = [(values.folded(text), values.key(text)) for value in found for text in values.strings(kind, value)]
    for ids in owners:
        yield "str", [(ids[""], *text) for text in texts]


def _date(owners: Owners, kind: str, found: list[Any], zone: ZoneInfo) -> Iterator[Some]:
    spans = [span for value in found for span in values.intervals(kind, value, zone)]
    for ids in owners:
        yield "dat", [(ids[""], low, high) for low, high in spans]


def _quantity(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Some]:
    told = [quantity for value in found for quantity in values.quantities(kind, value)]
    for ids in owners:
        yield "qty", [(ids[""], *quantity) for quantity in told]


def _uri(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Iterator[Some]:
    texts = [text for value in found for text in values.uris(kind, value)]
    for ids in owners:
        yield "uri", [(ids[""], text) for text in texts]


_CONVERTERS: Mapping[str, Converter] = {
    "token": _token,
    "reference": _reference,
    "string": _string,
    "date": _date,
    "quantity": _quantity,
    "number": _quantity,
    "uri": _uri,
}
