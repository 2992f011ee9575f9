"""Of dates, an index of the few that take long: all others that touch an interval are found by where they begin."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    long = sa.text("high > low + 172800000000")  # two days in microseconds, as in rows.py
    op.create_index("dat_long", "dat", ["param", "high", "low", "rid"], sqlite_where=long, postgresql_where=long)
