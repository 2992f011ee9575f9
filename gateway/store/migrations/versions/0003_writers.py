"""Who wrote a resource: nothing stands for this gateway itself, a name for somebody who came by the write mode of the endpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    # Until now nobody but the gateway could write: what is there is its own. Both databases add such a column without a rewrite.
    op.add_column("res", sa.Column("writer", _TEXT, nullable=False, server_default=""))
