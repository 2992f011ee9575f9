"""The tables of the store, as SQLAlchemy sees them; ``migrations/`` creates them.

``res`` holds the current version of each resource, ``hist`` the earlier ones, both with compressed bodies. One index table per
search type is clustered on (parameter, value, row), so that a search reads neighbouring rows and nothing else. A parameter is
a small number that ``param`` remembers for (resource type, code).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

#: Text that sorts and compares by code point on both databases, as ``starts with`` ranges need.
TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBER: sa.Double[float] = sa.Double()

METADATA = sa.MetaData()

PARAM = sa.Table(
    "param",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("type", TEXT),
    sa.Column("code", TEXT),
)

#: One row: for which search definitions and which zone the index was made.
INDEXED = sa.Table("indexed", METADATA, sa.Column("fingerprint", TEXT, primary_key=True))

RES = sa.Table(
    "res",
    METADATA,
    sa.Column("rid", sa.BigInteger, primary_key=True),
    sa.Column("type", TEXT),
    sa.Column("id", TEXT),
    sa.Column("version", sa.Integer),
    sa.Column("updated", sa.BigInteger),  # microseconds since 1970, UTC
    sa.Column("deleted", sa.Boolean),
    sa.Column("hash", TEXT),
    sa.Column("body", sa.LargeBinary),
    sa.Column("writer", TEXT, default="", server_default=""),  # empty: this gateway itself
)

HIST = sa.Table(
    "hist",
    METADATA,
    sa.Column("rid", sa.BigInteger, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("updated", sa.BigInteger),
    sa.Column("deleted", sa.Boolean),
    sa.Column("body", sa.LargeBinary),
)


def _index_table(name: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(name, METADATA, sa.Column("param", sa.Integer), *columns, sa.Column("rid", sa.BigInteger))


TOK = _index_table("tok", sa.Column("code", TEXT), sa.Column("system", TEXT))
REF = _index_table("ref", sa.Column("target", TEXT), sa.Column("kind", TEXT))
DAT = _index_table("dat", sa.Column("low", sa.BigInteger), sa.Column("high", sa.BigInteger))
STR = _index_table("str", sa.Column("folded", TEXT), sa.Column("value", TEXT))
QTY = _index_table(
    "qty",
    sa.Column("low", NUMBER),
    sa.Column("high", NUMBER),
    sa.Column("system", TEXT),
    sa.Column("code", TEXT),
    sa.Column("unit", TEXT),
)
URI = _index_table("uri", sa.Column("value", TEXT))

#: One row per pair of values that stand together: the first is always a code, the second of any search type.
CMP = _index_table(
    "cmp",
    sa.Column("code", TEXT),
    sa.Column("system", TEXT),
    sa.Column("value", TEXT),  # of the second: its code, folded text or reference target
    sa.Column("value_system", TEXT),  # of the second: its system, or the type it refers to
    sa.Column("low", NUMBER),
    sa.Column("high", NUMBER),
    sa.Column("unit", TEXT),
)

#: Search type -> the table that answers it. A number is a quantity without a unit.
INDEX_TABLES = {
    "token": TOK,
    "reference": REF,
    "date": DAT,
    "string": STR,
    "quantity": QTY,
    "number": QTY,
    "uri": URI,
    "composite": CMP,
}
