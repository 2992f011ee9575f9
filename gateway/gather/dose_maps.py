"""What a dose map (RT Dose) leaves to others: the names of its regions, and the administration that made it.

A histogram names its region by a number of a structure set (PS3.3 C.8.8.4). The name stands in the RT Structure Set, which may come later,
or never: then the number stays. No attribute of RT Dose names an administration (standards.md A.10): the study and the frame of reference
lead to it, when they lead to exactly one. A dose that leads to none may be one of external beams, so its numbers are not published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gateway.gather.documents import Told
from gateway.model import Issue, JsonObject, Severity, SharedFields
from gateway.nuclear.results import KINDS, PLACE

RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
#: Kinds of which a dose map tells without numbers of dose.
_WITHOUT_NUMBERS = frozenset({"dose-grid"})
#: (structure set, ROI number) -> region and laterality
Names = Mapping[tuple[str, int], JsonObject]


def structure_names(records: Iterable[SharedFields]) -> Names:
    """The regions of all structure sets that the patient's records hold. One that two sets of one UID name differently has no name."""
    found: dict[tuple[str, int], list[JsonObject]] = defaultdict(list)
    for shared in records:
        uid = (shared.series.get("structure_set") or {}).get("uid")
        for item in shared.series.get("structures") or ():
            if uid and item.get("number") is not None and item.get("name"):
                told = {"region": item.get("region") or {"text": item["name"]}, "laterality": item.get("laterality")}
                found[str(uid), int(item["number"])].append({name: value for name, value in told.items() if value})
    return {key: told[0] for key, told in found.items() if all(one == told[0] for one in told)}


def with_names(told: Sequence[Told], records: Iterable[SharedFields]) -> list[Told]:
    """The documents with the regions of their results named, where a structure set names them.

    ``PLACE`` stays with a result as the name that it has before and after.
    """
    if not any("segment" in fields for one in told for fields in one.shared.results):
        return list(told)
    names = structure_names(records)
    return [
        replace(one, shared=replace(one.shared, results=tuple(_named(fields, names) for fields in one.shared.results)))
        for one in told
    ]


def _named(fields: JsonObject, names: Names) -> JsonObject:
    segment = fields.get("segment") or {}
    number, uid = segment.get("number"), segment.get("sop_instance_uid")
    if number is None or fields.get("region"):
        return fields
    found = names.get((str(uid), int(number)), {}) if uid else {}
    return {**fields, **found, PLACE: f"{uid or ''}#{number}"}


def frames_of_reference(records: Iterable[SharedFields], bound: Mapping[tuple[str, int], str]) -> dict[str, frozenset[str]]:
    """Frame of Reference UID -> the administrations of which images in it tell. ``bound`` as for gathering results."""
    found: dict[str, set[str]] = defaultdict(set)
    for shared in records:
        uid = shared.series.get("frame_of_reference")
        for index in range(len(shared.administrations) if uid else 0):
            if (key := bound.get((shared.key, index))) is not None:
                found[str(uid)].add(key)
    return {uid: frozenset(keys) for uid, keys in found.items()}


def unlinked(fields: JsonObject, document: Told, administration: str | None) -> Issue | None:
    """Why a number of a dose map is not published: it leads to no administration."""
    if administration is not None or document.fields.get("class_uid") != RT_DOSE or fields["kind"] in _WITHOUT_NUMBERS:
        return None
    kind = KINDS[fields["kind"]]
    reason = (
        f"{kind.title} of a dose map is withheld: neither its study nor its frame of reference leads to one administration, so it "
        "may be of external beams."
    )
    return Issue(field=kind.name, reason=reason, severity=Severity.WARNING)
