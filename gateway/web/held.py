"""What waits for a person, gathered by reason, so that a thousand objects with one fault are one line. Pure but for the ledger it asks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from gateway.model import JsonObject
from gateway.spool.overview import Overview

Kind = Literal["conflict", "shadowed", "quarantined", "parked", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Items that wait for one reason."""

    kind: Kind
    reason: str
    where: str  #: study UID, target, or nothing
    items: tuple[JsonObject, ...]
    more: bool = False  #: there may be more than were fetched

    @property
    def ids(self) -> list[int]:
        return [item["id"] for item in self.items if "id" in item]

    @property
    def studies(self) -> list[str]:
        """UIDs of the studies it is about, each once."""
        return list(dict.fromkeys(str(item["study_uid"]) for item in self.items if item.get("study_uid")))


def held_groups(overview: Overview, *, limit: int) -> list[Held]:
    """Conflicts first: a wrong patient is worse than a late fact."""
    groups: dict[tuple[Kind, str, str], list[JsonObject]] = defaultdict(list)
    conflicts, quarantined = overview.instances("conflict", limit=limit), overview.instances("quarantined", limit=limit)
    shadowed = overview.instances("shadowed", limit=limit)
    parked = overview.deliveries("parked", limit=limit)
    cut = {"conflict": len(conflicts) == limit, "quarantined": len(quarantined) == limit, "parked": len(parked) == limit}
    cut["shadowed"] = len(shadowed) == limit
    for item in conflicts:
        groups["conflict", str(item["reason"] or ""), str(item["study_uid"])].append(item)
    for item in shadowed:
        groups["shadowed", str(item["reason"] or ""), ""].append(item)
    for item in quarantined:
        groups["quarantined", str(item["reason"] or ""), ""].append(item)
    for item in parked:
        groups["parked", str(item["reason"] or ""), str(item["target"])].append(item)
    for item in overview.problems():
        groups["problem", str(item["problem"]), ""].append({**item, "study_uid": _study_of(item)})
    return [
        Held(kind=kind, reason=reason, where=where, items=tuple(items), more=cut.get(kind, False))
        for (kind, reason, where), items in groups.items()
    ]


def _study_of(item: JsonObject) -> str:
    return str(item.get("subject_key") or "") if item.get("kind") == "study" else ""
