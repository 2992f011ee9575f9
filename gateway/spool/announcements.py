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
    if undone is not None:
        _take_back(connection, sql, undone, holds, told)
        if concerned or undone.kind is DecisionKind.WITHDRAW:
            concerned |= set(holds.keys)
    for key in sorted(concerned):
        if holds.effective(key) != key:
            connection.execute(sql["tell_reassigned"], {**told, "original_key": key})


def _take_back(
    connection: Connection, sql: Mapping[str, sa.TextClause], undone: Decision, holds: Standing, told: Mapping[str, object]
) -> None:
    """Whoever may have been told what holds no longer gets the image once more; whoever was not is not told any longer."""
    if undone.kind is DecisionKind.WITHDRAW:
        connection.execute(sql["again_after_withdrawal"], told)
    for key in sorted({*undone.moved, *holds.keys}):
        if holds.effective(key) == key:
            connection.execute(sql["again_after_reassignment"], {**told, "original_key": key})
    if undone.kind is DecisionKind.WITHDRAW or undone.moved:
        variant = "withdrawn" if undone.kind is DecisionKind.WITHDRAW else "reassigned"
        connection.execute(sql["untell"], {"study_uid": told["study_uid"], "variant": variant})


def tell_of_content(
    connection: Connection, sql: Mapping[str, sa.TextClause], former_id: int, chosen_id: int | None, *, now: float
) -> None:
    """The former content of an object is withdrawn where it was delivered; the one in force goes there behind that.

    In a withdrawn study it goes nowhere until the withdrawal is undone.
    """
    connection.execute(sql["unsend"], {"id": former_id})
    connection.execute(sql["tell_content"], {"former_id": former_id, "now": now})
    if chosen_id is None:
        return
    sent = {"former_id": former_id, "id": chosen_id, "now": now}
    if connection.execute(sql["content_withdrawn"], {"id": chosen_id}).scalar():
        connection.execute(sql["keep_content"], sent)
        return
    connection.execute(sql["untell_content"], {"id": chosen_id})
    connection.execute(sql["send_content"], sent)
    connection.execute(sql["tell_content_reassigned"], {"id": chosen_id, "now": now})
