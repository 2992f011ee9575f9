"""From a filter of a :class:`~gateway.store.query.Query` to SQL: a condition on a resource, or the rows of the index that name it.

A condition has the form ``rid IN (SELECT rid FROM <index table> ...)``: both databases then start at the index table, where the rows of a
parameter lie side by side. ``EXISTS`` made SQLite walk all resources instead; so it is used only where another condition names few
resources (:mod:`gateway.store.asked`), and then for the tables that find the rows of one resource at once: dates, quantities, and codes
with their system.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway.r4 import definitions
from gateway.store import names as names_of
from gateway.store import values
from gateway.store.comparisons import bad, contains, folded, interval_matches, quantity_matches, read_date, starts_with, touched
from gateway.store.composite import second_type
from gateway.store.index import BY_COLUMN, ParamIds
from gateway.store.names import Name, are_named
from gateway.store.narrowing import has_one
from gateway.store.query import CareDate, Chain, Compartment, Condition, Filter, Has, split_dollars, unescaped
from gateway.store.rows import (
    CMP,
    CODE,
    DAT,
    FOLDED,
    HIGH,
    KIND,
    LOW,
    PARAM,
    QTY,
    REF,
    STR,
    SYSTEM,
    TABLES,
    TARGET,
    TOK,
    UNIT,
    URI,
    VALUE,
    VALUE_SYSTEM,
    Rows,
)
from gateway.store.sql import FALSE, TRUE, Sql, all_of, any_of, is_one_of, negated, sql

OF_RES = Sql("res.rid")
_OF_QUANTITY = (SYSTEM, CODE, UNIT, LOW, HIGH)
_OF_SECOND = (VALUE_SYSTEM, VALUE, UNIT, LOW, HIGH)


@dataclass(frozen=True, slots=True)
class Scope:
    """What the conditions need to know beside the filter."""

    param_ids: ParamIds
    zone: ZoneInfo
    now: dt.datetime  #: only ``ap`` dates look at it
    base: str  #: the address clients see, to tell our own absolute references from foreign ones
    within: Callable[[Iterable[str]], Sql] | None = None  #: bounds for rows of these types; ``None``: no bounds
    #: Tables that are asked about the few resources that something else finds, not for all that fit.
    probed: frozenset[Sql] = frozenset()
    resource: Sql = OF_RES  #: the row number of the resource that is asked about

    def params(self, pairs: Iterable[tuple[str, str]]) -> Sql:
        """That a row is of one of these parameters."""
        return is_one_of(PARAM, [self.param_ids[pair] for pair in pairs])


def rows_of(part: Sequence[Filter], scope: Scope) -> list[Rows]:
    """Any of them. All conditions of a window are asked at once: a resource has one such date, so they are about the same row."""
    found = part[0]
    if isinstance(found, Chain):
        return _chained(found, scope)
    told = [one for one in part if isinstance(one, Condition)]
    if len(told) > 1:
        return [_dates(told[0], [one.values[0] for one in told], scope)]
    return _indexed(told[0], scope) if told else []


def is_about_res(found: Filter) -> bool:
    """Whether it asks about more of a resource than the index knows."""
    return isinstance(found, Has | Compartment | CareDate) or (isinstance(found, Condition) and found.code in BY_COLUMN)


def condition(found: Filter, scope: Scope) -> Sql:
    """The SQL condition for one filter. Raises :class:`Rejected` (400) for a value that has not the form of its type."""
    if isinstance(found, Condition):
        return _column(found, scope) if found.code in BY_COLUMN else _index(found, scope)
    if isinstance(found, Chain):
        return _any_names(_chained(found, scope), scope)
    if isinstance(found, Has):
        return _has(found, scope)
    return _compartment(found, scope) if isinstance(found, Compartment) else _care_date(found, scope)


def _column(found: Condition, scope: Scope) -> Sql:
    """``_id`` and ``_lastUpdated``: the store itself sees to it that they are there."""
    if found.modifier == "missing":
        return FALSE if found.values[0] == "true" else TRUE
    if found.code == "_id":
        ids = is_one_of(Sql("res.id"), [unescaped(value) for value in found.values])
        return negated(ids) if found.modifier == "not" else ids
    # stored to the millisecond, so a moment fills its millisecond
    ends = Sql("res.updated"), Sql("(res.updated + 1000)")
    return any_of([_date_matches(found.code, value, scope, *ends) for value in found.values])


def _index(found: Condition, scope: Scope) -> Sql:
    if found.modifier == "missing":
        suffixes = ("", ":identifier") if found.kind == "reference" else ("",)
        tables = [TABLES[found.kind], TOK]
        present = _any_names(
            [_rows(table, found, scope, TRUE, suffix) for table, suffix in zip(tables, suffixes, strict=False)], scope
        )
        return negated(present) if found.values[0] == "true" else present
    matches = _any_names(_indexed(found, scope), scope)
    return negated(matches) if found.modifier == "not" else matches


def _any_names(rows: Iterable[Rows], scope: Scope) -> Sql:
    return any_of([one.name(scope.resource) for one in rows])


def _indexed(found: Condition, scope: Scope) -> list[Rows]:
    """The rows that the values name: all in one list, or some for each value."""
    if found.kind == "token" and found.modifier != "text":
        return [_tokens(found, scope)]
    if found.kind == "reference":
        return [_references(found, scope)]
    single = _READERS[found.kind]
    return [single(found, value, scope) for value in found.values]


def _rows(table: Sql, found: Condition, scope: Scope, matches: Sql, suffix: str = "", *, once: bool = False) -> Rows:
    probed = table in scope.probed and table is not TOK and suffix == "" and found.modifier != "missing"
    return Rows(table, scope.param_ids[found.type, found.code + suffix], matches, once, probed)


def _tokens(found: Condition, scope: Scope) -> Rows:
    names = [names_of.token(found, value) for value in found.values]
    once = len(names) == 1 and _is_key(names[0])
    is_probed = once and TOK in scope.probed and found.code != "identifier"
    return Rows(TOK, scope.param_ids[found.type, found.code], are_named(names, CODE, SYSTEM), once, is_probed)


def _is_key(name: Name) -> bool:
    """One code of one system: what is asked by both is there once in a resource."""
    return len(name[0]) == 1 and name[1] is not None


def _references(found: Condition, scope: Scope) -> Rows:
    if found.modifier == "identifier":
        names = [names_of.token(found, value) for value in found.values]
        return _rows(TOK, found, scope, are_named(names, CODE, SYSTEM), ":identifier")
    targets = [name for value in found.values if (name := names_of.reference(found, value, scope.base)) is not None]
    return _rows(REF, found, scope, are_named(targets, TARGET, KIND), once=has_one(found.type, found.code))


def _text(found: Condition, value: str, scope: Scope) -> Rows:
    return _rows(STR, found, scope, starts_with(FOLDED, folded(value)), ":text")


def _string(found: Condition, value: str, scope: Scope) -> Rows:
    if found.modifier == "exact":
        exactly = sql("folded = {} AND value = {}", folded(value), values.key(unescaped(value)))
        return _rows(STR, found, scope, exactly)
    matches = contains if found.modifier == "contains" else starts_with
    return _rows(STR, found, scope, matches(FOLDED, folded(value)))


def _uri(found: Condition, value: str, scope: Scope) -> Rows:
    text = values.key(unescaped(value))
    if found.modifier == "below":
        return _rows(URI, found, scope, starts_with(VALUE, text))
    above = [text[:end] for end in range(1, len(text) + 1) if end == len(text) or text[end] == "/"]
    return _rows(URI, found, scope, is_one_of(VALUE, above if found.modifier == "above" else [text]))


def _date(found: Condition, value: str, scope: Scope) -> Rows:
    return _dates(found, [value], scope)


def _dates(found: Condition, asked: Sequence[str], scope: Scope) -> Rows:
    """The rows for which all of it holds."""
    readings = [read_date(found.code, value, scope.zone, scope.now) for value in asked]
    matches = all_of([interval_matches(prefix, interval, LOW, HIGH) for prefix, interval in readings])
    once, param = has_one(found.type, found.code), scope.param_ids[found.type, found.code]
    return Rows(DAT, param, matches, once, DAT in scope.probed, touched(readings))


def _date_matches(code: str, value: str, scope: Scope, low: Sql = LOW, high: Sql = HIGH) -> Sql:
    return interval_matches(*read_date(code, value, scope.zone, scope.now), low, high)


def _quantity(found: Condition, value: str, scope: Scope) -> Rows:
    matches = quantity_matches(found.code, value, _OF_QUANTITY, is_number=found.kind == "number")
    return _rows(QTY, found, scope, all_of(matches))


def _composite(found: Condition, value: str, scope: Scope) -> Rows:
    """``first$second``, both found in one place of the resource."""
    parts = split_dollars(value)
    if len(parts) != 2:
        raise bad(found.code, "must be two values joined by $")
    first, second = parts
    code = names_of.token(found, first)
    matches = all_of([are_named([code], CODE, SYSTEM), *_second(found, second, scope)])
    # an Observation has one value of its own; of the others a place may hold several
    return _rows(CMP, found, scope, matches, once=_is_key(code) and found.code == "code-value-quantity")


def _second(found: Condition, value: str, scope: Scope) -> list[Sql]:
    kind = _type_of_second(found.type, found.code)
    if kind == "token":
        return [are_named([names_of.token(found, value)], VALUE, VALUE_SYSTEM)]
    if kind == "quantity":
        return quantity_matches(found.code, value, _OF_SECOND)
    if kind == "reference":
        target = names_of.reference(found, value, scope.base)
        return [are_named([target] if target else [], VALUE, VALUE_SYSTEM)]
    if kind == "date":
        return [_date_matches(found.code, value, scope)]
    return [starts_with(VALUE, folded(value))]


@lru_cache(maxsize=256)
def _type_of_second(kind: str, code: str) -> str:
    return second_type(kind, definitions.search_parameters()[kind][code])


def _compartment(found: Compartment, scope: Scope) -> Sql:
    """The patient itself, and what refers to him by one of the parameters of his compartment."""
    return sql(
        "(res.rid IN (SELECT rid FROM ref WHERE {} AND target = {} AND kind = 'Patient') OR (res.type = 'Patient' AND res.id = {}))",
        scope.params(found.parameters), found.id, found.id,
    )  # fmt: skip


def _care_date(found: CareDate, scope: Scope) -> Sql:
    return sql(
        "(res.rid IN (SELECT rid FROM dat WHERE {} AND {}) OR NOT ({}))",
        scope.params(found.parameters),
        _date_matches("start and end", found.value, scope),
        is_one_of(Sql("res.type"), [kind for kind, _ in found.parameters]),
    )


def _chained(found: Chain, scope: Scope) -> list[Rows]:
    """The references to what the inner filter finds, for each type they may be of."""
    rows = []
    for target, inner in found.targets:
        named = sql("kind = {} AND target IN (SELECT res.id FROM res WHERE {})", target, _is_inner(target, inner, scope))
        rows.append(Rows(REF, scope.param_ids[found.type, found.code], named, has_one(found.type, found.code)))
    return rows


def _has(found: Has, scope: Scope) -> Sql:
    """The row of a reference is proof that the resource which refers is there: of that only the index is asked, where it can answer."""
    inner = _is_inner(found.source, found.inner, scope)
    if scope.within or is_about_res(found.inner):
        inner = sql("rid IN (SELECT res.rid FROM res WHERE {})", inner)
    else:
        inner = condition(found.inner, replace(scope, probed=frozenset(), resource=Sql("ref.rid")))
    param = scope.param_ids[found.source, found.code]
    return sql("res.id IN (SELECT target FROM ref WHERE param = {} AND kind = {} AND {})", param, found.type, inner)


def _is_inner(kind: str, inner: Filter, scope: Scope) -> Sql:
    """Within a selection of resources of its own, which is correlated with nothing outside."""
    alone = replace(scope, probed=frozenset(), resource=OF_RES)
    bounds = [scope.within([kind])] if scope.within else []
    return all_of([sql("res.type = {}", kind), Sql("NOT res.deleted"), condition(inner, alone), *bounds])


_READERS: Mapping[str, Callable[[Condition, str, Scope], Rows]] = {
    "token": _text,
    "string": _string,
    "date": _date,
    "quantity": _quantity,
    "number": _quantity,
    "composite": _composite,
    "uri": _uri,
}
