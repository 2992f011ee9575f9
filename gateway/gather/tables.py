"""Administrations that only a table of a dosimetry workstation tells, and which of the facts of reports and headers they are.

After ``reconcile``: what reports and headers told is settled by then. The same tolerances hold, with exactly one candidate on each
side; a fact that holds a table already, by event UID, takes no further part. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.gather.facts import Fact
from gateway.gather.readings import Account, Source, account, injection
from gateway.model import Issue, Severity
from gateway.nuclear.sameness import gap, may_be_one

FIELD = "administration"


def with_tables(facts: Sequence[Fact], tables: Sequence[Account]) -> list[Fact]:
    """The facts, each with the table that surely tells of the same, and the tables that stay alone."""
    free = [index for index, fact in enumerate(facts) if Source.TABLE not in fact.account.sources]
    fitting = {table.names: [index for index in free if _fits(table, facts[index].account)] for table in tables}
    wanted = {index: [names for names, found in fitting.items() if index in found] for index in free}
    made = dict(enumerate(facts))
    alone: list[Fact] = []
    for table in tables:
        found = fitting[table.names]
        if len(found) == 1 and len(wanted[found[0]]) == 1:
            made[found[0]] = _joined(facts[found[0]], table)
        else:
            alone.append(Fact(account=table, issues=(_SEVERAL,) if found else ()))
    return [*made.values(), *alone]


def _fits(table: Account, other: Account) -> bool:
    return may_be_one(table.injection, injection(other.of(min(other.sources))))


def _joined(fact: Fact, table: Account) -> Fact:
    best = min(fact.account.sources)
    words = gap(table.injection, injection(fact.account.of(best))).words()
    other = "a dose report" if best is Source.REPORT else "image headers"
    reason = f"A table and {other} were taken as one administration; the table tells of it {words}. Its own values count less."
    if best is Source.IMAGE:
        reason = f"A table and {other} were taken as one administration; the table tells of it {words}. The table is published."
    readings = [*fact.account.readings, *table.readings]
    names = [*fact.account.facts, *table.facts]
    note = Issue(field=FIELD, reason=reason, severity=Severity.WARNING)
    return replace(fact, account=account(readings, names), reconciled=True, issues=(*fact.issues, note))


_SEVERAL = Issue(
    field=FIELD,
    reason="A table tells of an administration that may be one of several others, or several tables of one: kept apart.",
    severity=Severity.WARNING,
)
