"""A migrated SQLite database costs a fifth of a second, and hundreds of tests want one: each schema is made once and copied.

Migrations themselves are tested where they are the subject: a database that is there already, PostgreSQL and every daemon that a
test starts take the real way.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.database import Database


def copy_instead_of_migrating(patch: pytest.MonkeyPatch, directory: Path) -> None:
    """From now on a SQLite database that is not there yet is a copy of one that was migrated before; these stand in ``directory``."""
    migrate = Database.migrate

    def migrated(self: Database, scripts: Path) -> None:
        database = self.engine.url.database
        if self.dialect != "sqlite" or not database or Path(database).exists():
            migrate(self, scripts)
            return
        ready = directory / f"{scripts.parent.name}.db"
        if not ready.exists():
            first = Database(f"sqlite:///{ready}")
            migrate(first, scripts)
            first.close()
        shutil.copyfile(ready, database)

    patch.setattr(Database, "migrate", migrated)
