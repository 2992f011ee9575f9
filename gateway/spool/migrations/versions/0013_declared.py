"""Cycles of a therapy that a person declared to be all of them: only then is a cumulative dose calculated. Rows are never deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "declared_cycles",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("patient_key", sa.Text, nullable=False),
        # JSON: ids of administrations, in their order.
        sa.Column("cycles", sa.Text, nullable=False),
        # Code or words of one region; null: all regions.
        sa.Column("region", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("withdrawn_reason", sa.Text),
        sa.Column("withdrawn_by", sa.Text),
        sa.Column("withdrawn_at", _TIME),
    )
    op.create_index("declared_cycles_patient", "declared_cycles", ["patient_key"])
