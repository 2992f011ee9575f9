"""Which studies a replay is about, so that what came of it is told without the work of others. Kept with the replay."""

import sqlalchemy as sa
from alembic import op

revision = "0009b"
down_revision = "0009"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "replay_study",
        sa.Column("replay_id", _ROW_ID, sa.ForeignKey("replay.id"), primary_key=True),
        sa.Column("study_uid", sa.Text, primary_key=True),
    )
