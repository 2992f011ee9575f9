"""From a filter of a :class:`~gateway.store.query.Query` to a condition on ``res`` in SQL.

Every condition has the form ``rid IN (SELECT rid FROM <index table> ...)``: both databases then start at the index table,
where the rows of a parameter lie side by side. ``EXISTS`` made SQLite walk all resources instead; so it is used only where another
condition names few resources, and then for the tables that find the rows of one resource at once: dates, quantities, and codes with system.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.store import dates, values
from gateway.store import names as names_of
from gateway.store.composite import second_type
from gateway.store.dates import Interval
from gateway.store.index import BY_COLUMN, ParamIds
from gateway.store.narrowing import Window, date_windows, paired
from gateway.store.query import CareDate, Chain, Compartment, Condition, Filter, Has, split_bars, split_dollars, unescaped
from gateway.store.tables import CMP, DAT, INDEX_TABLES, QTY, REF, RES, STR, TOK, URI

#: Sorts behind every text that can stand in an index.
_LAST_CHARACTER = "\U0010ffff"
_PREFIXES = frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"})
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)

Sql = ColumnElement[bool]
Text = ColumnElement[str]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the conditions need to know beside the filter."""

    param_ids: ParamIds
    zone: ZoneInfo
    now: dt.datetime  #: only ``ap`` dates look at it
    base: str  #: the address clients see, to tell our own absolute references from foreign ones
    within: Callable[[Iterable[str]], ColumnElement[bool]] | None = None  #: bounds for rows of these types; ``None``: no bounds
    #: Tables that are asked about the few resources that something else finds, not for all that fit.
    probed: frozenset[str] = frozenset()


def conditions(filters: Sequence[Filter], scope: Scope) -> list[Sql]:
    """Of filters that hold together: what one of them finds by a value spares the others to look at everything that fits them."""
    filters = paired(filters)
    windows = date_windows(filters)
    scope = replace(scope, probed=_probed(filters, windows))
    inside = {found for window in windows for found in window}
    return [_window(window, scope) for window in windows] + [condition(found, scope) for found in filters if found not in inside]


def _probed(filters: Sequence[Filter], windows: Sequence[Window]) -> frozenset[str]:
    """The tables to be asked about single resources. A reference names fewer than a span of time does, and that fewer than a code."""
    told = [found for found in filters if isinstance(found, Condition) and found.modifier not in ("not", "missing")]
    if any(isinstance(found, Chain | Compartment) for found in filters) or any(
        found.kind == "reference" or found.code in ("_id", "identifier") for found in told
    ):
        return frozenset({TOK.name, DAT.name, QTY.name})
    if windows:
        return frozenset({TOK.name, QTY.name})
    return frozenset({DAT.name, QTY.name}) if any(found.kind in ("token", "composite") for found in told) else frozenset()


def _window(window: Window, scope: Scope) -> Sql:
    """All conditions on one date at once: a resource has one of it, so they are about the same row."""
    asked = [_read_date(found, found.values[0], scope) for found in window]
    return _rows(DAT, window[0], scope, *(_interval_matches(prefix, span, DAT.c.low, DAT.c.high) for prefix, span in asked))


def condition(found: Filter, scope: Scope) -> Sql:
    """The SQL condition for one filter. Raises :class:`Rejected` (400) for a value that has not the form of its type."""
    if isinstance(found, Chain):
        return _chain(found, scope)
    if isinstance(found, Has):
        return _has(found, scope)
    if isinstance(found, Compartment):
        return _compartment(found, scope)
    if isinstance(found, CareDate):
        return _care_date(found, scope)
    if found.code in BY_COLUMN and found.modifier == "missing":  # the store itself sees to it that they are there
        return sa.false() if found.values[0] == "true" else sa.true()
    if found.code == "_id":
        return _negated(RES.c.id.in_([unescaped(value) for value in found.values]), found)
    if found.code == "_lastUpdated":
        return _updated(found, scope)
    if found.modifier == "missing":
        return _missing(found, scope)
    if found.kind in _LISTS:
        return _negated(_LISTS[found.kind](found, scope), found)
    single = _READERS[found.kind]
    return sa.or_(sa.false(), *(single(found, value, scope) for value in found.values))


def _negated(sql: Sql, found: Condition) -> Sql:
    return sa.not_(sql) if found.modifier == "not" else sql


def _rows(table: sa.Table, found: Condition, scope: Scope, *conditions: Sql, suffix: str = "", by_resource: bool = True) -> Sql:
    """``rid IN`` the rows of the parameter for which the conditions hold. ``by_resource``: the rows of one resource are found at once."""
    param = scope.param_ids[found.type, found.code + suffix]
    if by_resource and table.name in scope.probed:
        # "+ 0": else SQLite would rather walk all that fit, in the index of the values
        same = table.c.param == param if table is TOK else table.c.param + 0 == param
        own = sa.select(sa.literal(1)).where(table.c.rid == RES.c.rid, same, *conditions)
        return sa.exists(own.correlate(RES))
    return RES.c.rid.in_(sa.select(table.c.rid).where(table.c.param == param, *conditions))


def _missing(found: Condition, scope: Scope) -> Sql:
    present = _rows(INDEX_TABLES[found.kind], found, scope, by_resource=False)
    if found.kind == "reference":
        present = sa.or_(present, _rows(TOK, found, scope, suffix=":identifier", by_resource=False))
    return sa.not_(present) if found.values[0] == "true" else present


def _token(found: Condition, scope: Scope) -> Sql:
    if found.modifier == "text":
        return sa.or_(sa.false(), *(_starts_with(found, value, scope, suffix=":text") for value in found.values))
    names = [names_of.token(found, value) for value in found.values]
    is_ordered = len(names) == 1 and all(names[0]) and found.code != "identifier"  # by code, system, resource: both must be known
    return _rows(TOK, found, scope, names_of.any_of(names, TOK.c.code, TOK.c.system), by_resource=is_ordered)


def _reference(found: Condition, scope: Scope) -> Sql:
    if found.modifier == "identifier":
        names = [names_of.token(found, value) for value in found.values]
        return _rows(TOK, found, scope, names_of.any_of(names, TOK.c.code, TOK.c.system), suffix=":identifier", by_resource=False)
    targets = [name for value in found.values if (name := names_of.reference(found, value, scope.base)) is not None]
    return _rows(REF, found, scope, names_of.any_of(targets, REF.c.target, REF.c.kind))


def _string(found: Condition, value: str, scope: Scope) -> Sql:
    text = unescaped(value)
    if found.modifier == "exact":
        exactly = (STR.c.folded == values.folded(text), STR.c.value == values.key(text))
        return _rows(STR, found, scope, *exactly)
    if found.modifier == "contains":
        return _rows(STR, found, scope, STR.c.folded.contains(values.folded(text), autoescape=True))
    return _starts_with(found, value, scope, suffix="")


def _starts_with(found: Condition, value: str, scope: Scope, *, suffix: str) -> Sql:
    return _rows(STR, found, scope, *_start_matches(value, STR.c.folded), suffix=suffix)


def _start_matches(value: str, column: Text) -> list[Sql]:
    start = values.folded(unescaped(value))
    return [column >= start, column < start + _LAST_CHARACTER]


def _uri(found: Condition, value: str, scope: Scope) -> Sql:
    text = values.key(unescaped(value))
    if found.modifier == "below":
        return _rows(URI, found, scope, URI.c.value >= text, URI.c.value < text + _LAST_CHARACTER)
    if found.modifier == "above":
        above = [text[:end] for end in range(1, len(text) + 1) if end == len(text) or text[end] == "/"]
        return _rows(URI, found, scope, URI.c.value.in_(above))
    return _rows(URI, found, scope, URI.c.value == text)


def _date(found: Condition, value: str, scope: Scope) -> Sql:
    prefix, asked = _read_date(found, value, scope)
    return _rows(DAT, found, scope, _interval_matches(prefix, asked, DAT.c.low, DAT.c.high))


def _updated(found: Condition, scope: Scope) -> Sql:
    readings = [_read_date(found, value, scope) for value in found.values]
    # stored to the millisecond, so a moment fills its millisecond
    return sa.or_(
        sa.false(), *(_interval_matches(prefix, asked, RES.c.updated, RES.c.updated + 1000) for prefix, asked in readings)
    )


def _read_date(found: Condition, value: str, scope: Scope) -> tuple[str, Interval]:
    prefix, rest = _split_prefix(value)
    try:
        asked = dates.parse(rest, scope.zone)
    except ValueError as error:
        raise _bad(found, "must be a date such as 2026-01-31 or 2026-01-31T10:00:00Z, with a prefix such as ge") from error
    if prefix == "ap":
        # R4 search.html#prefix: "10% of the gap between now and the date"
        slack = abs(dates.from_datetime(scope.now) - asked.low) // 10
        asked = Interval(max(asked.low - slack, dates.EARLIEST), min(asked.high + slack, dates.LATEST))
    return prefix, asked


def _split_prefix(value: str) -> tuple[str, str]:
    """Comparison and operand; without a prefix the comparison is ``eq``."""
    return (value[:2], value[2:]) if value[:2] in _PREFIXES else ("eq", value)


def _interval_matches(prefix: str, asked: Interval, low: ColumnElement[int], high: ColumnElement[int]) -> Sql:
    """R4 search.html#prefix, for a value that is itself an interval. The first term of ge and le is what an index can use."""
    within = sa.and_(low >= asked.low, high <= asked.high)
    comparisons: Mapping[str, Callable[[], Sql]] = {
        "eq": lambda: sa.and_(within, low < asked.high),
        "ne": lambda: sa.not_(within),
        "gt": lambda: high > asked.high,
        "lt": lambda: low < asked.low,
        "ge": lambda: sa.and_(high > asked.low, sa.or_(high > asked.high, low >= asked.low)),
        "le": lambda: sa.and_(low < asked.high, sa.or_(low < asked.low, high <= asked.high)),
        "sa": lambda: low >= asked.high,
        "eb": lambda: high <= asked.low,
        "ap": lambda: sa.and_(low < asked.high, high > asked.low),
    }
    return comparisons[prefix]()


def _quantity(found: Condition, value: str, scope: Scope) -> Sql:
    return _rows(QTY, found, scope, *_quantity_matches(found, value, QTY.c.system, QTY.c.code, QTY.c))


def _quantity_matches(found: Condition, value: str, system_column: Text, code_column: Text, columns: Any) -> list[Sql]:
    """``[prefix]number``, ``number|system|code`` or ``number||unit`` (code or unit as written)."""
    parts = split_bars(value)
    prefix, number = _split_prefix(parts[0])
    if len(parts) > (1 if found.kind == "number" else 3) or not _NUMBER.fullmatch(number):
        raise _bad(found, "must be a number, number|system|code or number||unit, with a prefix such as gt")
    matches = [_number_matches(prefix, Decimal(number), columns.low, columns.high)]
    system, unit = (*parts[1:], "", "")[:2]
    if system:
        matches.append(system_column == values.key(system))
    if unit and system:
        matches.append(code_column == values.key(unit))
    elif unit:
        matches.append(sa.or_(code_column == values.key(unit), columns.unit == values.key(unit)))
    return matches


def _number_matches(prefix: str, number: Decimal, low: ColumnElement[float], high: ColumnElement[float]) -> Sql:
    exactly = float(number)
    comparisons: Mapping[str, Callable[[], Sql]] = {
        "gt": lambda: high > exactly,
        "lt": lambda: low < exactly,
        "ge": lambda: high >= exactly,
        "le": lambda: low <= exactly,
        "sa": lambda: low > exactly,
        "eb": lambda: high < exactly,
        "ap": lambda: sa.and_(low <= exactly + abs(exactly) / 10, high >= exactly - abs(exactly) / 10),
    }
    if prefix in comparisons:
        return comparisons[prefix]()
    # R4 search.html#number: "100" means the range from 99.5 to 100.5 that it is the rounding of
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    within = sa.and_(low >= float(number - half), high < float(number + half))
    return sa.not_(within) if prefix == "ne" else within


def _composite(found: Condition, value: str, scope: Scope) -> Sql:
    """``first$second``, both found in one place of the resource."""
    parts = split_dollars(value)
    if len(parts) != 2:
        raise _bad(found, "must be two values joined by $")
    first, second = parts
    kind = second_type(found.type, definitions.search_parameters()[found.type][found.code])
    first_matches = names_of.any_of([names_of.token(found, first)], CMP.c.code, CMP.c.system)
    return _rows(CMP, found, scope, first_matches, *_second(kind, found, second, scope))


def _second(kind: str, found: Condition, value: str, scope: Scope) -> list[Sql]:
    if kind == "token":
        return [names_of.any_of([names_of.token(found, value)], CMP.c.value, CMP.c.value_system)]
    if kind == "quantity":
        return _quantity_matches(found, value, CMP.c.value_system, CMP.c.value, CMP.c)
    if kind == "reference":
        target = names_of.reference(found, value, scope.base)
        return [names_of.any_of([target] if target else [], CMP.c.value, CMP.c.value_system)]
    if kind == "date":
        prefix, asked = _read_date(found, value, scope)
        return [_interval_matches(prefix, asked, CMP.c.low, CMP.c.high)]
    return _start_matches(value, CMP.c.value)


def _compartment(found: Compartment, scope: Scope) -> Sql:
    """The patient itself, and what refers to him by one of the parameters of his compartment."""
    params = [scope.param_ids[pair] for pair in found.parameters]
    rows = sa.select(REF.c.rid).where(REF.c.param.in_(params), REF.c.target == found.id, REF.c.kind == "Patient")
    return sa.or_(RES.c.rid.in_(rows), sa.and_(RES.c.type == "Patient", RES.c.id == found.id))


def _care_date(found: CareDate, scope: Scope) -> Sql:
    prefix, asked = _read_date(Condition("", "start and end", "date", "", ()), found.value, scope)
    params = [scope.param_ids[pair] for pair in found.parameters]
    matches = _interval_matches(prefix, asked, DAT.c.low, DAT.c.high)
    rows = sa.select(DAT.c.rid).where(DAT.c.param.in_(params), matches)
    return sa.or_(RES.c.rid.in_(rows), RES.c.type.not_in([kind for kind, _ in found.parameters]))


def _chain(found: Chain, scope: Scope) -> Sql:
    param = scope.param_ids[found.type, found.code]
    options = []
    for target, inner in found.targets:
        ids = _inner_resources(target, inner, scope, RES.c.id)
        options.append(
            RES.c.rid.in_(sa.select(REF.c.rid).where(REF.c.param == param, REF.c.kind == target, REF.c.target.in_(ids)))
        )
    return sa.or_(*options)


def _has(found: Has, scope: Scope) -> Sql:
    rids = _inner_resources(found.source, found.inner, scope, RES.c.rid)
    param = scope.param_ids[found.source, found.code]
    return RES.c.id.in_(sa.select(REF.c.target).where(REF.c.param == param, REF.c.kind == found.type, REF.c.rid.in_(rids)))


def _inner_resources(kind: str, inner: Filter, scope: Scope, column: ColumnElement[Any]) -> sa.Select[Any]:
    """A selection of resources of its own: correlated with nothing outside."""
    alone = replace(scope, probed=frozenset())
    found = sa.select(column).where(RES.c.type == kind, sa.not_(RES.c.deleted), condition(inner, alone))
    return (found.where(scope.within([kind])) if scope.within else found).correlate(None)


def _bad(found: Condition, reason: str) -> Rejected:
    return Rejected(f"the value of '{found.code}' {reason}", status=400)


#: Of these all values are one condition.
_LISTS: Mapping[str, Callable[[Condition, Scope], Sql]] = {"token": _token, "reference": _reference}
_READERS: Mapping[str, Callable[[Condition, str, Scope], Sql]] = {
    "string": _string,
    "date": _date,
    "quantity": _quantity,
    "number": _quantity,
    "composite": _composite,
    "uri": _uri,
}
