"""Originals that left the spool, what a scrub or an archive was found to lack, and how far the scrub has come.

A departure is written before the file goes (``left_at`` still null), so a kill in between is finished by the next pass. The row of the
instance, its record and its digest stay for good.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "departure",
        sa.Column("instance_id", _ROW_ID, sa.ForeignKey("instance.id"), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),  # who was asked back last and holds it
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("left_at", _TIME),
        sa.Column("recalled_at", _TIME),  # its bytes were fetched back: the days count anew
    )
    op.create_table(
        "finding",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("instance_id", _ROW_ID, sa.ForeignKey("instance.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),  # who lost it; empty: our own spool
        sa.Column("found_at", _TIME, nullable=False),
        sa.Column("mended_at", _TIME),
        sa.UniqueConstraint("instance_id", "kind", "target"),
        sa.CheckConstraint("kind IN ('damaged', 'missing', 'lost')", name="finding_kind"),
    )
    is_open = sa.text("mended_at IS NULL")
    op.create_index("finding_open", "finding", ["kind"], sqlite_where=is_open, postgresql_where=is_open)
    # One row: the scrub that goes on, or went on last.
    op.create_table(
        "scrub",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("upto", sa.BigInteger, nullable=False),  # instance ids up to this one were looked at
        sa.Column("objects", sa.BigInteger, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
    )
