"""Storage commitment: who asked us to be responsible for which objects, what became of each, and whether the answer was taken.

Kept for good: it is the trace of what a scanner may have deleted on our word.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("calling_ae", sa.Text, nullable=False),
        sa.Column("called_ae", sa.Text, nullable=False),
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        # When to look at it again: at the objects while it waits, at the asker when the answer is ready.
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("ready_at", _TIME),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reason", sa.Text),
        # Until then the answer belongs to the association that it was asked on.
        sa.Column("held_until", _TIME, nullable=False),
        sa.Column("lease_token", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", _TIME),
        sa.UniqueConstraint("calling_ae", "transaction_uid"),
        sa.CheckConstraint("state IN ('waiting', 'ready', 'reported', 'parked')", name="commitment_state"),
    )
    open_ones = sa.text("state IN ('waiting', 'ready')")
    op.create_index("commitment_open", "commitment", ["next_at"], sqlite_where=open_ones, postgresql_where=open_ones)
    op.create_table(
        "commitment_item",
        sa.Column("commitment_id", _ROW_ID, sa.ForeignKey("commitment.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        # Null: not known yet. 0: committed. Else the failure reason (PS3.3 C.14.1.1).
        sa.Column("outcome", sa.Integer),
    )
