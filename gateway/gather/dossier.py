"""A patient's dossier: the administrations that cross studies, each one fact, minted once.

``readings`` groups what surely is one, ``reconcile`` joins image headers with dose reports; here each fact gets its id, its values
and its remarks.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.gather.choose import by_majority, canonical, tied
from gateway.gather.corroborate import CANDIDATES, corroborated
from gateway.gather.cumulative import cumulative_results
from gateway.gather.documents import documents, standing
from gateway.gather.dose_maps import frames_of_reference, with_names
from gateway.gather.identity import assign_keys, replacements
from gateway.gather.net import net_issue
from gateway.gather.orders import orders
from gateway.gather.patient import demographics
from gateway.gather.readings import Account, Reading, Source, accounts, injection
from gateway.gather.reconcile import Fact, reconcile
from gateway.gather.results import gather_results
from gateway.gather.withheld import withheld
from gateway.model import Administration, DeclaredCycles, Dossier, Issue, JsonObject, Severity, SharedFields
from gateway.nuclear.sameness import gap

#: Fields in which the readings of one administration should agree.
_MUST_AGREE = ("activity", "started_at", "radionuclide", "agent")
#: Fields that mean something only together: they are taken from one source.
_TOGETHER = {
    "started_at": ("stopped_at",),
    "activity": ("activity_stated", "measured_before", "measured_after", "measured_before_at", "measured_after_at"),
}


def gather_dossier(
    patient_key: str,
    records: Sequence[SharedFields],
    *,
    known: Mapping[str, str],
    mint: Callable[[str], str],
    replaced: Mapping[str, str] | None = None,
    known_results: Mapping[str, str] | None = None,
    replaced_results: Mapping[str, str] | None = None,
    declared: Sequence[DeclaredCycles] = (),
) -> Dossier:
    """Gather a dossier from all that published instances say of one patient.

    ``known`` maps this patient's aliases to ids minted before, ``replaced`` ids that were lost to the ones that survive;
    ``known_results`` and ``replaced_results`` are the same for results;
    ``declared`` are lists of cycles over which doses are added up. ``mint`` makes an id from a name (a pure function of it). The
    patient is part of that name: an event UID that turns up under a second patient (a study sent again under a corrected id, a
    header that is wrong) makes a second fact, and never moves the first one.
    """
    told = documents(records)
    facts = reconcile(accounts(standing(records, told)))
    keys = assign_keys([fact.account.names for fact in facts], known, lambda alias: mint(f"{patient_key}|{alias}"))
    administrations = tuple(sorted((_one(keys[fact.account.names], fact) for fact in facts), key=_order))
    bound = {(reading.shared.key, reading.index): keys[fact.account.names] for fact in facts for reading in fact.account.readings}
    told = with_names(told, records)
    gathered = gather_results(
        told,
        administrations,
        bound,
        known=known_results or {},
        mint=lambda alias: mint(f"{patient_key}|result|{alias}"),
        replaced=replaced_results,
        frames=frames_of_reference(records, bound),
    )
    lost = replacements(administrations, known, replaced or {})
    summed = tuple(
        dataclasses.replace(one, key=(known_results or {}).get(one.aliases[0]) or mint(f"{patient_key}|result|{one.aliases[0]}"))
        for one in cumulative_results(gathered.results, administrations, declared, {**(replaced or {}), **lost})
    )
    return Dossier(
        patient_key=patient_key,
        patient=demographics(patient_key, records),
        administrations=administrations,
        minted={alias: item.key for item in administrations for alias in item.aliases if known.get(alias) != item.key},
        mapping_versions=tuple(
            sorted(
                {f"{shared.mapping}@{shared.mapping_version}" for shared in records if shared.administrations or shared.results}
            )
        ),
        replaced=lost,
        results=(*gathered.results, *summed),
        documents=gathered.documents,
        minted_results=gathered.minted
        | {one.aliases[0]: one.key for one in summed if one.aliases[0] not in (known_results or {})},
        replaced_results=gathered.replaced,
        orders=orders(records),
    )


def _one(key: str, fact: Fact) -> Administration:
    told, settled = corroborated(fact.account)
    fields = _fields(told)
    net = net_issue(fields)
    event_uids = (name.removeprefix("event|") for name in told.names if name.startswith("event|"))
    return Administration(
        key=key,
        aliases=told.names,
        fields=fields,
        study_uids=_uids(reading.shared.study for reading in told.readings),
        series_uids=_uids(reading.shared.series for reading in told.readings),
        mapping=_mapping(told),
        issues=(
            *fact.issues,
            *settled,
            *_disagreements(told, reconciled=fact.reconciled),
            *([net] if net else []),
            *withheld(told, fields),
        ),
        event_uids=tuple(event_uids),
        reconciled=fact.reconciled,
        verified=_verified(fields, told),
        sources=_sources(fields, told),
    )


def _verified(fields: JsonObject, told: Account) -> bool:
    """True when a verified report tells it, no unverified one does, and no value was repaired."""
    reports = told.of(Source.REPORT)
    all_verified = all(reading.verified for reading in reports)
    return bool(reports) and all_verified and not any(name.endswith("_repaired") for name in fields)


def _fields(told: Account) -> JsonObject:
    """The published values: those of the dose report; gaps are filled from image headers, each kind by majority.

    Verified reports count before others. What equal ranks contradict each other about is withheld, and nothing fills its place.
    """
    merged: JsonObject = {}
    withheld: set[str] = set()
    for readings in _ranked(told):
        found = by_majority((dict(reading.fields), 1) for reading in readings)
        withheld |= _contested(readings) - merged.keys()
        blocked = {name for first, rest in _TOGETHER.items() if first in merged or first in withheld for name in rest}
        blocked |= {f"{name}_repaired" for name in (*merged, *withheld)} | withheld
        merged = {**{name: value for name, value in found.items() if name not in blocked}, **merged}
    if "activity" in merged or "activity" in withheld:
        merged.pop(CANDIDATES, None)
    return dict(sorted(merged.items()))


def _ranked(told: Account) -> list[Sequence[Reading]]:
    """Its readings, those together that count the same, the ones that count first first."""
    reports = told.of(Source.REPORT)
    verified = [reading for reading in reports if reading.verified]
    others = [reading for reading in reports if not reading.verified]
    return [readings for readings in (verified, others, told.of(Source.TABLE), told.of(Source.IMAGE)) if readings]


def _contested(readings: Sequence[Reading]) -> set[str]:
    """Fields for which documents of equal rank give different values and no majority. Headers repeat: of them a rule may choose."""
    if readings[0].source is Source.IMAGE:
        return set()
    return {name for name in _MUST_AGREE if tied([(reading.fields, 1) for reading in readings], name)}


def _mapping(told: Account) -> str:
    """The mapping whose templates render it: of the kind of source that is believed first, the most frequent."""
    readings = told.of(min(told.sources))
    return min(Counter(reading.shared.mapping for reading in readings).items(), key=lambda item: (-item[1], item[0]))[0]


def _sources(fields: JsonObject, told: Account) -> dict[str, str]:
    """Where each published value stands: the mapping and the path of the first reading that says it."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        for reading in told.readings:
            path = reading.shared.sources.get(f"{reading.label}.{name}")
            if path and name in reading.fields and canonical(reading.fields[name]) == canonical(value):
                found[name] = f"{reading.shared.mapping}: {path}"
                break
    return found


def _disagreements(told: Account, *, reconciled: bool) -> Iterable[Issue]:
    for name in _MUST_AGREE:
        settled: set[bytes] = set()  # what a verified report says
        for readings in _ranked(told):
            reason = _disagreement(name, readings, settled)
            if reason:
                yield Issue(field=f"administration.{name}", reason=reason, severity=Severity.WARNING)
            if readings[0].verified:
                settled = _values(name, readings)
    images, reports = told.of(Source.IMAGE), told.of(Source.REPORT)
    if images and reports and not reconciled and _differ(images, reports):
        words = gap(injection(images), injection(reports)).words()
        reason = (
            f"Image headers and dose report of one event differ: the headers tell of it {words}. The dose report is published."
        )
        yield Issue(field="administration", reason=reason, severity=Severity.WARNING)


def _values(name: str, readings: Iterable[Reading]) -> set[bytes]:
    return {canonical(reading.fields[name]) for reading in readings if name in reading.fields}


def _disagreement(name: str, readings: Sequence[Reading], settled: set[bytes]) -> str | None:
    """What to say of readings of equal rank that give different values, or of reports that a verified one contradicts."""
    source, values = readings[0].source, _values(name, readings)
    if settled and source is Source.REPORT:
        other = "A report that is not verified gives another value; it counts less than the verified one and is not published."
        return other if values - settled else None
    if len(values) < 2:
        return None
    if name in _contested(readings):
        told = [reading for reading in readings if name in reading.fields]
        many = "Two" if len(told) == 2 else f"{len(told)}"
        word = "report" if source is Source.REPORT else "table"
        if len({reading.shared.key for reading in told}) == 1:
            return f"{many} entries of one {word} give different values; none is published."
        return f"{many} {word}s of equal rank give different values; none is published."
    words = {Source.REPORT: "dose reports", Source.TABLE: "tables", Source.IMAGE: "headers"}[source]
    given = f"The {words} of one administration give {len(values)} different values"
    if tied([(reading.fields, 1) for reading in readings], name):
        return f"{given}, and none is given most often: of a tie the first in the order of their text is published."
    return f"{given}; the most frequent is published."


def _differ(images: Sequence[Reading], reports: Sequence[Reading]) -> bool:
    one, two = injection(images), injection(reports)
    apart = gap(one, two)
    other_agent = bool(one.agent and two.agent and one.agent != two.agent)
    return bool(apart.seconds or apart.share) or (one.nuclide != two.nuclide) or other_agent


def _order(item: Administration) -> tuple[str, str]:
    return (str(item.fields.get("started_at") or ""), item.key)


def _uids(levels: Iterable[JsonObject]) -> tuple[str, ...]:
    """Of studies or series; a table has neither."""
    return tuple(sorted({str(level["uid"]) for level in levels if level.get("uid")}))
