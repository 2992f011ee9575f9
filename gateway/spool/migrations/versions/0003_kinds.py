"""Which administration survives when two published ones prove to be one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Set together with state 'entered-in-error'. The lost row stays: its id was published and must never mean anything else.
    op.add_column("administration", sa.Column("replaced_by", sa.Text))
    op.create_index("administration_patient", "administration", ["patient_key"])
