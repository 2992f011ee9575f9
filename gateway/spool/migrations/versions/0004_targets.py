"""Targets beyond the embedded store: what a server calls our resources, and indexes for long queues.

``published.remote_id`` is the id that a server gave to a resource of ours; null where it took our own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("published", sa.Column("remote_id", sa.Text))
    waiting = sa.text("state IN ('pending', 'leased')")
    # The next items of a lane, oldest first, without reading what is done already.
    op.create_index("delivery_order", "delivery", ["target", "id"], sqlite_where=waiting, postgresql_where=waiting)
    # Which patients of a lane have to wait: a handful, found without reading the queue.
    op.create_index(
        "delivery_later", "delivery", ["target", "state", "next_attempt_at"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_index("delivery_instance", "delivery", ["instance_id"])
    parked = sa.text("state = 'parked'")
    op.create_index("delivery_parked", "delivery", ["id"], sqlite_where=parked, postgresql_where=parked)
