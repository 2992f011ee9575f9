"""Resources, their history, and one index table per search type."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table("indexed", sa.Column("fingerprint", _TEXT, primary_key=True))
    op.create_table(
        "param",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("code", _TEXT, nullable=False),
        sa.UniqueConstraint("type", "code"),
    )
    op.create_table(
        "res",
        sa.Column("rid", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("hash", _TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("type", "id"),
    )
    op.create_index("res_by_type", "res", ["type", "rid"])
    op.create_index("res_by_time", "res", ["type", "updated", "rid"])
    op.create_table(
        "hist",
        sa.Column("rid", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    _index_table("tok", code=_TEXT, system=_TEXT)
    _index_table("ref", target=_TEXT, kind=_TEXT)
    _index_table("dat", low=sa.BigInteger(), high=sa.BigInteger())
    # "until then" is answered by the cluster key (low first), "since then" needs high first
    op.create_index("dat_by_high", "dat", ["param", "high", "low", "rid"])
    _index_table("str", folded=_TEXT, value=_TEXT)
    _index_table("qty", low=sa.Double(), high=sa.Double(), system=_TEXT, code=_TEXT, unit=_TEXT)
    _index_table("uri", value=_TEXT)


def _index_table(name: str, **values: sa.types.TypeEngine[Any]) -> None:
    """Clustered on all columns: on SQLite the table is its own index."""
    op.create_table(
        name,
        sa.Column("param", sa.Integer, nullable=False),
        *(sa.Column(column, kind, nullable=False) for column, kind in values.items()),
        sa.Column("rid", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("param", *values, "rid"),
        sqlite_with_rowid=False,
    )
