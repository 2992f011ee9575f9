"""Across kinds of source: which account of the image headers and which of the dose reports tell of one injection.

Pure, a function of the whole set. The rule is design.md section 4: the same event UID (``readings`` has joined those); or the
same nuclide, exactly one candidate on each side, activity and start within tolerances (``nuclear.sameness``). Tolerance is not
transitive, so accounts are never chained: one of the images and one of the reports, or none. Two accounts of one kind of source
never meet here, whatever they say. What may be one but is not certain stays apart, and is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.gather.readings import Account, Source, account
from gateway.model import Issue, Severity
from gateway.nuclear.sameness import Gap, gap, may_be_one, same_nuclide

#: Accounts that stay apart are told of each other only when they are of one nuclide and lie this close together.
NEAR_S = 86400
FIELD = "administration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One administration: its account, and what a person should know about how it came together."""

    account: Account
    reconciled: bool = False
    issues: tuple[Issue, ...] = ()


def reconcile(told: Sequence[Account]) -> list[Fact]:
    """Join what may be one. Gives every account exactly once, alone or joined, in the order of their names."""
    images = [item for item in told if item.sources == {Source.IMAGE}]
    reports = [item for item in told if item.sources == {Source.REPORT}]
    certain = [Fact(account=item) for item in told if len(item.sources) > 1]
    candidates = _candidates(images, reports)
    pairs = [(image, partner) for image in images if (partner := _only_partner(image, candidates))]
    joined = {item.names for pair in pairs for item in pair}
    alone = [item for item in (*images, *reports) if item.names not in joined]
    apart = [Fact(account=item, issues=tuple(_apart(item, candidates[item.names], alone))) for item in alone]
    made = [*certain, *(_joined(image, report) for image, report in pairs), *apart]
    return sorted(made, key=lambda fact: fact.account.names)


def _only_partner(item: Account, candidates: dict[tuple[str, ...], list[Account]]) -> Account | None:
    """The one candidate of an account, when the account is its only candidate as well."""
    partners = candidates[item.names]
    return partners[0] if len(partners) == 1 and len(candidates[partners[0].names]) == 1 else None


def _candidates(images: Sequence[Account], reports: Sequence[Account]) -> dict[tuple[str, ...], list[Account]]:
    found: dict[tuple[str, ...], list[Account]] = defaultdict(list)
    for image in images:
        for report in reports:
            if may_be_one(image.injection, report.injection):
                found[image.names].append(report)
                found[report.names].append(image)
    return found


def _joined(image: Account, report: Account) -> Fact:
    facts = [name for name in (*image.names, *report.names) if name.startswith("fact|")]
    words = gap(image.injection, report.injection).words()
    reason = f"Image headers and a dose report were taken as one administration; the headers tell of it {words}."
    note = Issue(field=FIELD, reason=f"{reason} The dose report is published.", severity=Severity.WARNING)
    return Fact(account=account((*image.readings, *report.readings), facts), reconciled=True, issues=(note,))


def _apart(item: Account, partners: Sequence[Account], alone: Sequence[Account]) -> Iterable[Issue]:
    """Why an account stays alone although the other kind of source tells of something like it."""
    ours, theirs = ("image headers", "dose reports") if Source.IMAGE in item.sources else ("dose reports", "image headers")
    if partners:
        reason = f"May be the same as one that {theirs} tell of, but more than one of them, or of the {ours}, fits: kept apart."
        yield Issue(field=FIELD, reason=reason, severity=Severity.WARNING)
        return
    near = [apart for other in alone if other.sources != item.sources and (apart := _near(other, item))]
    if near:
        closest = min(near, key=lambda apart: (apart.seconds is None, abs(apart.seconds or 0), abs(apart.share or 0)))
        reason = f"The {theirs} tell of the same nuclide {closest.words()}: not enough to take both as one administration."
        yield Issue(field=FIELD, reason=reason, severity=Severity.WARNING)


def _near(other: Account, item: Account) -> Gap | None:
    one, two = other.injection, item.injection
    apart = gap(one, two)
    close = apart.seconds is None or abs(apart.seconds) <= NEAR_S
    return apart if same_nuclide(one, two) and close else None
