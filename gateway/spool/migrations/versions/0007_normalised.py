"""What a DICOM target was given of an instance, where that is not the original: digest and SOP Instance UID of the normalised object.

Null where the file went out as it was received, byte for byte. ``intended`` names what an upload is about to bring there: whoever is
killed before the target is asked back leaves a word of what may stand there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("given_digest", sa.LargeBinary))
    op.add_column("delivery", sa.Column("given_uid", sa.Text))
    op.create_table(
        "intended",
        sa.Column("delivery_id", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "digest"),
    )
