"""Pairs of values for composite search, and the order of time over all types for the history of the whole store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    texts = ("code", "system", "value", "value_system")
    op.create_table(
        "cmp",
        sa.Column("param", sa.Integer, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in texts),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("unit", _TEXT, nullable=False),
        sa.Column("rid", sa.BigInteger, nullable=False),
    )
    op.create_index("cmp_by_code", "cmp", ["param", "code", "low", "rid"])
    op.create_index("res_by_moment", "res", ["updated", "rid"])
    op.create_index("hist_by_moment", "hist", ["updated", "rid"])
