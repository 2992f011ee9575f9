"""The first ledger: arrivals, instances, records, subjects, facts, deliveries.

Times are seconds since 1970 (UTC). Bodies are zlib-compressed JSON. Forward only: there is no downgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()


def upgrade() -> None:
    _intake()
    _records()
    _subjects()
    _facts()
    _deliveries()


def _intake() -> None:
    # One object received once. A re-send is a new arrival of a known instance.
    op.create_table(
        "arrival",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("calling_ae", sa.Text, nullable=False),
        sa.Column("called_ae", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
    )
    op.create_index("arrival_digest", "arrival", ["digest"])
    # What is the same for all instances of a series, once. A series that mixes SOP classes or encodings has one row for each.
    op.create_table(
        "series",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("series_uid", sa.Text, nullable=False),
        sa.Column("study_uid", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
        sa.UniqueConstraint("series_uid", "study_uid", "sop_class_uid", "transfer_syntax_uid"),
    )
    op.create_index("series_study", "series", ["study_uid"])
    # One SOP instance with one content: a file in the spool.
    op.create_table(
        "instance",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("series_id", _ROW_ID, sa.ForeignKey("series.id"), nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_token", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", _TIME),
        sa.UniqueConstraint("sop_instance_uid", "digest"),
        sa.CheckConstraint("state IN ('received', 'normalised', 'quarantined', 'conflict')", name="instance_state"),
    )
    op.create_index("instance_digest", "instance", ["digest"])
    op.create_index("instance_series", "instance", ["series_id"])
    op.create_index("instance_day", "instance", ["day"])
    # Only what waits for a worker is in this index, so leasing stays fast however many instances are kept.
    waiting = sa.text("state = 'received'")
    op.create_index("instance_waiting", "instance", ["id"], sqlite_where=waiting, postgresql_where=waiting)
    # At most one content of a SOP Instance UID is worked on; any other is a conflict, even when two hosts receive at once.
    current = sa.text("state IN ('received', 'normalised')")
    op.create_index(
        "instance_current", "instance", ["sop_instance_uid"], unique=True, sqlite_where=current, postgresql_where=current
    )
    # Day-partitions of the spool whose files are known to have their rows: the start-up sweep passes them over.
    op.create_table("day_closed", sa.Column("day", sa.Text, primary_key=True))


def _records() -> None:
    # What a mapping read that is the same for a whole series; equal content is stored once.
    op.create_table(
        "shared",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("patient_key", sa.Text, nullable=False),
        sa.Column("study_uid", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("shared_patient", "shared", ["patient_key"])
    op.create_table(
        "record",
        sa.Column("instance_id", _ROW_ID, sa.ForeignKey("instance.id"), primary_key=True),
        sa.Column("shared_id", _ROW_ID, sa.ForeignKey("shared.id"), nullable=False),
        sa.Column("fields", sa.LargeBinary, nullable=False),
        sa.Column("issues", sa.LargeBinary),
    )
    op.create_index("record_shared", "record", ["shared_id"])


def _subjects() -> None:
    # The two gather keys with their timers. next_quiet_at is null when nothing has changed since the last version.
    for table, key in (("study", "uid"), ("dossier", "patient_key")):
        op.create_table(
            table,
            sa.Column(key, sa.Text, primary_key=True),
            *([sa.Column("patient_key", sa.Text)] if table == "study" else []),
            sa.Column("next_quiet_at", _TIME),
            sa.Column("open_since", _TIME),
            sa.Column("problem", sa.Text),
            sa.Column("versions", sa.Integer, nullable=False, server_default="0"),
            sa.Column("lease_token", sa.Integer, nullable=False, server_default="0"),
            sa.Column("lease_until", _TIME),
        )
        op.create_index(f"{table}_quiet", table, ["next_quiet_at"])
    op.create_table(
        "subject_version",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject_key", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("patient_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("sealed_at", _TIME, nullable=False),
        sa.Column("bundle", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("kind", "subject_key", "version"),
        sa.CheckConstraint("state IN ('open', 'sealed', 'superseded')", name="subject_version_state"),
    )


def _facts() -> None:
    # One administration, minted once. The id never changes, whatever is learnt later.
    op.create_table(
        "administration",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("patient_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="active"),
        sa.CheckConstraint("state IN ('active', 'entered-in-error')", name="administration_state"),
    )
    op.create_table(
        "administration_alias",
        sa.Column("patient_key", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("administration_id", sa.Text, sa.ForeignKey("administration.id"), nullable=False),
    )


def _deliveries() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("subject_version_id", _ROW_ID, sa.ForeignKey("subject_version.id")),
        sa.Column("instance_id", _ROW_ID, sa.ForeignKey("instance.id")),
        sa.Column("variant", sa.Text),
        sa.Column("partition_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("lease_token", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", _TIME),
        sa.UniqueConstraint("target", "subject_version_id"),
        sa.UniqueConstraint("target", "instance_id", "variant"),
        sa.CheckConstraint("state IN ('pending', 'leased', 'done', 'verified', 'parked', 'superseded')", name="delivery_state"),
    )
    waiting = sa.text("state IN ('pending', 'leased')")
    op.create_index(
        "delivery_waiting", "delivery", ["target", "partition_key", "id"], sqlite_where=waiting, postgresql_where=waiting
    )
    # What a target holds, so that unchanged content is never sent again.
    op.create_table(
        "published",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("resource_type", sa.Text, primary_key=True),
        sa.Column("resource_id", sa.Text, primary_key=True),
        sa.Column("version_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
    )
