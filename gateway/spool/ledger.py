"""The ledger: what is known about every object, study, fact and delivery, and who works on it now.

The receiver, the workers and the pages meet here and nowhere else. Some rooms share one database; each is small enough to read:
:class:`~gateway.spool.intake.Intake`, :class:`~gateway.spool.stages.Stages`, :class:`~gateway.spool.subjects.Subjects`,
:class:`~gateway.spool.decisions.Decisions`, :class:`~gateway.spool.deliveries.Deliveries`, :class:`~gateway.spool.callers.Callers`,
:class:`~gateway.spool.shadows.Shadows`, :class:`~gateway.spool.replays.Replays`, :class:`~gateway.spool.history.MappingHistory`,
:class:`~gateway.spool.commitments.Commitments`, :class:`~gateway.spool.overview.Overview`, :class:`~gateway.spool.archive.Archive`,
:class:`~gateway.spool.studies.Studies`, :class:`~gateway.spool.declarations.Declarations`,
:class:`~gateway.spool.keeping.Keeping`, :class:`~gateway.spool.backfills.Backfills`, :class:`~gateway.spool.feeds.Feeds`.
"""

from __future__ import annotations

from pathlib import Path

from gateway.database import Database
from gateway.spool.archive import Archive
from gateway.spool.backfills import Backfills
from gateway.spool.callers import Callers
from gateway.spool.commitments import Commitments
from gateway.spool.decisions import Decisions
from gateway.spool.declarations import Declarations
from gateway.spool.deliveries import Deliveries
from gateway.spool.feeds import Feeds
from gateway.spool.history import MappingHistory
from gateway.spool.intake import Intake
from gateway.spool.keeping import Keeping
from gateway.spool.overview import Overview
from gateway.spool.replays import Replays
from gateway.spool.shadows import Shadows
from gateway.spool.stages import Stages
from gateway.spool.studies import Studies
from gateway.spool.subjects import Subjects
from gateway.spool.tables import Tables
from gateway.spool.timers import QuietPolicy, Timers

MIGRATIONS = Path(__file__).parent / "migrations"


class Ledger:
    """All rooms over one database. Opening it does not migrate; the supervisor does, once, before the roles start."""

    def __init__(self, url: str, quiet: QuietPolicy | None = None) -> None:
        self.database = Database(url)
        timers = Timers(self.database, quiet or QuietPolicy(quiet_secs=60, cap_secs=3600))
        self.intake = Intake(self.database)
        self.deliveries = Deliveries(self.database, timers)
        self.decisions = Decisions(self.database, timers)
        self.shadows = Shadows(self.database)
        self.stages = Stages(self.database, timers, self.decisions, self.deliveries, self.shadows)
        self.replays = Replays(self.database, timers, self.stages, self.shadows)
        self.mappings = MappingHistory(self.database)
        self.subjects = Subjects(self.database, timers)
        self.tables = Tables(self.database, timers)
        self.declarations = Declarations(self.database, timers)
        self.callers = Callers(self.database)
        self.commitments = Commitments(self.database)
        self.overview = Overview(self.database)
        self.archive = Archive(self.database)
        self.studies = Studies(self.database)
        self.keeping = Keeping(self.database)
        self.backfills = Backfills(self.database)
        self.feeds = Feeds(self.database)

    def migrate(self) -> None:
        """Bring the schema up to date. Raises :class:`~gateway.errors.Misconfigured` when a newer release wrote it."""
        self.database.migrate(MIGRATIONS)

    def close(self) -> None:
        self.database.close()
