"""Indexes that answer without a look at bodies: which resources of a type are there, and what their dates and quantities are."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("res_by_type", "res")
    op.create_index("res_by_type", "res", ["type", "rid", "deleted"])
    # the dates and quantities of a few resources, when something else has found these
    op.create_index("dat_by_resource", "dat", ["rid", "param", "low", "high"])
    op.create_index("qty_by_resource", "qty", ["rid", "param", "low", "high"])
    # "more than" asks for the upper end of what is measured
    op.drop_index("cmp_by_code", "cmp")
    op.create_index("cmp_by_code", "cmp", ["param", "code", "high", "low", "rid"])
