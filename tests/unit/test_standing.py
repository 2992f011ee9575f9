"""What the decisions of people come to."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.spool.standing import OTHER_PATIENT, TWO_PATIENTS, Decision, DecisionKind, hold_reason, standing, subject_of


def decision(number: int, kind: DecisionKind, **more: Any) -> Decision:
    words: dict[str, Any] = {"study_uid": "1.2", "reason": "because", "decided_by": "somebody", "decided_at": float(number)}
    return Decision(id=number, kind=kind, **words, **more)


def test_without_decisions_every_key_is_its_own() -> None:
    now = standing([])
    assert (now.effective("sys|A"), now.subject_key, now.withdrawn) == ("sys|A", None, False)


def test_a_later_decision_beats_an_earlier_one() -> None:
    now = standing(
        [
            decision(1, DecisionKind.ACCEPT, moved=("sys|B",), to_key="sys|A", subject_key="sys|A"),
            decision(2, DecisionKind.REASSIGN, moved=("sys|A", "sys|B"), to_key="sys|C", subject_key="sys|C"),
        ]
    )
    assert [now.effective(key) for key in ("sys|A", "sys|B", "sys|D")] == ["sys|C", "sys|C", "sys|D"]
    assert now.subject_key == "sys|C"


def test_what_is_undone_counts_for_nothing_and_can_be_decided_again() -> None:
    rows = [decision(1, DecisionKind.WITHDRAW), decision(2, DecisionKind.UNDO, undoes=1)]
    assert not standing(rows).withdrawn
    assert standing([*rows, decision(3, DecisionKind.WITHDRAW)]).withdrawn


def test_undoing_the_latest_leaves_the_one_before_it_in_force() -> None:
    now = standing(
        [
            decision(1, DecisionKind.ACCEPT, moved=("sys|B",), to_key="sys|A", subject_key="sys|A"),
            decision(2, DecisionKind.REASSIGN, moved=("sys|A", "sys|B"), to_key="sys|C", subject_key="sys|C"),
            decision(3, DecisionKind.UNDO, undoes=2),
        ]
    )
    assert (now.effective("sys|A"), now.effective("sys|B"), now.subject_key) == ("sys|A", "sys|A", "sys|A")


def test_the_larger_group_is_the_subject_until_a_person_names_one() -> None:
    assert subject_of({"sys|B": 3, "sys|A": 2}) == "sys|B"
    assert subject_of({"sys|B": 2, "sys|A": 2}) == "sys|A"
    assert subject_of({"sys|B": 3, "sys|A": 2}, "sys|A") == "sys|A"
    assert subject_of({"sys|B": 3}, "sys|nobody here") == "sys|B"


def test_the_reason_for_holding_tells_a_rule_from_a_decision() -> None:
    assert hold_reason("sys|B", {}) == TWO_PATIENTS
    assert hold_reason("sys|B", {"sys|A": "sys|B"}) == OTHER_PATIENT


@given(st.lists(st.sampled_from(["accept", "withdraw", "undo"]), max_size=12))
def test_undoing_everything_restores_the_rules(kinds: list[str]) -> None:
    rows: list[Decision] = []
    for number, kind in enumerate(kinds, 1):
        in_force = standing(rows).in_force
        if kind == "undo" and in_force:
            rows.append(decision(number, DecisionKind.UNDO, undoes=in_force[-1].id))
        elif kind == "accept":
            rows.append(decision(number, DecisionKind.ACCEPT, moved=("sys|B",), to_key="sys|A", subject_key="sys|A"))
        elif kind == "withdraw":
            rows.append(decision(number, DecisionKind.WITHDRAW))
    number = len(kinds)
    while last := standing(rows).in_force:
        number += 1
        rows.append(decision(number, DecisionKind.UNDO, undoes=last[-1].id))
    assert standing(rows) == standing([])
