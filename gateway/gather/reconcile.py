"""Across kinds of source: which account of the image headers and which of the dose reports tell of one injection.

Pure, a function of the whole set. The rule is design.md section 4: the same event UID (``readings`` has joined those); or the
same nuclide, exactly one candidate on each side, activity and start within tolerances (``nuclear.sameness``). Tolerance is not
transitive, so accounts are never chained: one of the images and one of the reports, or none. Two accounts of one kind of source
never meet here, whatever they say; but for headers that repeat the time of an injection and do not know its day (``placed``).
What may be one but is not certain stays apart, and is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.gather.corroborate import assumed
from gateway.gather.facts import Fact
from gateway.gather.readings import Account, Source, account, injection
from gateway.gather.tables import with_tables
from gateway.model import Issue, Severity
from gateway.nuclear.sameness import Gap, gap, may_be_one, on_the_day_of, same_nuclide

#: Accounts that stay apart are told of each other only when they are of one nuclide and lie this close together.
NEAR_S = 86400
FIELD = "administration"

__all__ = ["Fact", "placed", "reconcile"]


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
    made = [*certain, *(_joined([image], report) for image, report in pairs), *apart]
    tables = [item for item in told if item.sources == {Source.TABLE}]
    return sorted(with_tables(placed(made), tables), key=lambda fact: fact.account.names)


def placed(facts: Sequence[Fact]) -> list[Fact]:
    """Headers that know the time of an injection but not its day, as NM Image has it, join the one report that gives the day.

    The scans of a cycle repeat their header, so several accounts may join one report, when all of them say the same words.
    """
    undated = [fact for fact in facts if _knows_only_the_clock(fact.account)]
    reports = [fact for fact in facts if Source.REPORT in fact.account.sources]
    fitting = {fact.account.names: [host for host in reports if _fits(fact.account, host.account)] for fact in undated}
    joining: dict[tuple[str, ...], list[Account]] = defaultdict(list)
    for fact in undated:
        for host in fitting[fact.account.names]:
            joining[host.account.names].append(fact.account)
    made: dict[tuple[str, ...], Fact] = {fact.account.names: fact for fact in facts}
    for host in reports:
        group = joining[host.account.names]
        if not group:
            continue
        if _is_one_story(group) and all(len(fitting[item.names]) == 1 for item in group):
            fact = _joined(group, host.account, "Image headers that know no day")
            before = host.issues if host.reconciled else ()
            made[host.account.names] = replace(fact, issues=(*before, *fact.issues))
            for item in group:
                del made[item.names]
        else:
            for fact in (host, *(fact for fact in undated if fact.account in group)):
                made[fact.account.names] = replace(fact, issues=(*fact.issues, _SEVERAL_FIT))
    return list(made.values())


def _knows_only_the_clock(item: Account) -> bool:
    no_day = not any(reading.fields.get("started_at") for reading in item.readings)
    return item.sources == {Source.IMAGE} and no_day and item.injection.clock is not None


def _fits(item: Account, host: Account) -> bool:
    reference = injection(host.of(Source.REPORT))
    placed_on_day = on_the_day_of(assumed(item, reference), reference, item.scan)
    two_events = _has_event(item) and any(reading.event for reading in host.of(Source.IMAGE))
    return placed_on_day is not None and not two_events and may_be_one(placed_on_day, reference)


def _is_one_story(group: Sequence[Account]) -> bool:
    """True for one account, or for several without event UIDs that say the same on different days."""
    return len(group) == 1 or (len({item.words for item in group}) == 1 and not any(map(_has_event, group)))


def _has_event(item: Account) -> bool:
    return any(reading.event for reading in item.readings)


_SEVERAL_FIT = Issue(
    field=FIELD,
    reason="Image headers that know the time but not the day of an injection fit a dose report, but not only one way: kept apart.",
    severity=Severity.WARNING,
)


def _only_partner(item: Account, candidates: dict[tuple[str, ...], list[Account]]) -> Account | None:
    """The one candidate of an account, when the account is its only candidate as well."""
    partners = candidates[item.names]
    return partners[0] if len(partners) == 1 and len(candidates[partners[0].names]) == 1 else None


def _candidates(images: Sequence[Account], reports: Sequence[Account]) -> dict[tuple[str, ...], list[Account]]:
    found: dict[tuple[str, ...], list[Account]] = defaultdict(list)
    for image in images:
        for report in reports:
            if may_be_one(assumed(image, report.injection), assumed(report, image.injection)):
                found[image.names].append(report)
                found[report.names].append(image)
    return found


def _joined(images: Sequence[Account], report: Account, told: str = "Image headers") -> Fact:
    """One fact of a report, with whatever it holds already, and of the accounts of image headers that belong to it."""
    reference = injection(report.of(Source.REPORT))
    first = assumed(images[0], reference)
    words = gap(on_the_day_of(first, reference, images[0].scan) or first, reference).words()
    reason = f"{told} and a dose report were taken as one administration; the headers tell of it {words}."
    note = Issue(field=FIELD, reason=f"{reason} The dose report is published.", severity=Severity.WARNING)
    readings = [*report.readings, *(reading for image in images for reading in image.readings)]
    names = [*report.facts, *(name for image in images for name in image.facts)]
    return Fact(account=account(readings, names), reconciled=True, issues=(note,))


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
    one, two = assumed(other, item.injection), assumed(item, other.injection)
    apart = gap(one, two)
    close = apart.seconds is None or abs(apart.seconds) <= NEAR_S
    return apart if same_nuclide(one, two) and close else None
