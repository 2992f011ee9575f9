"""What integration tests share: a ledger in each database that one may be kept in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.spool.ledger import Ledger
from tests.integration.ledgers import QUIET


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    sqlite = f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = Ledger(url, QUIET)
    opened.migrate()
    yield opened
    opened.close()
