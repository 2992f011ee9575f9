"""A mapping, compiled: frozen rules that ``normalise`` runs and ``render`` fills in. Nothing here reads YAML."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from pydicom.dataset import Dataset

from gateway.dicom import sr
from gateway.dicom.paths import DatasetHeader, HeaderLike, Path
from gateway.dicom.sr import SrPath
from gateway.errors import Quarantined
from gateway.mapping.codes import Codes
from gateway.mapping.conversion import Converter, Options
from gateway.mapping.template import ResourceTemplate
from gateway.model import JsonObject

LEVELS = ("patient", "study", "series", "device", "instance", "administration")
#: The level that ``for_each`` repeats, once per item of a sequence.
REPEATED = "administration"


class Need(StrEnum):
    """What happens when a field is absent."""

    MUST = "must"  #: the object is quarantined
    SHOULD = "should"  #: an issue
    MAY = "may"  #: nothing


@dataclass(frozen=True, slots=True)
class RootPath:
    """A path from the top of the object."""

    path: Path | SrPath


@dataclass(frozen=True, slots=True)
class ItemPath:
    """A path from the current item of ``for_each``."""

    path: Path | SrPath


@dataclass(frozen=True, slots=True)
class FieldRef:
    """The value of another field."""

    name: str


Source = RootPath | ItemPath | FieldRef


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """One field: where it comes from, how it is converted, how much it is needed."""

    name: str  #: e.g. ``series.pet.units``
    converter: Converter
    sources: dict[str, tuple[Source, ...]]  #: part -> alternatives, in order
    options: Options
    need: Need

    @property
    def level(self) -> str:
        return self.name.partition(".")[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """Where the value stands inside its level."""
        return tuple(self.name.split(".")[1:])


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of ``match``: a top-level element, and the patterns of which one must fit one of its values."""

    tag: int
    patterns: tuple[re.Pattern[str], ...]

    def fits(self, raw: bytes) -> bool:
        values = [value.strip() for value in raw.decode("latin-1").strip(" \0").split("\\")]
        return any(pattern.fullmatch(value) for value in values for pattern in self.patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingTest:
    """One inline test: what differs from the example, and what must come out."""

    name: str
    given: JsonObject
    expect: JsonObject
    where: str  #: file:line:column


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """The rules for one kind of object, inheritance resolved."""

    name: str
    version: str  #: hash of what decides the result: fields, resources, code tables; comments do not change it
    lineage: tuple[str, ...]  #: the base first, itself last
    conditions: tuple[Condition, ...]
    fields: tuple[FieldRule, ...]  #: each after those it refers to
    own_fields: tuple[str, ...]  #: names of those that are not inherited
    repeated: Path | SrPath | None  #: the sequence, or the container of a report, whose items are administrations
    resources: dict[str, ResourceTemplate]
    codes: Codes
    example: JsonObject = field(default_factory=dict)
    tests: tuple[MappingTest, ...] = ()
    shadow: bool = False  #: what it reads is shown, and published only when a person has approved it
    abstract: bool = False  #: ``match: nothing``: only there to be extended

    @cached_property
    def by_level(self) -> dict[str, tuple[FieldRule, ...]]:
        """The fields of each level, in order."""
        return {level: tuple(rule for rule in self.fields if rule.level == level) for level in LEVELS}

    @cached_property
    def shared_paths(self) -> tuple[Path, ...]:
        """Every path from the top that a field other than ``instance.*`` reads: what decides the shared fields.

        One path for each top-level element is enough: its bytes decide all that stands inside.
        """
        paths = [
            source.path
            for rule in self.fields
            if rule.level != "instance"
            for alternatives in rule.sources.values()
            for source in alternatives
            if isinstance(source, RootPath)
        ]
        if self.repeated:
            paths.append(self.repeated)
        plain = [path if isinstance(path, Path) else sr.CONTENT for path in paths]
        tops = {(path.steps[0].tag, path.steps[0].creator): path for path in plain}
        return tuple(tops.values())


class Mappings:
    """All mappings of an installation, most specific first."""

    def __init__(self, mappings: tuple[Mapping, ...], codes: Codes) -> None:
        self._mappings = tuple(sorted(mappings, key=lambda m: (-len(m.lineage), -len(m.conditions), m.name)))
        self.codes = codes
        self._by_name = {mapping.name: mapping for mapping in mappings}
        self._tags = tuple(sorted({condition.tag for mapping in mappings for condition in mapping.conditions}))
        self._chosen: OrderedDict[tuple[bytes, ...], Mapping] = OrderedDict()

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def __len__(self) -> int:
        return len(self._mappings)

    def named(self, name: str) -> Mapping:
        """By file name without ``.yaml``. Raises :class:`KeyError`."""
        return self._by_name[name]

    def for_header(self, header: HeaderLike) -> Mapping:
        """The most specific mapping whose conditions all fit. Raises :class:`Quarantined` when none does."""
        key = tuple(header.raw(tag) for tag in self._tags)
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._choose(dict(zip(self._tags, key, strict=True)))
            self._chosen[key] = chosen
            if len(self._chosen) > 1024:
                self._chosen.popitem(last=False)
        return chosen

    def for_dataset(self, dataset: Dataset) -> Mapping:
        """The same for a pydicom data set."""
        return self.for_header(DatasetHeader(dataset))

    def _choose(self, raw: dict[int, bytes]) -> Mapping:
        for mapping in self._mappings:
            if not mapping.abstract and all(condition.fits(raw[condition.tag]) for condition in mapping.conditions):
                return mapping
        raise Quarantined("No mapping fits this kind of object.")
