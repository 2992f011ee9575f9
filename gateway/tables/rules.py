"""A table adapter after compilation: frozen, complete, cheap to use. What each part may say in YAML stands in ``definition.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.mapping.patterns import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRule:
    """Where the names of the columns stand: in a row that is counted, or in the first one that holds these names."""

    row: int | None = 1
    contains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRule:
    """A part of a text report: begins after a line, ends before another (or at an empty line)."""

    name: str
    starts: str
    ends: str = ""
    columns: tuple[str, ...] = ()  #: where the first line is no header
    delimiter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRule:
    """How bytes become cells."""

    format: str
    encodings: tuple[str, ...] = ("utf-8",)
    delimiter: str = ","
    sheet: str = "*"
    header: HeaderRule = HeaderRule()
    sections: tuple[SectionRule, ...] = ()
    path: tuple[str, ...] = ()
    formulas: str = "refuse"  #: or ``cached``
    decimal: str | None = None
    thousands: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """Which files an adapter is for. What is not said fits everything; all that is said must fit."""

    filenames: tuple[Pattern, ...] = ()
    columns: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """How much it asks: the more exact of two adapters is taken."""
        return len(self.columns) + len(self.contains) + bool(self.filenames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Which rows a rule is for."""

    column: str
    words: frozenset[str] | None = None  #: folded; one of these
    without: frozenset[str] | None = None  #: folded; none of these
    pattern: Pattern | None = None
    exists: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRule:
    """One member of a result, of the administration or of the document: where it stands and what it is."""

    name: str
    type: str  #: ``text, code, integer, decimal, Quantity, CodeableConcept, dateTime, list``
    columns: tuple[str, ...] = ()  #: alternatives in order
    section: str = ""  #: of a report, where it is not the one of the rows
    constant: Any = None
    from_filename: bool = False
    line: Pattern | None = None  #: of a report: its first line that fits
    cut: Any = None  #: compiled RE2 with one group: what of the text counts
    words: tuple[tuple[str, Any], ...] = ()  #: ``map``, folded
    table: str | None = None  #: code table
    unit: str | None = None
    unit_column: str | None = None
    out: str | None = None  #: canonical unit; None: that of the kind
    formats: tuple[str, ...] = ()  #: of dates
    limits: tuple[Decimal, Decimal] | None = None  #: in the unit of the table
    is_list: bool = False  #: the cell holds ``[a, b, c]``
    must: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsRule:
    """The points of a curve: one from each row of the group, or all from the lists of one row."""

    members: tuple[ValueRule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRule:
    """One kind of fact that each group of rows may tell."""

    name: str
    kind: str
    section: str = ""
    when: tuple[Condition, ...] = ()
    members: tuple[ValueRule, ...] = ()
    points: PointsRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRule:
    """A named check with its operands: names of results, or ``administration.activity``."""

    name: str
    operands: tuple[tuple[str, str], ...]
    within: Decimal
    failing: str  #: ``withhold`` or ``flag``


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """Whose approval makes a fact final: these names, with a date."""

    approvers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterTest:
    """One test inside an adapter file."""

    name: str
    given: Any
    filename: str
    expect: dict[str, Any]
    where: str


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Everything that one file of ``mappings/tables`` says."""

    name: str
    title: str
    version: str
    unverified: bool
    match: MatchRule
    read: ReadRule
    skip: tuple[Condition, ...] = ()
    group_by: tuple[str, ...] = ()  #: nothing: every row tells of its own
    is_one_group: bool = False  #: the whole table is one group
    patient: tuple[ValueRule, ...] = ()
    device: tuple[ValueRule, ...] = ()
    document: tuple[ValueRule, ...] = ()
    administration: tuple[ValueRule, ...] = ()
    creates_administration: bool = False
    needs_administration: bool = True
    results: tuple[ResultRule, ...] = ()
    checks: tuple[CheckRule, ...] = ()
    status: StatusRule = StatusRule()
    tests: tuple[AdapterTest, ...] = field(default=(), compare=False)
