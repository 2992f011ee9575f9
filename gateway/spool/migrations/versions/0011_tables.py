"""Tables of dosimetry software: files, what each tells of one patient and administration, and what people decided about it.

A part is bound to an administration by gathering, from all that is known at that moment, unless a person chose. Nothing is deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    op.create_table(
        "table_file",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("adapter", sa.Text, nullable=False),
        sa.Column("adapter_version", sa.Text, nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
    )
    op.create_table(
        "table_part",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("file_id", _ROW_ID, sa.ForeignKey("table_file.id"), nullable=False),
        # Which patient and administration it speaks of, as a hash: the same part of the file when it is read again.
        sa.Column("key", sa.Text, nullable=False),
        # The patient that the table names; null where it names none.
        sa.Column("stated_key", sa.Text),
        # The patient whose dossier it stands in: the stated one, or the one that a person chose.
        sa.Column("patient_key", sa.Text),
        # Chosen by a person.
        sa.Column("administration_id", sa.Text),
        sa.Column("cycle", sa.Integer),
        sa.Column("withdrawn", sa.Integer, nullable=False, server_default="0"),
        # A later reading of the same file does not have this part any more.
        sa.Column("gone", sa.Integer, nullable=False, server_default="0"),
        # What the last gathering came to.
        sa.Column("bound_to", sa.Text),
        sa.Column("waits_for", sa.Text),
        sa.Column("facts", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("file_id", "key"),
    )
    op.create_index("table_part_patient", "table_part", ["patient_key"])
    waiting = sa.text("waits_for IS NOT NULL AND withdrawn = 0 AND gone = 0")
    op.create_index("table_part_waiting", "table_part", ["id"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "table_decision",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("part_id", _ROW_ID, sa.ForeignKey("table_part.id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("patient_key", sa.Text),
        sa.Column("administration_id", sa.Text),
        sa.Column("cycle", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.CheckConstraint("kind IN ('assign', 'withdraw', 'restore')", name="table_decision_kind"),
    )
    op.create_index("table_decision_part", "table_decision", ["part_id"])
