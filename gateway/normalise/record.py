"""Dataset + mapping -> Record: every field with its source, every doubt an Issue. After the spool, before gathering.

The slices of one series differ in a handful of elements. Everything else is evaluated once: shared fields are remembered under the raw
bytes of all top-level elements that decide them, so that a second slice costs a lookup and its own instance fields.

A rule that fails costs its own field; an object that asks for too much work (:class:`~gateway.dicom.budget.Budget`) is quarantined.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from typing import Any

from gateway.dicom import sr, values
from gateway.dicom.budget import Budget
from gateway.dicom.elements import Element
from gateway.dicom.headers import HeaderLike
from gateway.dicom.items import Item, Root
from gateway.dicom.paths import Path, parse_path
from gateway.dicom.sr import SrPath
from gateway.dicom.values import Invalid
from gateway.errors import Quarantined
from gateway.mapping.conditions import NOTHING, Condition, Seen, seen_in, seen_value
from gateway.mapping.conversion import Outcome, Parts, SiteContext, withheld
from gateway.mapping.rules import (
    REPEATED,
    ArrivalFact,
    FieldRef,
    FieldRule,
    FramePath,
    Guarded,
    ItemPath,
    Mapping,
    MetaPath,
    Need,
    RootPath,
    Source,
)
from gateway.mapping.sources import ITEM
from gateway.model import Issue, Json, JsonObject, Record, Severity, SharedFields
from gateway.normalise.results import read_results
from gateway.normalise.sealed import sealed

__all__ = ["Reading", "SharedCache", "SiteContext", "normalise"]

_CHARSET, _OFFSET = parse_path("SpecificCharacterSet"), parse_path("TimezoneOffsetFromUTC")
_SHARED_LEVELS = ("patient", "study", "series", "device", "document")
#: What a converter may raise when it meets something that nobody foresaw: it costs the field, not the object.
_FAULTS = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError, RecursionError)
#: More items of one sequence are not read: neither administrations nor lists are ever that long.
MOST_ITEMS = 2000


class SharedCache:
    """The shared fields of recent series, bounded; the least recently used goes first. Safe between threads."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[Any, ...], SharedFields] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[Any, ...]) -> SharedFields | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: tuple[Any, ...], shared: SharedFields) -> None:
        with self._lock:
            self._entries[key] = shared
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)


_RECENT = SharedCache()


def normalise(header: HeaderLike, mapping: Mapping, context: SiteContext, cache: SharedCache = _RECENT) -> Record:
    """Read one object by its mapping.

    Raises :class:`Quarantined` when a field that must be there is missing or unusable. The cache changes speed, never the result.
    """
    root = Root(header, Budget())
    key = _cache_key(root, header, mapping, context)
    shared = cache.get(key)
    failures: list[str] = []
    if shared is None:
        shared = _shared(root, mapping, context, failures, _assumed(header))
        if not failures:
            cache.put(key, shared)
    reading = Reading(root, context, shared=shared)
    instance = reading.read(mapping.by_level["instance"], failures).get("instance", {})
    if failures:
        raise Quarantined("; ".join(f"{failure}" for failure in failures) + ".")
    return Record(shared=shared, instance=instance, issues=tuple(reading.issues))


def _cache_key(root: Root, header: HeaderLike, mapping: Mapping, context: SiteContext) -> tuple[Any, ...]:
    """Everything that decides the shared fields, as bytes."""
    deciding = [raw for path in (_CHARSET, _OFFSET, *mapping.shared_paths) for raw in root.bytes_of(path)]
    deciding.append(_assumed(header).encode())
    if mapping.shared_meta:
        deciding += [header.file_meta.get(tag, b"") for tag in mapping.shared_meta]
    if mapping.shared_arrival:
        deciding += [getattr(header.came, fact).encode() for fact in mapping.shared_arrival]
    lengths = repr([len(raw) for raw in deciding]).encode()
    digest = hashlib.blake2b(lengths + b"".join(deciding), digest_size=16).digest()
    encoding = getattr(header, "transfer_syntax_uid", None) or str(header.dataset.original_encoding)
    return mapping.token, context.timezone.key, encoding, digest


def _assumed(header: HeaderLike) -> str:
    return str(getattr(header, "assumed_charset", ""))


def _shared(root: Root, mapping: Mapping, context: SiteContext, failures: list[str], assumed_charset: str) -> SharedFields:
    reading = Reading(root, context)
    if assumed_charset:
        reason = f"was read as {assumed_charset}, the character set that the site set for this sender"
        reading.issues.append(Issue(field="patient.name", reason=reason, severity=Severity.INFORMATION))
    tree = reading.read(mapping.shared_fields, failures)
    levels = {level: tree.get(level, {}) for level in _SHARED_LEVELS}
    issues, sources = list(reading.issues), dict(reading.sources)
    administrations: list[JsonObject] = []
    told: list[tuple[int, Reading]] = []
    items = _items(root, mapping, issues)
    for index, item in enumerate(items):
        label = REPEATED if len(items) == 1 else f"{REPEATED}[{index}]"
        inner = Reading(root, context, items={REPEATED: item}, label=label, known=dict(reading.known))
        read = inner.read(mapping.by_level[REPEATED], failures).get(REPEATED, {})
        issues += inner.issues
        sources |= inner.sources
        if read:
            told.append((len(administrations), inner))
            administrations.append(read)
    reading.issues, reading.sources = issues, sources
    results = read_results(mapping, reading, told, failures) if mapping.results else []
    return sealed(mapping, levels, administrations, results, issues=reading.issues, sources=reading.sources)


def _items(root: Root, mapping: Mapping, issues: list[Issue]) -> tuple[Item, ...]:
    if mapping.repeated is None:
        return ()
    try:
        found = _find(root, mapping.repeated)
    except Invalid as error:
        issues.append(Issue(field=REPEATED, reason=str(error)))
        return ()
    items = found.items if found else ()
    if len(items) > MOST_ITEMS:
        issues.append(Issue(field=REPEATED, reason=f"has {len(items):,} items; more than {MOST_ITEMS:,} are not believed"))
        return ()
    return items


def _find(place: Root | Item, path: Path | SrPath) -> Element | None:
    return place.find(path) if isinstance(path, Path) else sr.find(place, path)


@dataclass
class Reading:
    """One pass over some fields of one object: what was read, and what was noticed."""

    root: Root
    context: SiteContext
    items: dict[str, Item] = field(default_factory=dict)  #: what ``$administration`` and ``$item`` stand for
    label: str = REPEATED  #: how issues call the repeated level
    known: dict[str, Json] = field(default_factory=dict)
    shared: SharedFields | None = None  #: where the values of other levels stand, when they were read before
    issues: list[Issue] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def read(self, rules: Iterable[FieldRule], failures: list[str]) -> JsonObject:
        """Read fields, each after those that it refers to, into one JSON tree per level."""
        trees: JsonObject = {}
        for rule in rules:
            name = rule.name if rule.level != REPEATED else self.label + rule.name[len(REPEATED) :]
            self._field(rule, name, trees.setdefault(rule.level, {}), failures)
        return trees

    def holds(self, condition: Condition) -> bool:
        """Whether a condition holds for this object, here."""
        return condition.holds(self._look)

    def element(self, source: Source) -> Element | None:
        """What stands at a source; ``None`` when it is absent, or when its condition does not hold. Raises :class:`Invalid`."""
        if isinstance(source, RootPath):
            return _find(self.root, source.path)
        if isinstance(source, ItemPath):
            item = self.items.get(source.item)
            return _find(item, source.path) if item is not None else None
        if isinstance(source, Guarded):
            return self.element(source.source) if self.holds(source.when) else None
        if isinstance(source, FramePath):
            return self.root.frames(source.path)
        if isinstance(source, MetaPath):
            return self.root.meta(source.path)
        return self.root.came(source.name) if isinstance(source, ArrivalFact) else None

    def items_at(self, source: Source) -> Element | None:
        """What a ``for_each`` goes through: items of a sequence, or the content items of a report themselves."""
        plain_source = source.source if isinstance(source, Guarded) else source
        if not isinstance(plain_source, RootPath | ItemPath) or not isinstance(plain_source.path, SrPath):
            return self.element(source)
        if isinstance(source, Guarded) and not self.holds(source.when):
            return None
        start = self.root if isinstance(plain_source, RootPath) else self.items.get(plain_source.item)
        return sr.find_items(start, plain_source.path) if start is not None else None

    def value(self, name: str) -> Json:
        """The value of a field that was read before, or ``None``."""
        found = self.known.get(name)
        if found is None and self.shared is not None:
            level, *keys = name.split(".")
            found = getattr(self.shared, level, None) if level in _SHARED_LEVELS else None
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
        return found

    def _field(self, rule: FieldRule, name: str, tree: JsonObject, failures: list[str]) -> None:
        if rule.when is not None and not self.holds(rule.when):
            return
        outcome = self._list(rule, name, failures) if rule.items else self._convert(rule)
        if rule.range is not None and outcome.value is not None:
            outcome = _in_range(outcome, rule.range)
        if outcome.notes:
            self.issues += [Issue(field=name, reason=note.reason, severity=note.severity) for note in outcome.notes]
        if outcome.candidates:
            _put(tree, (*rule.keys[:-1], f"{rule.keys[-1]}_candidates"), list(outcome.candidates))
        if outcome.value is None:
            self._missing(rule, name, outcome, failures)
            return
        self.known[rule.name if rule.level != ITEM else f"${rule.name}"] = outcome.value
        self.sources[name] = outcome.source
        _put(tree, rule.keys, outcome.value)
        if outcome.stated is not None:
            _put(tree, (*rule.keys[:-1], f"{rule.keys[-1]}_stated"), outcome.stated)
        if outcome.repaired:
            _put(tree, (*rule.keys[:-1], f"{rule.keys[-1]}_repaired"), True)

    def _missing(self, rule: FieldRule, name: str, outcome: Outcome, failures: list[str]) -> None:
        if rule.need is Need.MUST:
            failures.append(f"{name} {outcome.notes[0].reason if outcome.notes else 'is missing'}")
        elif rule.need is Need.SHOULD and not outcome.notes:
            self.issues.append(Issue(field=name, reason="is missing", severity=Severity.WARNING))

    def _convert(self, rule: FieldRule) -> Outcome:
        parts = Parts(
            elements=lambda part: _Alternatives(self, rule.sources.get(part, ())),
            fields=lambda part: self._field_value(rule.sources.get(part, ())),
            zone=self._zone,
        )
        try:
            return rule.converter.convert(parts, rule.options)
        except Invalid as error:
            return withheld(str(error))
        except _FAULTS as error:
            return withheld(f"could not be converted: '{rule.converter.name}' failed ({type(error).__name__})")

    def _list(self, rule: FieldRule, name: str, failures: list[str]) -> Outcome:
        """A field with its own ``for_each``: one object for each item in which anything is found."""
        try:
            found = next((found for source in rule.sources["items"] if (found := self.items_at(source))), None)
        except Invalid as error:
            return withheld(str(error))
        if found is None:
            return Outcome()
        if len(found.items) > MOST_ITEMS:
            return withheld(f"has {len(found.items):,} items; more than {MOST_ITEMS:,} are not believed", found.path)
        made = [self._entry(rule, f"{name}[{index}]", item, failures) for index, item in enumerate(found.items)]
        return Outcome(value=[entry for entry in made if entry] or None, source=found.path)

    def members(
        self, rules: Iterable[FieldRule], item: Item | None, failures: list[str]
    ) -> tuple[JsonObject, list[Issue], dict[str, str]]:
        """The members of a result, read of one item or of the object: what was read, and issues and sources named ``.member``."""
        items = {**self.items, ITEM: item} if item is not None else self.items
        inner = Reading(self.root, self.context, items, known=dict(self.known), shared=self.shared)
        tree: JsonObject = {}
        for rule in rules:
            inner._field(rule, rule.name[len(ITEM) :], tree, failures)
        return tree, inner.issues, inner.sources

    def _entry(self, rule: FieldRule, label: str, item: Item, failures: list[str]) -> JsonObject:
        inner = Reading(self.root, self.context, {**self.items, ITEM: item}, known=dict(self.known), shared=self.shared)
        entry: JsonObject = {}
        for one in rule.items:
            inner._field(one, label + one.name[len(ITEM) :], entry, failures)
        self.issues += inner.issues
        self.sources |= inner.sources
        return entry

    def _look(self, source: Source) -> Seen:
        if isinstance(source, Guarded):
            return self._look(source.source) if self.holds(source.when) else NOTHING
        if isinstance(source, FieldRef):
            return seen_value(self.value(source.name))
        try:
            return seen_in(self.element(source))
        except Invalid:
            return Seen(True)

    def _field_value(self, sources: tuple[Source, ...]) -> Json:
        for source in sources:
            if isinstance(source, Guarded):
                if not self.holds(source.when):
                    continue
                source = source.source
            if isinstance(source, FieldRef) and (found := self.value(source.name)) is not None:
                return found
        return None

    def _zone(self) -> dt.tzinfo:
        offset = self.root.find(_OFFSET)
        if offset is None:
            return self.context.timezone
        try:
            return values.utc_offset(offset.text)
        except Invalid as error:
            raise Invalid("cannot be placed in time: TimezoneOffsetFromUTC is not an offset") from error


def _in_range(outcome: Outcome, limits: tuple[Decimal, Decimal]) -> Outcome:
    """A number outside the range that its mapping allows is withheld."""
    value = outcome.value
    number, unit = (value["value"], f" {value['unit']}") if isinstance(value, dict) else (value, "")
    if limits[0] <= number <= limits[1]:
        return outcome
    return withheld(f"lies outside the range from {limits[0]:f} to {limits[1]:f}{unit} that the mapping allows", outcome.source)


class _Alternatives(Iterator[Element]):
    """The present alternatives of a part, in order. A broken one raises :class:`Invalid` and the next can still be asked for."""

    def __init__(self, reading: Reading, sources: tuple[Source, ...]) -> None:
        self._reading = reading
        self._sources = iter(sources)

    def __next__(self) -> Element:
        for source in self._sources:
            found = self._reading.element(source)
            if found is not None:
                return found
        raise StopIteration


def _put(tree: JsonObject, keys: tuple[str, ...], value: Json) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value
