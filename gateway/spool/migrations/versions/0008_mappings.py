"""The life of mappings: which version is in force, what is in shadow until a person approves it, what is to be mapped again.

``instance.state`` learns ``shadowed``, and ``instance.replay`` names the replay that an instance waits for. SQLite cannot change a check
constraint, so there the table is built anew, as in 0002. Scanners that are known already count as approved.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from gateway.spool.scanner import Scanner

revision = "0008"
down_revision = "0007"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: sa.Double[float] = sa.Double()
_STATES = "state IN ('received', 'normalised', 'quarantined', 'conflict', 'variant', 'shadowed')"
#: Why it is held. Of what is in shadow: ``mapping:<name>`` or ``scanner:<id>``.
_HELD = """(held_for IS NULL) = (state NOT IN ('conflict', 'shadowed'))
  AND (state <> 'conflict' OR held_for IN ('patient', 'content', 'comparison'))"""
_COPIED = "id, series_id, sop_instance_uid, digest, day, size_bytes, state, reason, crashes, lease_token, lease_until, held_for"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_instance()
    else:
        op.add_column("instance", sa.Column("replay", _ROW_ID))
        for name, rule in (("instance_state", _STATES), ("instance_held_for", _HELD)):
            op.drop_constraint(name, "instance", type_="check")
            op.create_check_constraint(name, "instance", rule)
        op.drop_index("instance_current", "instance")
        op.drop_index("instance_comparing", "instance")
    _index_instance()
    _history()
    _shadow()
    _replay()


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
        sa.Column("replay", _ROW_ID),
        sa.UniqueConstraint("sop_instance_uid", "digest"),
        sa.CheckConstraint(_STATES, name="instance_state"),
        sa.CheckConstraint(_HELD, name="instance_held_for"),
    )
    op.execute(f"INSERT INTO instance_new ({_COPIED}) SELECT {_COPIED} FROM instance")  # noqa: S608 - constants of this file
    op.drop_table("instance")
    op.rename_table("instance_new", "instance")
    op.create_index("instance_digest", "instance", ["digest"])
    op.create_index("instance_series", "instance", ["series_id"])
    op.create_index("instance_day", "instance", ["day"])
    waiting = sa.text("state = 'received'")
    op.create_index("instance_waiting", "instance", ["id"], sqlite_where=waiting)


def _index_instance() -> None:
    # One content of a SOP Instance UID is in force: worked on, published, in shadow, or held for its patient id.
    current = sa.text("state IN ('received', 'normalised', 'shadowed') OR held_for = 'patient'")
    op.create_index(
        "instance_current", "instance", ["sop_instance_uid"], unique=True, sqlite_where=current, postgresql_where=current
    )
    comparing = sa.text("held_for = 'comparison'")
    op.create_index("instance_comparing", "instance", ["id"], sqlite_where=comparing, postgresql_where=comparing)
    again = sa.text("replay IS NOT NULL")
    op.create_index("instance_replay", "instance", ["id"], sqlite_where=again, postgresql_where=again)
    shadowed = sa.text("state = 'shadowed'")
    op.create_index("instance_shadowed", "instance", ["held_for"], sqlite_where=shadowed, postgresql_where=shadowed)


def _history() -> None:
    # Which mappings were put in force, when, by whom and why. The newest row is in force; rows are never changed.
    op.create_table(
        "mappings_in_force",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("put_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('first', 'deploy', 'rollback')", name="mappings_in_force_kind"),
    )


def _shadow() -> None:
    # Every scanner that something came from. Nothing of one that nobody approved is published, if the site wants that.
    scanner = op.create_table(
        "scanner",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("manufacturer", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
        sa.Column("station", sa.Text, nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("approved_at", _TIME),
        sa.Column("approved_by", sa.Text),
        sa.Column("reason", sa.Text),
    )
    # A mapping in shadow, in the version that somebody has to look at: a changed one is looked at again.
    op.create_table(
        "mapping_approval",
        sa.Column("mapping", sa.Text, primary_key=True),
        sa.Column("mapping_version", sa.Text, primary_key=True),
        sa.Column("approved_at", _TIME),
        sa.Column("approved_by", sa.Text),
        sa.Column("reason", sa.Text),
    )
    known = {item.key: item for item in _known_scanners()}
    if known:
        op.bulk_insert(
            scanner,
            [
                {
                    **item.as_row(),
                    "first_at": 0.0,
                    "approved_at": 0.0,
                    "approved_by": "-",
                    "reason": "known before scanners were listed",
                }
                for item in known.values()
            ],
        )


def _known_scanners() -> Iterator[Scanner]:
    for (body,) in op.get_bind().execute(sa.text("SELECT body FROM shared")):
        content: dict[str, Any] = json.loads(zlib.decompress(bytes(body)))
        yield Scanner.of(content.get("device") or {})


def _replay() -> None:
    # One request to map again what is there. Its instances carry its id until they are done.
    op.create_table(
        "replay",
        sa.Column("id", _ROW_ID, primary_key=True),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("changed", sa.BigInteger, nullable=False, server_default="0"),
    )
    # What could not be mapped again and why; its former record stays.
    op.create_table(
        "replay_problem",
        sa.Column("replay_id", _ROW_ID, sa.ForeignKey("replay.id"), primary_key=True),
        sa.Column("instance_id", _ROW_ID, sa.ForeignKey("instance.id"), primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
    )
