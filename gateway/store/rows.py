"""Rows of the index that answer a condition. Each of them names a resource of the parameter's type that is there, not deleted.

The rows can be asked three ways: for the resources they name, whether one of them names this resource, and as what a search starts with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from gateway.store.dates import Interval
from gateway.store.sql import Sql, sql

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


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a parameter that match. ``once``: no resource has two of them. ``is_probed``: the rows of one resource are found at once.

    ``around``: of dates, an interval that all that match touch.
    """

    table: Sql
    param: int
    matches: Sql
    once: bool = False
    is_probed: bool = False
    around: Interval | None = None

    @property
    def in_order(self) -> bool:
        """Whether they lie in the table in the order of the resources, most probably."""
        return self.once and self.table in (TOK, REF)

    def name(self, resource: Sql) -> Sql:
        """That one of them names the resource of this row number."""
        if not self.is_probed:
            return sql("{} IN ({})", resource, self.selection(Sql("rid")))
        # "+ 0": else SQLite would rather walk all that fit, in the index of the values
        pattern: LiteralString = "EXISTS (SELECT 1 FROM {} AS one WHERE one.rid = {} AND one.param + 0 = {} AND {})"
        if self.table is TOK:
            pattern = "EXISTS (SELECT 1 FROM {} AS one WHERE one.rid = {} AND one.param = {} AND {})"
        return sql(pattern, self.table, resource, self.param, self.matches)

    def source(self) -> Sql:
        """To select from: ``rid``, each once; of dates that are there once also ``low`` and ``high``."""
        if self.once:
            return self.selection(Sql("rid, low, high" if self.table is DAT else "rid"))
        return sql("SELECT DISTINCT rid FROM ({}) AS matching", self.selection(Sql("rid")))

    def selection(self, columns: Sql) -> Sql:
        if self.around is None:
            return sql("SELECT {} FROM {} WHERE param = {} AND {}", columns, self.table, self.param, self.matches)
        return sql(
            _AROUND, columns, self.param, self.around.low - _LONG, self.around.high, self.matches,
            columns, self.param, self.around.low, self.around.high, self.matches,
        )  # fmt: skip


#: Two days in microseconds. What takes longer has an index of its own (``dat_long``), so that all else that touches an interval is found
#: by where it begins, and not by walking everything that ends later. A sum: the length of what is open at both ends has no room in 64 bits.
_LONG = 172_800_000_000
_AROUND: LiteralString = (
    "SELECT {} FROM dat WHERE param = {} AND low >= {} AND low < {} AND high <= low + 172800000000 AND {} UNION ALL "
    "SELECT {} FROM dat WHERE high > low + 172800000000 AND param = {} AND high > {} AND low < {} AND {}"
)
