"""What a search starts with. Of conditions that hold together the one that finds least is looked up; the others are asked of what it found.

The rows of the index are proof that a resource of their type is there, so a search that starts with them looks at ``res`` for its page
alone. Bounds of one who asks are conditions on ``res``: then it starts there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.store.narrowing import Window, date_windows, paired
from gateway.store.predicates import OF_RES, Scope, condition, is_about_res, rows_of
from gateway.store.query import Chain, Compartment, Condition, Filter
from gateway.store.rows import DAT, QTY, TOK, Rows
from gateway.store.sql import Sql


@dataclass(frozen=True, slots=True)
class Asked:
    """A search in SQL: ``rows`` that it starts with, if there are any, and the conditions on what they name, or else on ``res``."""

    rows: Rows | None
    conditions: list[Sql]
    #: What the rows are dates of, when they are.
    dated: str = ""


def asked_of(filters: Sequence[Filter], scope: Scope) -> Asked:
    """Of filters that hold together: what one of them finds by a value spares the others to look at everything that fits them."""
    filters = paired(filters)
    windows = date_windows(filters)
    if len(filters) > 1:
        scope = replace(scope, probed=_probed(filters, windows))
    inside = {found for window in windows for found in window}
    parts: list[tuple[Filter, ...]] = [*windows, *((found,) for found in filters if found not in inside)]
    first = None if scope.within or any(map(is_about_res, filters)) else _first(parts, windows)
    if first is None:
        return Asked(None, [_part(part, scope) for part in parts])
    scope = replace(scope, resource=Sql("found.rid"))
    rows = rows_of(first, scope)
    if len(rows) != 1:
        return Asked(None, [_part(part, replace(scope, resource=OF_RES)) for part in parts])
    return Asked(rows[0], [_part(part, scope) for part in parts if part is not first], _dated(rows[0], first[0]))


def _dated(rows: Rows, found: Filter) -> str:
    return found.code if rows.table is DAT and rows.once and isinstance(found, Condition) else ""


def _part(part: Sequence[Filter], scope: Scope) -> Sql:
    return condition(part[0], scope) if len(part) == 1 else rows_of(part, scope)[0].name(scope.resource)


def _first(parts: Sequence[tuple[Filter, ...]], windows: Sequence[Window]) -> tuple[Filter, ...] | None:
    """What finds least."""
    ranked = [(2 if part in windows else _rank(part[0]), number) for number, part in enumerate(parts)]
    _, number = min((one for one in ranked if one[0]), default=(0, -1))
    return parts[number] if number >= 0 else None


def _rank(found: Filter) -> int:
    """0: not to start with."""
    if isinstance(found, Chain):
        return 1
    if not isinstance(found, Condition) or found.modifier in ("not", "missing"):
        return 0
    if found.kind == "reference" or found.code == "identifier":
        return 1
    return {"composite": 3, "token": 4}.get(found.kind, 5)


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
