"""Dataset + mapping -> Record: every field with its source, every doubt an Issue. After the spool, before gathering.

The slices of one series differ in a handful of elements. Everything else is evaluated once: shared fields are remembered under the raw
bytes of all top-level elements that decide them, so that a second slice costs a lookup and its own instance fields.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from typing import Any

from gateway.dicom import sr, values
from gateway.dicom.paths import Element, HeaderLike, Item, Path, Root, parse_path
from gateway.dicom.sr import SrPath
from gateway.dicom.values import Invalid
from gateway.errors import Quarantined
from gateway.mapping.conversion import Outcome, Parts, SiteContext, withheld
from gateway.mapping.rules import REPEATED, FieldRef, FieldRule, ItemPath, Mapping, Need, RootPath, Source
from gateway.model import Issue, Json, JsonObject, Record, Severity, SharedFields

__all__ = ["SharedCache", "SiteContext", "normalise"]

_CHARSET, _OFFSET = parse_path("SpecificCharacterSet"), parse_path("TimezoneOffsetFromUTC")
_SHARED_LEVELS = ("patient", "study", "series", "device")


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
    root = Root(header)
    key = _cache_key(root, header, mapping, context)
    shared = cache.get(key)
    failures: list[str] = []
    if shared is None:
        shared = _shared(root, mapping, context, failures)
        if not failures:
            cache.put(key, shared)
    reading = _Reading(root, None, context)
    instance = reading.level(mapping, "instance", failures)
    if failures:
        raise Quarantined("; ".join(f"{failure}" for failure in failures) + ".")
    return Record(shared=shared, instance=instance, issues=tuple(reading.issues))


def _cache_key(root: Root, header: HeaderLike, mapping: Mapping, context: SiteContext) -> tuple[Any, ...]:
    """Everything that decides the shared fields, as bytes."""
    deciding = [raw for path in (_CHARSET, _OFFSET, *mapping.shared_paths) for raw in root.bytes_of(path)]
    lengths = repr([len(raw) for raw in deciding]).encode()
    digest = hashlib.blake2b(lengths + b"".join(deciding), digest_size=16).digest()
    encoding = getattr(header, "transfer_syntax_uid", None) or str(header.dataset.original_encoding)
    return mapping.name, mapping.version, context.timezone.key, encoding, digest


def _shared(root: Root, mapping: Mapping, context: SiteContext, failures: list[str]) -> SharedFields:
    reading = _Reading(root, None, context)
    levels = {level: reading.level(mapping, level, failures) for level in _SHARED_LEVELS}
    issues, sources = list(reading.issues), dict(reading.sources)
    administrations = []
    items = _items(root, mapping, issues)
    for index, item in enumerate(items):
        label = REPEATED if len(items) == 1 else f"{REPEATED}[{index}]"
        inner = _Reading(root, item, context, label=label, known=dict(reading.known))
        administrations.append(inner.level(mapping, REPEATED, failures))
        issues += inner.issues
        sources |= inner.sources
    return _sealed(mapping, levels, [one for one in administrations if one], issues, sources)


def _items(root: Root, mapping: Mapping, issues: list[Issue]) -> tuple[Item, ...]:
    if mapping.repeated is None:
        return ()
    try:
        found = _find(root, mapping.repeated)
    except Invalid as error:
        issues.append(Issue(field=REPEATED, reason=str(error)))
        return ()
    return found.items if found else ()


def _find(place: Root | Item, path: Path | SrPath) -> Element | None:
    return place.find(path) if isinstance(path, Path) else sr.find(place, path)


def _sealed(
    mapping: Mapping,
    levels: dict[str, JsonObject],
    administrations: list[JsonObject],
    issues: list[Issue],
    sources: dict[str, str],
) -> SharedFields:
    content = {
        "mapping": mapping.name,
        "mapping_version": mapping.version,
        **levels,
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
    )


def _number(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is not JSON")


@dataclass
class _Reading:
    """One pass over the fields of some levels: what was read, and what was noticed."""

    root: Root
    item: Item | None
    context: SiteContext
    label: str = ""  #: how issues call the repeated level
    known: dict[str, Json] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def level(self, mapping: Mapping, level: str, failures: list[str]) -> JsonObject:
        """Read all fields of a level into one JSON tree."""
        tree: JsonObject = {}
        for rule in mapping.by_level[level]:
            self._field(rule, tree, failures)
        return tree

    def _field(self, rule: FieldRule, tree: JsonObject, failures: list[str]) -> None:
        name = rule.name if not self.label else self.label + rule.name[len(REPEATED) :]
        outcome = self._convert(rule)
        self.issues += [Issue(field=name, reason=note.reason, severity=note.severity) for note in outcome.notes]
        if outcome.value is None:
            self._missing(rule, name, outcome, failures)
            return
        self.known[rule.name] = outcome.value
        self.sources[name] = outcome.source
        _put(tree, rule.keys, outcome.value)
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

    def _field_value(self, sources: tuple[Source, ...]) -> Json:
        names = (source.name for source in sources if isinstance(source, FieldRef))
        return next((self.known[name] for name in names if name in self.known), None)

    def _zone(self) -> dt.tzinfo:
        offset = self.root.find(_OFFSET)
        if offset is None:
            return self.context.timezone
        try:
            return values.utc_offset(offset.text)
        except Invalid as error:
            raise Invalid("cannot be placed in time: TimezoneOffsetFromUTC is not an offset") from error


class _Alternatives(Iterator[Element]):
    """The present alternatives of a part, in order. A broken one raises :class:`Invalid` and the next can still be asked for."""

    def __init__(self, reading: _Reading, sources: tuple[Source, ...]) -> None:
        self._reading = reading
        self._sources = iter(sources)

    def __next__(self) -> Element:
        for source in self._sources:
            found = self._read(source)
            if found is not None:
                return found
        raise StopIteration

    def _read(self, source: Source) -> Element | None:
        if isinstance(source, RootPath):
            return _find(self._reading.root, source.path)
        if isinstance(source, ItemPath) and self._reading.item is not None:
            return _find(self._reading.item, source.path)
        return None


def _put(tree: JsonObject, keys: tuple[str, ...], value: Json) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value
