"""Backfills: what of the past was asked for, which days were listed, what became of each study. Kept as a trace."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "backfill",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("from_day", sa.Text, nullable=False),
        sa.Column("to_day", sa.Text, nullable=False),
        sa.Column("modalities", sa.Text, nullable=False),
        # The newest day comes first; days from this one on were listed. Null: none yet.
        sa.Column("listed_day", sa.Text),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("worked_at", _TIME),
        sa.Column("problem", sa.Text),
        sa.UniqueConstraint("source", "from_day", "to_day", "modalities"),
    )
    op.create_table(
        "backfill_study",
        sa.Column("backfill_id", _ROW_ID, sa.ForeignKey("backfill.id"), primary_key=True),
        sa.Column("study_uid", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("handle", sa.Text, nullable=False),  # how the source itself calls it, where that is not the UID
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("objects", sa.Integer, nullable=False, server_default="0"),
        sa.Column("refused", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("state IN ('pending', 'done', 'failed')", name="backfill_study_state"),
    )
