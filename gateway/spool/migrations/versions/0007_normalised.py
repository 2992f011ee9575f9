"""What a DICOM target was given of an instance, where that is not the original: digest and SOP Instance UID of the normalised object.

Null where the file went out as it was received, byte for byte.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("given_digest", sa.LargeBinary))
    op.add_column("delivery", sa.Column("given_uid", sa.Text))
