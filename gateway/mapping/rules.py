"""A mapping, compiled: frozen rules that ``normalise`` runs and ``render`` fills in. Nothing here reads YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from pydicom.dataset import Dataset

from gateway.dicom.headers import DatasetHeader, HeaderLike
from gateway.dicom.paths import Path
from gateway.dicom.sr import CONTENT, SrPath
from gateway.errors import Quarantined
from gateway.mapping.codes import Codes
from gateway.mapping.conditions import Condition, deciding, sources_of
from gateway.mapping.conversion import Converter, Options
from gateway.mapping.dicom_rules import NO_RULES, DicomRules
from gateway.mapping.matching import Chooser, MatchRule
from gateway.mapping.sources import (
    REPEATED,
    ArrivalFact,
    FieldRef,
    FramePath,
    Guarded,
    ItemPath,
    MetaPath,
    Plain,
    RootPath,
    Source,
    top_paths,
)
from gateway.mapping.template import ResourceTemplate
from gateway.model import JsonObject

__all__ = [
    "LEVELS",
    "REPEATED",
    "ArrivalFact",
    "FieldRef",
    "FieldRule",
    "FramePath",
    "Guarded",
    "ItemPath",
    "Mapping",
    "MappingTest",
    "Mappings",
    "MetaPath",
    "Need",
    "Plain",
    "ResultRule",
    "RootPath",
    "Source",
]

LEVELS = ("patient", "study", "series", "device", "document", "instance", "administration")


class Need(StrEnum):
    """What happens when a field is absent."""

    MUST = "must"  #: the object is quarantined
    SHOULD = "should"  #: an issue
    MAY = "may"  #: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """One field: where it comes from, how it is converted, how much it is needed."""

    name: str  #: e.g. ``series.pet.units``
    converter: Converter
    sources: dict[str, tuple[Source, ...]]  #: part -> alternatives, in order
    options: Options
    need: Need
    range: tuple[Decimal, Decimal] | None = None  #: of the published number; what lies outside is withheld
    when: Condition | None = None  #: the field is there only when this holds
    items: tuple[FieldRule, ...] = ()  #: of a field with its own ``for_each``: what is read of each item, named ``x``
    where: str = field(default="", compare=False)  #: file:line:column of the rule in force

    @property
    def level(self) -> str:
        return self.name.partition(".")[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """Where the value stands inside its level."""
        return tuple(self.name.split(".")[1:])

    def looked_at(self) -> Iterator[Plain]:
        """Every source that may decide the value: those of its parts, of its conditions, and of its items."""
        for alternatives in self.sources.values():
            for source in alternatives:
                yield from deciding(source)
        if self.when is not None:
            yield from sources_of(self.when)
        for rule in self.items:
            yield from rule.looked_at()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRule:
    """One entry of ``results``: facts of dosimetry that are read from an object, once or once per item."""

    name: str
    kind: str | None  #: one of ``nuclear.results.KINDS``; ``None``: a field ``kind`` says it
    fields: tuple[FieldRule, ...]  #: named ``item.<member>``, each after those that it refers to
    fixed: JsonObject = field(default_factory=dict)  #: ``set``: members that the mapping knows
    of_administration: bool = False  #: read once per administration, and bound to it
    sources: tuple[Source, ...] = ()  #: ``for_each``: whose items; none: once
    when: Condition | None = None
    where: str = field(default="", compare=False)

    def looked_at(self) -> Iterator[Plain]:
        """Every source that may decide what is read."""
        for source in self.sources:
            yield from deciding(source)
        if self.when is not None:
            yield from sources_of(self.when)
        for rule in self.fields:
            yield from rule.looked_at()


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One entry of ``ignore``: content items of reports, with all below them, that are left unread on purpose."""

    name: str
    path: SrPath
    reason: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingTest:
    """One inline test: what differs from the example, and what must come out."""

    name: str
    given: JsonObject
    expect: JsonObject
    where: str  #: file:line:column
    record: JsonObject = field(
        default_factory=dict
    )  #: instead of an object: what was read of it, for templates that others share


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """The rules for one kind of object, inheritance resolved."""

    name: str
    version: str  #: hash of what decides the result: fields, resources, code tables; comments do not change it
    lineage: tuple[str, ...]  #: the base first, itself last
    conditions: tuple[MatchRule, ...]  #: all must fit
    fields: tuple[FieldRule, ...]  #: each after those it refers to
    own_fields: tuple[str, ...]  #: names of those that are not inherited
    repeated: Path | SrPath | None  #: the sequence, or the container of a report, whose items are administrations
    resources: dict[str, ResourceTemplate]
    codes: Codes
    results: tuple[ResultRule, ...] = ()
    ignored: tuple[IgnoreRule, ...] = ()  #: for ``coverage``; no part of ``version``
    dicom: DicomRules = NO_RULES  #: what is changed in objects for targets that ask for it; no part of ``version``
    example: JsonObject = field(default_factory=dict)
    tests: tuple[MappingTest, ...] = ()
    abstract: bool = False  #: ``match: nothing``: only there to be extended
    priority: int = 0
    depth: int = 1  #: itself and the bases of its longest line
    shadow: bool = False  #: ``shadow: true``: what it reads is shown, not published
    file: str = ""  #: as complaints call it, e.g. ``sites/our_pet.yaml``
    #: Stands for these very rules and tables where results are remembered: equal only to itself, and it keeps nothing alive.
    token: object = field(default_factory=object, init=False, repr=False)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Of several mappings that fit, the one with the smallest rank is chosen."""
        return -self.priority, -self.depth, -len(self.conditions)

    @cached_property
    def by_level(self) -> dict[str, tuple[FieldRule, ...]]:
        """The fields of each level, in order."""
        return {level: tuple(rule for rule in self.fields if rule.level == level) for level in LEVELS}

    @cached_property
    def shared_fields(self) -> tuple[FieldRule, ...]:
        """The fields that are read once per series, in order: all but those of instances and administrations."""
        return tuple(rule for rule in self.fields if rule.level not in ("instance", REPEATED))

    @cached_property
    def shared_sources(self) -> tuple[Plain, ...]:
        """Whatever decides a field other than ``instance.*``."""
        rules: list[FieldRule | ResultRule] = [rule for rule in self.fields if rule.level != "instance"]
        rules += self.results
        return tuple(dict.fromkeys(source for rule in rules for source in rule.looked_at()))

    @cached_property
    def shared_paths(self) -> tuple[Path, ...]:
        """Every path from the top that decides the shared fields.

        One path for each top-level element is enough: its bytes decide all that stands inside.
        """
        paths = [path for source in self.shared_sources for path in top_paths(source)]
        if self.repeated:
            paths.append(self.repeated if isinstance(self.repeated, Path) else CONTENT)
        tops = {(path.steps[0].tag, path.steps[0].creator): path for path in paths}
        return tuple(tops.values())

    @cached_property
    def shared_meta(self) -> tuple[int, ...]:
        """Tags of the file header that decide the shared fields."""
        return tuple(source.path.steps[0].tag for source in self.shared_sources if isinstance(source, MetaPath))

    @cached_property
    def shared_arrival(self) -> tuple[str, ...]:
        """Words of the arrival that decide the shared fields."""
        return tuple(source.name for source in self.shared_sources if isinstance(source, ArrivalFact))


class Mappings:
    """All mappings of an installation, the most preferred first: by priority, then depth, then number of conditions."""

    def __init__(self, mappings: tuple[Mapping, ...], codes: Codes) -> None:
        self._mappings = tuple(sorted(mappings, key=lambda m: (m.rank, m.name)))
        self.codes = codes
        self._by_name = {mapping.name: mapping for mapping in mappings}
        self._choosable = tuple(mapping for mapping in self._mappings if not mapping.abstract)
        self._chooser = Chooser([mapping.conditions for mapping in self._choosable])

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def __len__(self) -> int:
        return len(self._mappings)

    def named(self, name: str) -> Mapping:
        """By file name without ``.yaml``. Raises :class:`KeyError`."""
        return self._by_name[name]

    def for_header(self, header: HeaderLike) -> Mapping:
        """The most preferred mapping whose conditions all fit. Raises :class:`Quarantined` when none does."""
        chosen = self._chooser.choose(header)
        if chosen is None:
            raise Quarantined("No mapping fits this kind of object.")
        return self._choosable[chosen]

    def for_dataset(self, dataset: Dataset) -> Mapping:
        """The same for a pydicom data set."""
        return self.for_header(DatasetHeader(dataset))
