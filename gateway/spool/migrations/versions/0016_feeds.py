"""Sources that are followed: how far their log of changes was read, what stood there last, which objects could not be fetched."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        # Limits of the study date, both included; empty: none.
        sa.Column("from_day", sa.Text, nullable=False),
        sa.Column("to_day", sa.Text, nullable=False),
        sa.Column("modalities", sa.Text, nullable=False),
        # Changes up to this number were read. The last of them, with a digest of each: JSON, number -> digest.
        sa.Column("cursor", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("recent", sa.Text, nullable=False, server_default="{}"),
        # The newest number that the source told of: how far there is to go.
        sa.Column("newest", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("objects", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("refused", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("gone", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("turned_back", sa.Integer, nullable=False, server_default="0"),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("worked_at", _TIME),
        sa.Column("problem", sa.Text),
        sa.UniqueConstraint("source", "from_day", "to_day", "modalities"),
    )
    op.create_table(
        "feed_failed",
        sa.Column("feed_id", _ROW_ID, sa.ForeignKey("feed.id"), primary_key=True),
        sa.Column("handle", sa.Text, primary_key=True),  # how the source itself calls the object
        sa.Column("reason", sa.Text, nullable=False),
    )
