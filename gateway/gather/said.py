"""What people said about the facts of a dossier: that cycles are complete, whose a table is, and what of it they took back. For a
Provenance of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.gather.readings import accounts
from gateway.model import DeclaredCycles, Dossier, JsonObject, PersonsWord
from gateway.spool.tables import TableDecision, TableDecisionKind, TablePart

_MOST_ROWS = 20


def declared(dossier: Dossier, declarations: Sequence[DeclaredCycles], known: Mapping[str, str]) -> Iterator[PersonsWord]:
    """Of each declaration: the sums over it, and the administrations that it calls all cycles; and who took it back.

    ``known``: the names of facts that were minted before, also of those that hold no longer, and their keys.
    """
    for one in declarations:
        sources: tuple[JsonObject, ...] = tuple(
            {"identifier": {"system": "urn:isobridge:administration", "value": key}} for key in one.administrations
        )
        if not one.withdrawn:
            sums = (item.key for item in dossier.results if any(name.startswith(f"declared|{one.id}|") for name in item.aliases))
            yield PersonsWord(
                key=f"declared|{one.id}",
                activity="attest",
                words="Cycles of a therapy declared complete",
                reason=one.reason,
                decided_by=one.decided_by,
                decided_at=one.decided_at,
                facts=(*sums, *one.administrations),
                sources=sources,
            )
            continue
        yield PersonsWord(
            key=f"undeclared|{one.id}",
            activity="deprecate",
            words="Declaration that the cycles of a therapy are complete taken back",
            reason=one.withdrawn_reason,
            decided_by=one.withdrawn_by,
            decided_at=one.withdrawn_at,
            facts=(*_named(known, f"declared|{one.id}|"), *one.administrations),
            sources=sources,
        )


def decided_tables(
    dossier: Dossier,
    parts: Sequence[TablePart],
    decisions: Mapping[int, Sequence[TableDecision]],
    known: Mapping[str, str],
) -> Iterator[PersonsWord]:
    """Of each table that a person assigned, withdrew or restored: the facts that it told, and the rows that they stand in."""
    for part in parts:
        made = decisions.get(part.id, ())
        assigned = [one for one in made if one.kind is TableDecisionKind.ASSIGN]
        if assigned and made[-1].kind is not TableDecisionKind.WITHDRAW:
            uid = str(part.fields.document.get("uid") or "")
            own = tuple(item.key for item in dossier.results if item.document == uid)
            yield _word(part, assigned[-1], "assigned", own)
        for one in made:
            if one.kind is TableDecisionKind.WITHDRAW:
                yield _word(part, one, "withdrawn", _told_by(part, known))
            elif one.kind is TableDecisionKind.RESTORE:
                yield _word(part, one, "restored", _told_by(part, known))


#: What became of a table: the activity in the words of ISO 21089, and a sentence.
_WORDS = {
    "assigned": ("link", "Table assigned to a patient and an administration"),
    "withdrawn": ("deprecate", "Table withdrawn"),
    "restored": ("reactivate", "Table that was withdrawn counts again"),
}


def _word(part: TablePart, decision: TableDecision, what: str, facts: tuple[str, ...]) -> PersonsWord:
    rows = dict.fromkeys(place.partition(", column")[0] for place in part.fields.sources.values())
    shown = "; ".join([*list(rows)[:_MOST_ROWS], *(["..."] if len(rows) > _MOST_ROWS else [])])
    table: JsonObject = {"identifier": {"system": "urn:isobridge:table", "value": part.digest}}
    activity, words = _WORDS[what]
    return PersonsWord(
        key=f"{what}|{decision.id}",
        activity=activity,
        words=words,
        reason=decision.reason,
        decided_by=decision.decided_by,
        decided_at=decision.decided_at,
        facts=facts,
        sources=({**table, "display": shown} if shown else table,),
    )


def _told_by(part: TablePart, known: Mapping[str, str]) -> tuple[str, ...]:
    """The facts that a table ever told, also administrations that it created, whether they hold or not."""
    names = [name for one in accounts([part.fields]) for name in one.names]
    own = (known[name] for name in names if name in known)
    return (*_named(known, f"document|{part.fields.document.get('uid')}|"), *own)


def _named(known: Mapping[str, str], start: str) -> tuple[str, ...]:
    return tuple(sorted({key for name, key in known.items() if name.startswith(start)}))
