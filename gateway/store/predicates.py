"""From a filter of a :class:`~gateway.store.query.Query` to a condition on ``res`` in SQL.

Every condition has the form ``rid IN (SELECT rid FROM <index table> ...)``: both databases then start at the index table,
where the rows of a parameter lie side by side. ``EXISTS`` made SQLite walk all resources instead; so it is used only where another
condition names few resources, and then for the tables that find the rows of one resource at once: dates, quantities, and codes with system.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from gateway.r4 import definitions
from gateway.store import names as names_of
from gateway.store import values
from gateway.store.comparisons import bad, contains, folded, interval_matches, quantity_matches, read_date, starts_with
from gateway.store.composite import second_type
from gateway.store.index import BY_COLUMN, ParamIds
from gateway.store.names import are_named
from gateway.store.narrowing import Window, date_windows, paired
from gateway.store.query import CareDate, Chain, Compartment, Condition, Filter, Has, split_dollars, unescaped
from gateway.store.sql import FALSE, TRUE, Sql, all_of, any_of, is_one_of, negated, sql

#: The tables of the index, by search type. A number is a quantity without a unit.
TABLES = {
    "token": Sql("tok"),
    "reference": Sql("ref"),
    "date": Sql("dat"),
    "string": Sql("str"),
    "quantity": Sql("qty"),
    "number": Sql("qty"),
    "uri": Sql("uri"),
    "composite": Sql("cmp"),
}
TOK, REF, DAT, STR, QTY, URI, CMP = (
    TABLES[kind] for kind in ("token", "reference", "date", "string", "quantity", "uri", "composite")
)
#: Their columns. Within a selection from one of these tables a bare name is a column of it.
CODE, SYSTEM, TARGET, KIND, LOW, HIGH, UNIT, FOLDED, VALUE, VALUE_SYSTEM, PARAM = map(
    Sql, ("code", "system", "target", "kind", "low", "high", "unit", "folded", "value", "value_system", "param")
)
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

    def params(self, pairs: Iterable[tuple[str, str]]) -> Sql:
        """That a row is of one of these parameters."""
        return is_one_of(PARAM, [self.param_ids[pair] for pair in pairs])


def conditions(filters: Sequence[Filter], scope: Scope) -> list[Sql]:
    """Of filters that hold together: what one of them finds by a value spares the others to look at everything that fits them."""
    filters = paired(filters)
    windows = date_windows(filters)
    if len(filters) > 1:
        scope = replace(scope, probed=_probed(filters, windows))
    inside = {found for window in windows for found in window}
    return [_window(window, scope) for window in windows] + [condition(found, scope) for found in filters if found not in inside]


def _probed(filters: Sequence[Filter], windows: Sequence[Window]) -> frozenset[Sql]:
    """The tables to be asked about single resources. A reference names fewer than a span of time does, and that fewer than a code."""
    told = [found for found in filters if isinstance(found, Condition) and found.modifier not in ("not", "missing")]
    if any(isinstance(found, Chain | Compartment) for found in filters) or any(
        found.kind == "reference" or found.code in ("_id", "identifier") for found in told
    ):
        return frozenset({TOK, DAT, QTY})
    if windows:
        return frozenset({TOK, QTY})
    return frozenset({DAT, QTY}) if any(found.kind in ("token", "composite") for found in told) else frozenset()


def _window(window: Window, scope: Scope) -> Sql:
    """All conditions on one date at once: a resource has one of it, so they are about the same row."""
    return _rows(DAT, window[0], scope, all_of(_date_matches(found.code, found.values[0], scope) for found in window))


def condition(found: Filter, scope: Scope) -> Sql:
    """The SQL condition for one filter. Raises :class:`Rejected` (400) for a value that has not the form of its type."""
    if not isinstance(found, Condition):
        return _OTHERS[type(found)](found, scope)
    if found.code in BY_COLUMN and found.modifier == "missing":  # the store itself sees to it that they are there
        return FALSE if found.values[0] == "true" else TRUE
    if found.code == "_id":
        return _negated(is_one_of(Sql("res.id"), [unescaped(value) for value in found.values]), found)
    if found.code == "_lastUpdated":
        return _updated(found, scope)
    if found.modifier == "missing":
        return _missing(found, scope)
    if found.kind in _LISTS:
        return _negated(_LISTS[found.kind](found, scope), found)
    single = _READERS[found.kind]
    return any_of([single(found, value, scope) for value in found.values])


def _negated(part: Sql, found: Condition) -> Sql:
    return negated(part) if found.modifier == "not" else part


def _rows(table: Sql, found: Condition, scope: Scope, matches: Sql, *, suffix: str = "", by_resource: bool = True) -> Sql:
    """That a row of the parameter matches. ``by_resource``: the rows of one resource are found at once."""
    param = scope.param_ids[found.type, found.code + suffix]
    if by_resource and table in scope.probed:
        # "+ 0": else SQLite would rather walk all that fit, in the index of the values
        pattern: LiteralString = "EXISTS (SELECT 1 FROM {} AS one WHERE one.rid = res.rid AND one.param + 0 = {} AND {})"
        if table is TOK:
            pattern = "EXISTS (SELECT 1 FROM {} AS one WHERE one.rid = res.rid AND one.param = {} AND {})"
        return sql(pattern, table, param, matches)
    return sql("res.rid IN (SELECT rid FROM {} WHERE param = {} AND {})", table, param, matches)


def _missing(found: Condition, scope: Scope) -> Sql:
    present = _rows(TABLES[found.kind], found, scope, TRUE, by_resource=False)
    if found.kind == "reference":
        present = any_of([present, _rows(TOK, found, scope, TRUE, suffix=":identifier", by_resource=False)])
    return negated(present) if found.values[0] == "true" else present


def _token(found: Condition, scope: Scope) -> Sql:
    if found.modifier == "text":
        return any_of([_rows(STR, found, scope, starts_with(FOLDED, folded(value)), suffix=":text") for value in found.values])
    names = [names_of.token(found, value) for value in found.values]
    is_ordered = len(names) == 1 and all(names[0]) and found.code != "identifier"  # by code, system, resource: both must be known
    return _rows(TOK, found, scope, are_named(names, CODE, SYSTEM), by_resource=is_ordered)


def _reference(found: Condition, scope: Scope) -> Sql:
    if found.modifier == "identifier":
        names = [names_of.token(found, value) for value in found.values]
        return _rows(TOK, found, scope, are_named(names, CODE, SYSTEM), suffix=":identifier", by_resource=False)
    targets = [name for value in found.values if (name := names_of.reference(found, value, scope.base)) is not None]
    return _rows(REF, found, scope, are_named(targets, TARGET, KIND))


def _string(found: Condition, value: str, scope: Scope) -> Sql:
    if found.modifier == "exact":
        exactly = sql("folded = {} AND value = {}", folded(value), values.key(unescaped(value)))
        return _rows(STR, found, scope, exactly)
    matches = contains if found.modifier == "contains" else starts_with
    return _rows(STR, found, scope, matches(FOLDED, folded(value)))


def _uri(found: Condition, value: str, scope: Scope) -> Sql:
    text = values.key(unescaped(value))
    if found.modifier == "below":
        return _rows(URI, found, scope, starts_with(VALUE, text))
    above = [text[:end] for end in range(1, len(text) + 1) if end == len(text) or text[end] == "/"]
    return _rows(URI, found, scope, is_one_of(VALUE, above if found.modifier == "above" else [text]))


def _date(found: Condition, value: str, scope: Scope) -> Sql:
    return _rows(DAT, found, scope, _date_matches(found.code, value, scope))


def _date_matches(code: str, value: str, scope: Scope, low: Sql = LOW, high: Sql = HIGH) -> Sql:
    return interval_matches(*read_date(code, value, scope.zone, scope.now), low, high)


def _updated(found: Condition, scope: Scope) -> Sql:
    # stored to the millisecond, so a moment fills its millisecond
    ends = Sql("res.updated"), Sql("(res.updated + 1000)")
    return any_of([_date_matches(found.code, value, scope, *ends) for value in found.values])


def _quantity(found: Condition, value: str, scope: Scope) -> Sql:
    matches = quantity_matches(found.code, value, _OF_QUANTITY, is_number=found.kind == "number")
    return _rows(QTY, found, scope, all_of(matches))


def _composite(found: Condition, value: str, scope: Scope) -> Sql:
    """``first$second``, both found in one place of the resource."""
    parts = split_dollars(value)
    if len(parts) != 2:
        raise bad(found.code, "must be two values joined by $")
    first, second = parts
    kind = second_type(found.type, definitions.search_parameters()[found.type][found.code])
    return _rows(
        CMP, found, scope, all_of([are_named([names_of.token(found, first)], CODE, SYSTEM), *_second(kind, found, second, scope)])
    )


def _second(kind: str, found: Condition, value: str, scope: Scope) -> list[Sql]:
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


def _compartment(found: Compartment, scope: Scope) -> Sql:
    """The patient itself, and what refers to him by one of the parameters of his compartment."""
    return sql(
        "(res.rid IN (SELECT rid FROM ref WHERE {} AND target = {} AND kind = 'Patient') OR (res.type = 'Patient' AND res.id = {}))",
        scope.params(found.parameters),
        found.id,
        found.id,
    )


def _care_date(found: CareDate, scope: Scope) -> Sql:
    return sql(
        "(res.rid IN (SELECT rid FROM dat WHERE {} AND {}) OR NOT ({}))",
        scope.params(found.parameters),
        _date_matches("start and end", found.value, scope),
        is_one_of(Sql("res.type"), [kind for kind, _ in found.parameters]),
    )


def _chain(found: Chain, scope: Scope) -> Sql:
    param = scope.param_ids[found.type, found.code]
    return any_of(
        [
            sql(
                "res.rid IN (SELECT rid FROM ref WHERE param = {} AND kind = {} AND target IN (SELECT res.id FROM res WHERE {}))",
                param,
                target,
                _is_inner(target, inner, scope),
            )
            for target, inner in found.targets
        ]
    )


def _has(found: Has, scope: Scope) -> Sql:
    return sql(
        "res.id IN (SELECT target FROM ref WHERE param = {} AND kind = {} AND rid IN (SELECT res.rid FROM res WHERE {}))",
        scope.param_ids[found.source, found.code],
        found.type,
        _is_inner(found.source, found.inner, scope),
    )


def _is_inner(kind: str, inner: Filter, scope: Scope) -> Sql:
    """Within a selection of resources of its own, which is correlated with nothing outside."""
    alone = replace(scope, probed=frozenset())
    bounds = scope.within([kind]) if scope.within else TRUE
    return sql("res.type = {} AND NOT res.deleted AND {} AND {}", kind, condition(inner, alone), bounds)


_OTHERS: Mapping[type[Filter], Callable[[Any, Scope], Sql]] = {
    Chain: _chain,
    Has: _has,
    Compartment: _compartment,
    CareDate: _care_date,
}
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
