"""Turns a resource into index rows, with extractors compiled once per type from the official search expressions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
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

#: Rows by table; a table and a row may occur more than once.
Some = Sequence[tuple[str, Sequence[tuple[Any, ...]]]]
#: The ids of the parameters that read the same place: of each itself (empty suffix), of its ``:text`` and its ``:identifier``.
Owners = tuple[Mapping[str, int], ...]
Converted = Iterator[tuple[str, list[tuple[Any, ...]]]]
Converter = Callable[[Owners, str, list[Any], ZoneInfo], Converted]

T = TypeVar("T")
_Name = tuple[str, str, bytes]

_ENCODER = msgspec.json.Encoder(decimal_format="number")
#: Elements remembered, about a kilobyte each, and groups of elements, about five; for a while twice as many.
_MOST_ELEMENTS, _MOST_GROUPS = 5_000, 500
#: Longer ones (the file in a DocumentReference, the table of a CodeSystem) would take gigabytes together.
_MOST_BYTES = 8192
#: Elements that are large or never the same twice: series of an ImagingStudy, targets of a Provenance, members of a Group.
_TOLD_ONCE = frozenset({"series", "target", "member", "identifier"})
#: Elements (and values) that hardly two resources have alike.
_OWN = frozenset({"derivedFrom", "result", "text"})
#: Elements that the resources of one report have alike, but no others.
_OF_REPORT = frozenset(
    {
        "subject",
        "patient",
        "encounter",
        "context",
        "effectiveDateTime",
        "effectivePeriod",
        "issued",
        "performer",
        "partOf",
        "basedOn",
    }
    | {"device"}
)

#: Kinds of token that are plain texts: a study has hundreds of these, so they take the short way.
_PLAIN = frozenset({"code", "id", "string", "uri", "canonical", "oid"})


@dataclass(frozen=True, slots=True)
class _Read:
    """One path through a resource, and for which parameters what lies there is indexed, as the ids by suffix."""

    extractor: Extractor
    convert: Converter
    owners: Owners


@dataclass(frozen=True, slots=True)
class _Part:
    """What is read in one place: single values, and pairs of values with the id of their parameter."""

    reads: list[_Read] = field(default_factory=list)
    pairs: list[tuple[int, Composite]] = field(default_factory=list)
    by: str = ""  #: of the whole: the JSON key whose content decides what is read at all


@dataclass(frozen=True, slots=True)
class _Type:
    """All that is read of one type. Most resources have few of the elements that could be searched, so what is read is found by key."""

    parts: Mapping[str, _Part]  #: what is read of one element, by its JSON key
    wholes: Mapping[str, _Part]  #: what is looked at in the whole when it has this JSON key; always under the empty one
    references: tuple[tuple[str, Extractor], ...]  #: code of a reference parameter and one of its paths


class Indexer:
    """Makes the index rows of any resource type.

    What one element gives does not depend on the others, and most elements say what others of their kind have said: the code of a
    measurement, the subject, the method. So the rows of an element, and of those that go together, are remembered by their JSON.
    """

    def __init__(self, param_ids: ParamIds, zone: ZoneInfo, *, left_out: Iterable[tuple[str, str]] = ()) -> None:
        self._ids = param_ids
        self._zone = zone
        self._left_out = frozenset(left_out)
        self._compiled: dict[str, _Type] = {}
        self._elements: _Memory[Some] = _Memory(_MOST_ELEMENTS)
        self._groups: _Memory[Some] = _Memory(_MOST_GROUPS)
        self._plans: _Memory[tuple[_Part, Codes]] = _Memory(_MOST_GROUPS)

    def rows(self, resource: JsonObject) -> Rows:
        """All index rows of a resource."""
        kind = resource["resourceType"]
        compiled = self._for_type(kind)
        found: list[Some] = []
        for key, whole in compiled.wholes.items():
            if not key or key in resource:
                found.append(self._read_whole(whole, key, resource))
        of_report: JsonObject = {}
        of_kind: JsonObject = {}
        for key, value in resource.items():
            part = compiled.parts.get(key)
            if part is None:
                continue
            if key in _TOLD_ONCE:
                found.append(self._read(part, resource))
            elif key in _OWN or key.startswith("value"):
                found += self._element(kind, part, key, value)
            else:
                (of_report if key in _OF_REPORT else of_kind)[key] = value
        found += [self._together(kind, compiled, elements) for elements in (of_kind, of_report) if elements]
        return _merged(found)

    def _together(self, kind: str, compiled: _Type, elements: JsonObject) -> Some:
        """Of elements that others of the kind, or of the report, have in the same words."""
        name = kind, "", _ENCODER.encode(elements)
        found = self._groups.get(name)
        if found is None:
            parts = [some for key, value in elements.items() for some in self._element(kind, compiled.parts[key], key, value)]
            found = self._groups.put(name, [(table, tuple(rows)) for table, rows in _merged(parts).items()])
        return found

    def _element(self, kind: str, part: _Part, key: str, value: Any) -> list[Some]:
        found = []
        for one in value if isinstance(value, list) else (value,):
            name = kind, key, _ENCODER.encode(one)
            known = self._elements.get(name)
            if known is None:
                known = self._elements.put(name, self._read(part, {key: [one] if isinstance(value, list) else one}))
            found.append(known)
        return found

    def _read_whole(self, whole: _Part, key: str, resource: JsonObject) -> Some:
        """Of what asks for a value of those that have a code, only what asks for this code is looked at."""
        if not whole.by or not resource.get(key):
            return self._read(whole, resource)
        name = resource["resourceType"], key, _ENCODER.encode(resource.get(whole.by))
        plan = self._plans.get(name)
        if plan is None:
            asks = [read for read in whole.reads if read.extractor.values(resource)]
            plan = self._plans.put(name, (_Part(asks, whole.pairs), {}))
        return self._read(plan[0], resource, plan[1])

    def _read(self, part: _Part, resource: JsonObject, codes: Codes | None = None) -> Some:
        """The rows that come of one place. ``codes``: those of the whole, when they are known."""
        some: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
        for read in part.reads:
            if found := read.extractor.values(resource):
                some += read.convert(read.owners, read.extractor.kind, found, self._zone)
        codes = {} if codes is None else codes
        for number, composite in part.pairs:
            if pairs := composite.pairs(resource, self._zone, codes):
                some.append(("cmp", [(number, *pair) for pair in pairs]))
        return some

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
        parts: dict[str, _Part] = defaultdict(_Part)
        wholes: dict[str, _Part] = defaultdict(_Part)
        references = []
        for parameter in indexed_parameters(kind):
            if (kind, parameter.code) in self._left_out:
                continue
            ids = {suffix: self._ids[kind, parameter.code + suffix] for suffix in suffixes(parameter)}
            if parameter.type == "composite":
                for composite in compile_composite(kind, parameter).by_place():
                    places = parts if composite.first_key else wholes
                    for key in {composite.first_key} if composite.first_key else composite.second_keys:
                        places[key].pairs.append((ids[""], composite))
                continue
            for extractor in compile_expression(parameter.expression, root=kind, elements=definitions.elements()):
                same = _CONVERTERS[parameter.type], extractor.path, extractor.kind
                owners.setdefault(same, []).append(ids)
                paths[same] = extractor
                if parameter.type == "reference":
                    references.append((parameter.code, extractor))
        for same, extractor in paths.items():
            place = parts[extractor.first_key] if extractor.first_key else wholes[extractor.needed_key]
            place.reads.append(_Read(extractor, same[0], tuple(owners[same])))
        return _Type(dict(parts), {key: replace(whole, by=_common(whole)) for key, whole in wholes.items()}, tuple(references))


class _Memory(Generic[T]):
    """Remembers by type, place and JSON. Of two generations: what was asked for lately is still there when the older one goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[_Name, T] = {}
        self._old: dict[_Name, T] = {}

    def get(self, name: _Name) -> T | None:
        found = self._young.get(name)
        if found is None and (found := self._old.get(name)) is not None:
            self.put(name, found)
        return found

    def put(self, name: _Name, found: T) -> T:
        if len(name[2]) > _MOST_BYTES:
            return found
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[name] = found
        return found


def _common(whole: _Part) -> str:
    """The one JSON key by which everything in the whole is chosen; empty when there is no such key."""
    keys = {read.extractor.filter_key for read in whole.reads} | {composite.chosen_by for _, composite in whole.pairs}
    return keys.pop() if len(keys) == 1 else ""


def _merged(found: Iterable[Some]) -> Rows:
    rows: Rows = {}
    for some in found:
        for table, more in some:
            if table in rows:
                rows[table].update(more)
            else:
                rows[table] = set(more)
    return rows


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


def _token(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Converted:
    if kind in _PLAIN:
        for ids in owners:
            own = ids[""]
            yield "tok", [(own, values.key(value), "") for value in found]
        return
    if kind == "Coding":  # five hundred images of a study have one SOP class between them
        found = [found[0], *(value for value in found if value != found[0])]
    codes = [code for value in found for code in values.tokens(kind, value)]
    texts = [(values.folded(text), values.key(text)) for value in found for text in values.token_texts(kind, value)]
    for ids in owners:
        yield "tok", [(ids[""], *code) for code in codes]
        if texts:
            yield "str", [(ids[":text"], *text) for text in texts]


def _reference(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Converted:
    targets = [target for value in found for target in values.references(kind, value)]
    named = [value["identifier"] for value in found if "identifier" in value] if kind == "Reference" else []
    codes = [code for identifier in named for code in values.tokens("Identifier", identifier)]
    for ids in owners:
        yield "ref", [(ids[""], *target) for target in targets]
        if codes:
            yield "tok", [(ids[":identifier"], *code) for code in codes]


def _string(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Converted:
    texts = [(values.folded(text), values.key(text)) for value in found for text in values.strings(kind, value)]
    for ids in owners:
        yield "str", [(ids[""], *text) for text in texts]


def _date(owners: Owners, kind: str, found: list[Any], zone: ZoneInfo) -> Converted:
    spans = [span for value in found for span in values.intervals(kind, value, zone)]
    for ids in owners:
        yield "dat", [(ids[""], low, high) for low, high in spans]


def _quantity(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Converted:
    told = [quantity for value in found for quantity in values.quantities(kind, value)]
    for ids in owners:
        yield "qty", [(ids[""], *quantity) for quantity in told]


def _uri(owners: Owners, kind: str, found: list[Any], _zone: ZoneInfo) -> Converted:
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
