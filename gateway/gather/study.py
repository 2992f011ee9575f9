"""One study from the records of its instances."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.gather.choose import by_majority
from gateway.gather.suv import suv_factor
from gateway.gather.suv_reports import other_account, with_remark
from gateway.model import JsonObject, Series, SharedFields, Study
from gateway.spool.standing import Standing, hold_reason, subject_of

_UNDECIDED = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One instance as gathering sees it. ``member_id`` is whatever the caller knows it by; ``patient_key`` is what holds for it."""

    member_id: int
    patient_key: str
    shared: SharedFields
    instance: JsonObject
    held: bool = False


def gather_study(uid: str, members: Sequence[Member], decided: Standing = _UNDECIDED) -> Study:
    """Gather a study. Needs at least one member.

    Two patient keys under one study: the one that a person named is the subject, else the larger group (on a tie the smaller key).
    The others are held, not merged.
    """
    groups = Counter(member.patient_key for member in members)
    subject = subject_of(groups, decided.subject_key)
    ours = [member for member in members if member.patient_key == subject]
    series = _gather_series(ours)
    fields = by_majority((dict(shared.study), weight) for shared, weight in _weights(ours))
    return Study(
        uid=uid,
        patient_key=subject,
        fields={
            **fields,
            "uid": uid,
            "modalities": sorted({str(item.fields["modality"]) for item in series if item.fields.get("modality")}),
            "number_of_series": len(series),
            "number_of_instances": sum(len(item.instances) for item in series),
        },
        series=series,
        mappings=tuple(sorted({member.shared.mapping for member in ours})),
        mapping_versions=tuple(sorted({_mapping_version(member.shared) for member in ours})),
        hold={m.member_id: hold_reason(m.patient_key, decided.keys) for m in members if m.patient_key != subject and not m.held},
        release=tuple(m.member_id for m in ours if m.held),
        other_patients=frozenset(groups) - {subject},
    )


def _mapping_version(shared: SharedFields) -> str:
    return f"{shared.mapping}@{shared.mapping_version}"


def _weights(members: Iterable[Member]) -> list[tuple[SharedFields, int]]:
    """Each distinct set of shared fields with the number of instances that carry it."""
    counts = Counter(member.shared.key for member in members)
    shared = {member.shared.key: member.shared for member in members}
    return [(shared[key], counts[key]) for key in sorted(counts)]


def _gather_series(ours: Sequence[Member]) -> tuple[Series, ...]:
    grouped: dict[str, list[Member]] = defaultdict(list)
    for member in ours:
        grouped[str(member.shared.series.get("uid", ""))].append(member)
    told = [shared for shared, _ in _weights(ours) if shared.administrations]
    return tuple(_one_series(uid, group, told) for uid, group in sorted(grouped.items(), key=_series_order))


def _series_order(item: tuple[str, list[Member]]) -> tuple[int, str]:
    uid, group = item
    numbers = [number for member in group if isinstance(number := member.shared.series.get("number"), int)]
    return (min(numbers, default=2**31), uid)


def _one_series(uid: str, members: Sequence[Member], told: Sequence[SharedFields]) -> Series:
    weights = _weights(members)
    instances = sorted((member.instance for member in members), key=_instance_order)
    fields = by_majority((dict(shared.series), weight) for shared, weight in weights)
    own = [shared for shared, _ in weights]
    return Series(
        fields={**fields, "uid": uid, "number_of_instances": len(instances)},
        device=by_majority((dict(shared.device), weight) for shared, weight in weights),
        instances=tuple(instances),
        suv=with_remark(suv_factor(uid, own, instances), other_account(own, told)),
    )


def _instance_order(instance: JsonObject) -> tuple[int, str]:
    number = instance.get("number")
    return (number if isinstance(number, int) else 2**31, str(instance.get("uid", "")))
