"""What people said about the facts of a dossier: that cycles are complete, whose a table is. For a Provenance of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.model import DeclaredCycles, Dossier, PersonsWord
from gateway.spool.tables import TableDecision, TableDecisionKind, TablePart

_MOST_ROWS = 20


def declared(dossier: Dossier, declarations: Sequence[DeclaredCycles]) -> Iterator[PersonsWord]:
    """Of each declaration: the sums over it, and the administrations that it calls all cycles."""
    for one in declarations:
        sums = (item.key for item in dossier.results if any(name.startswith(f"declared|{one.id}|") for name in item.aliases))
        yield PersonsWord(
            key=f"declared|{one.id}",
            activity="attest",
            words="Cycles of a therapy declared complete",
            reason=one.reason,
            decided_by=one.decided_by,
            decided_at=one.decided_at,
            facts=(*sums, *one.administrations),
            sources=tuple(
                {"identifier": {"system": "urn:isobridge:administration", "value": key}} for key in one.administrations
            ),
        )


def assigned(
    dossier: Dossier, parts: Sequence[TablePart], decisions: Mapping[int, Sequence[TableDecision]]
) -> Iterator[PersonsWord]:
    """Of each table that a person assigned: the facts that it told, and the rows that they stand in."""
    for part in parts:
        told = [one for one in decisions.get(part.id, ()) if one.kind is TableDecisionKind.ASSIGN]
        if not told:
            continue
        uid = str(part.fields.document.get("uid") or "")
        rows = dict.fromkeys(place.partition(", column")[0] for place in part.fields.sources.values())
        shown = "; ".join([*list(rows)[:_MOST_ROWS], *(["..."] if len(rows) > _MOST_ROWS else [])])
        table = {"identifier": {"system": "urn:isobridge:table", "value": part.digest}}
        yield PersonsWord(
            key=f"assigned|{told[-1].id}",
            activity="link",
            words="Table assigned to a patient and an administration",
            reason=told[-1].reason,
            decided_by=told[-1].decided_by,
            decided_at=told[-1].decided_at,
            facts=tuple(item.key for item in dossier.results if item.document == uid),
            sources=({**table, "display": shown} if shown else table,),
        )
