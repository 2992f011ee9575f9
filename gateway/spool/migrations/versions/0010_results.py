"""Facts of dosimetry, minted once, known by many names."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009b"


def upgrade() -> None:
    op.create_table(
        "dose_result",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("patient_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        # Set together with state 'entered-in-error', where another fact took its place.
        sa.Column("replaced_by", sa.Text),
        sa.CheckConstraint("state IN ('active', 'entered-in-error')", name="dose_result_state"),
    )
    op.create_index("dose_result_patient", "dose_result", ["patient_key"])
    op.create_table(
        "dose_result_alias",
        sa.Column("patient_key", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("dose_result_id", sa.Text, sa.ForeignKey("dose_result.id"), nullable=False),
    )
