"""How an object came, from a row that carries the arrival which brought its content first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from gateway.model import UNKNOWN, Came


def came_of(row: sa.Row[Any]) -> Came:
    """How the content came first: a re-send later changes nothing of what is read."""
    if row.door is None:
        return UNKNOWN
    received_at = dt.datetime.fromtimestamp(row.received_at, dt.UTC)
    return Came(
        calling_ae=row.calling_ae,
        called_ae=row.called_ae,
        received_at=received_at.strftime("%Y%m%d%H%M%S.%f+0000"),
        door=row.door,
    )
