"""Decisions of people: their rows, what they change, and why an instance is held.

``instance.state`` learns ``variant``. SQLite cannot change a check constraint, so there the table is built anew; the migration runs
with foreign keys off (see :meth:`gateway.database.Database.migrate`), as https://www.sqlite.org/lang_altertable.html#otheralter asks for.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()
_STATES = "state IN ('received', 'normalised', 'quarantined', 'conflict', 'variant')"
#: Why a conflict is one: its patient id, its content, or that its content has not been compared yet.
_HELD = "(held_for IS NULL) = (state <> 'conflict') AND (held_for IS NULL OR held_for IN ('patient', 'content', 'comparison'))"
_COPIED = "id, series_id, sop_instance_uid, digest, day, size_bytes, state, reason, crashes, lease_token, lease_until"
#: What has a record was read and then held for its patient id; what has none arrived as another content of its UID.
_GUESS = """CASE WHEN state <> 'conflict' THEN NULL
  WHEN EXISTS (SELECT 1 FROM record r WHERE r.instance_id = instance.id) THEN 'patient' ELSE 'comparison' END"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_instance()
    else:
        _alter_instance()
    _index_instance()
    _shared()
    _subjects()
    _decisions()


def _rebuild_instance() -> None:
    op.create_table(
        "instance_new",
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
        sa.Column("held_for", sa.Text),
        sa.UniqueConstraint("sop_instance_uid", "digest"),
        sa.CheckConstraint(_STATES, name="instance_state"),
        sa.CheckConstraint(_HELD, name="instance_held_for"),
    )
    op.execute(f"INSERT INTO instance_new ({_COPIED}, held_for) SELECT {_COPIED}, {_GUESS} FROM instance")  # noqa: S608 - constants of this file
    op.drop_table("instance")
    op.rename_table("instance_new", "instance")
    op.create_index("instance_digest", "instance", ["digest"])
    op.create_index("instance_series", "instance", ["series_id"])
    op.create_index("instance_day", "instance", ["day"])
    waiting = sa.text("state = 'received'")
    op.create_index("instance_waiting", "instance", ["id"], sqlite_where=waiting)


def _alter_instance() -> None:
    op.add_column("instance", sa.Column("held_for", sa.Text))
    op.execute(f"UPDATE instance SET held_for = {_GUESS} WHERE state = 'conflict'")  # noqa: S608 - constants of this file
    op.drop_constraint("instance_state", "instance", type_="check")
    op.create_check_constraint("instance_state", "instance", _STATES)
    op.create_check_constraint("instance_held_for", "instance", _HELD)
    op.drop_index("instance_current", "instance")


def _index_instance() -> None:
    # One content of a SOP Instance UID is in force: worked on, published, or held for its patient id. Any other is no second member.
    current = sa.text("state IN ('received', 'normalised') OR held_for = 'patient'")
    op.create_index(
        "instance_current", "instance", ["sop_instance_uid"], unique=True, sqlite_where=current, postgresql_where=current
    )
    comparing = sa.text("held_for = 'comparison'")
    op.create_index("instance_comparing", "instance", ["id"], sqlite_where=comparing, postgresql_where=comparing)


def _shared() -> None:
    # original_key is what the header says; patient_key is what holds, changed by decisions of people only.
    op.add_column("shared", sa.Column("original_key", sa.Text, nullable=False, server_default=""))
    op.execute("UPDATE shared SET original_key = patient_key")
    op.create_index("shared_study", "shared", ["study_uid"])


def _subjects() -> None:
    # changes counts what happened to a subject: gathering clears its timer only if nothing did since it was leased.
    for table in ("study", "dossier"):
        op.add_column(table, sa.Column("changes", sa.BigInteger, nullable=False, server_default="0"))
    # What the decisions in force come to: the patient that a person named, and whether the study must not be published.
    op.add_column("study", sa.Column("decided_key", sa.Text))
    op.add_column("study", sa.Column("withdrawn", sa.Integer, nullable=False, server_default="0"))


def _decisions() -> None:
    # One row for each decision, never changed afterwards; an undo is a row too.
    op.create_table(
        "decision",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("study_uid", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("moved", sa.Text, nullable=False),  # JSON list: the keys of the headers that are moved
        sa.Column("to_key", sa.Text),  # the patient they are moved to
        sa.Column("subject_key", sa.Text),  # the study's patient from then on
        sa.Column("sop_instance_uid", sa.Text),  # content: of which object ...
        sa.Column("digest", sa.LargeBinary),  # ... which content is in force
        sa.Column("former_digest", sa.LargeBinary),  # ... instead of which
        sa.Column("undoes", _ROW_ID, sa.ForeignKey("decision.id"), unique=True),
        sa.CheckConstraint("kind IN ('accept', 'content', 'reassign', 'withdraw', 'undo')", name="decision_kind"),
    )
    op.create_index("decision_study", "decision", ["study_uid"])
    # The dossiers that a decision concerned: they tell of it.
    op.create_table(
        "decision_dossier",
        sa.Column("decision_id", _ROW_ID, sa.ForeignKey("decision.id"), primary_key=True),
        sa.Column("patient_key", sa.Text, primary_key=True),
    )
    op.create_index("decision_dossier_patient", "decision_dossier", ["patient_key"])
