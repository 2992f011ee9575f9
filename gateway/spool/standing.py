"""What the decisions of people about a study come to: a pure fold over their rows, oldest first. Decisions beat the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

TWO_PATIENTS = (
    "This study holds objects of more than one patient id. Those of the smaller group are held back until a person decides."
)
OTHER_PATIENT = "By a person's decision this object belongs to another patient than the study; an ImagingStudy has one subject."


class DecisionKind(StrEnum):
    ACCEPT = "accept"  #: what is held for its patient id belongs to the study's patient
    CONTENT = "content"  #: of several contents of one SOP Instance UID this one is right
    REASSIGN = "reassign"  #: the study, or what is held of it, belongs to another patient
    WITHDRAW = "withdraw"  #: the study must not be published
    UNDO = "undo"  #: an earlier decision no longer holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of a person. Never changed afterwards; what undoes it is a decision of its own."""

    id: int
    study_uid: str
    kind: DecisionKind
    reason: str
    decided_by: str
    decided_at: float
    moved: tuple[str, ...] = ()  #: patient keys, as the headers give them, that are moved to ``to_key``
    to_key: str | None = None
    subject_key: str | None = None  #: the study's patient from then on
    sop_instance_uid: str | None = None
    digest: str | None = None  #: the content in force from then on ...
    former_digest: str | None = None  #: ... instead of this one
    undoes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds for one study now."""

    keys: Mapping[str, str] = field(default_factory=dict)  #: the key a header gives -> the key that holds
    subject_key: str | None = None  #: None: the rule of the larger group decides
    withdrawn: bool = False
    in_force: tuple[Decision, ...] = ()

    def effective(self, original_key: str) -> str:
        return self.keys.get(original_key, original_key)


def standing(decisions: Sequence[Decision]) -> Standing:
    """Fold the decisions of one study, oldest first. Those that were undone count for nothing."""
    undone = {decision.undoes for decision in decisions}
    in_force = tuple(item for item in decisions if item.id not in undone and item.kind is not DecisionKind.UNDO)
    keys: dict[str, str] = {}
    subject: str | None = None
    for decision in in_force:
        if decision.to_key is not None:
            keys.update(dict.fromkeys(decision.moved, decision.to_key))
        subject = decision.subject_key or subject
    return Standing(
        keys=keys,
        subject_key=subject,
        withdrawn=any(item.kind is DecisionKind.WITHDRAW for item in in_force),
        in_force=in_force,
    )


def subject_of(counts: Mapping[str, int], decided: str | None = None) -> str:
    """Whose a study is: the patient that a person named, if any object is theirs; else of the larger group, on a tie the smaller key.

    ``counts`` holds at least one patient key with its number of objects.
    """
    if decided is not None and decided in counts:
        return decided
    return min(counts, key=lambda key: (-counts[key], key))


def hold_reason(patient_key: str, keys: Mapping[str, str]) -> str:
    """Why an object of this patient is held in a study of another one."""
    return OTHER_PATIENT if patient_key in keys.values() else TWO_PATIENTS
