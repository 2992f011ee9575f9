"""Who has called the receiver, and how it went: what ``isobridge echo --from`` and the page show.

One row per calling title, called title and network address. Times are seconds since 1970 (UTC). Holds no patient data.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"

_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    counted = [
        sa.Column(name, sa.BigInteger, nullable=False) for name in ("associations", "rejections", "echoes", "stored", "refused")
    ]
    happened = [sa.Column(f"{name}_at", _TIME) for name in ("association", "rejection", "echo", "stored", "refused")]
    op.create_table(
        "caller",
        sa.Column("calling_ae", sa.Text, primary_key=True),
        sa.Column("called_ae", sa.Text, primary_key=True),
        sa.Column("peer", sa.Text, primary_key=True),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        *counted,
        *happened,
        # Of the last association: presentation contexts that we accepted, of how many.
        sa.Column("contexts", sa.Integer),
        sa.Column("proposed", sa.Integer),
        sa.Column("rejection_reason", sa.Text),
        sa.Column("refused_status", sa.Integer),
    )
    op.create_index("caller_last", "caller", ["last_at"])
