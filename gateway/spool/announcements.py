"""What DICOM targets are told of a person's decision: deliveries behind those of the images they were given."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.spool.standing import Decision, DecisionKind, Standing


def tell_dicom_targets(
    connection: Connection,
    sql: Mapping[str, sa.TextClause],
    decision: Decision,
    undone: Decision | None,
    holds: Standing,
    *,
    now: float,
) -> None:
    """A delivery for each image that a DICOM target was given before, so that it hears of the decision.

    ``sql`` holds the statements of ``decisions.sql``; ``holds`` is what stands after the decision. While a study is withdrawn that is
    all a target needs to know; what else was decided is told when that is undone.
    """
    told = {"study_uid": decision.study_uid, "now": now}
    if holds.withdrawn:
        if decision.kind is DecisionKind.WITHDRAW:
            connection.execute(sql["untell"], {"study_uid": decision.study_uid, "variant": "reassigned"})
            connection.execute(sql["tell_withdrawn"], told)
        return
    concerned = set((undone or decision).moved)
    if undone is not None and undone.kind is DecisionKind.WITHDRAW:
        connection.execute(sql["untell"], {"study_uid": decision.study_uid, "variant": "withdrawn"})
        connection.execute(sql["again_after_withdrawal"], told)
        concerned |= set(holds.keys)
    elif undone is not None and concerned:
        connection.execute(sql["untell"], {"study_uid": decision.study_uid, "variant": "reassigned"})
        concerned |= set(holds.keys)
    for key in sorted(concerned):
        if holds.effective(key) != key:
            connection.execute(sql["tell_reassigned"], {**told, "original_key": key})
        elif undone is not None:
            connection.execute(sql["again_after_reassignment"], {**told, "original_key": key})


def tell_of_content(
    connection: Connection, sql: Mapping[str, sa.TextClause], former_id: int, chosen_id: int | None, *, now: float
) -> None:
    """The former content of an object is withdrawn where it was delivered; the one in force goes there behind that."""
    connection.execute(sql["tell_content"], {"former_id": former_id, "now": now})
    if chosen_id is not None:
        connection.execute(sql["send_content"], {"former_id": former_id, "id": chosen_id, "now": now})
