"""A patient's dossier: the administrations that cross studies, each one fact, minted once.

Many headers tell of one injection: every slice of every series, in every study of a therapy cycle. Here they become one fact.
Two readings are one administration when they carry the same event UID (0008,3012), or, where no UID is given, when nuclide,
agent, start and activity are all equal. Anything less certain stays apart: reconciliation within tolerances is a rule of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.gather.choose import by_majority, canonical
from gateway.gather.patient import demographics
from gateway.model import Administration, Dossier, Issue, JsonObject, Severity, SharedFields

#: Fields in which the readings of one administration should agree.
_MUST_AGREE = ("activity", "started_at", "radionuclide", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One administration as one header tells it."""

    fields: JsonObject
    shared: SharedFields
    event: str | None
    fact: str


def gather_dossier(
    patient_key: str, records: Sequence[SharedFields], *, known: Mapping[str, str], mint: Callable[[str], str]
) -> Dossier:
    """Gather a dossier from all that published instances say of one patient.

    ``known`` maps this patient's aliases to ids minted before; ``mint`` makes an id from a name (a pure function of it). The
    patient is part of that name: an event UID that turns up under a second patient (a study sent again under a corrected id, a
    header that is wrong) makes a second fact, and never moves the first one.
    """
    clusters = _cluster([reading for shared in records for reading in _readings(shared)])
    keys = _assign_keys(list(clusters), known, lambda alias: mint(f"{patient_key}|{alias}"))
    administrations = tuple(sorted((_one(keys[item[0]], item) for item in clusters.items()), key=_order))
    return Dossier(
        patient_key=patient_key,
        patient=demographics(patient_key, records),
        administrations=administrations,
        minted={alias: item.key for item in administrations for alias in item.aliases if alias not in known},
        mapping_versions=tuple(
            sorted({f"{shared.mapping}@{shared.mapping_version}" for shared in records if shared.administrations})
        ),
    )


def _readings(shared: SharedFields) -> Iterable[_Reading]:
    repeats: Counter[str] = Counter()
    for fields in shared.administrations:
        fact = _fact_name(fields, shared)
        event = f"event|{fields['event_uid']}" if fields.get("event_uid") else None
        repeats[fact] += event is None
        if repeats[fact] > 1:  # two equal items in one header are two administrations, not one told twice
            fact = f"{fact}|{repeats[fact]}"
        yield _Reading(fields=fields, shared=shared, event=event, fact=fact)


def _fact_name(fields: JsonObject, shared: SharedFields) -> str:
    """What a reading says, as a name. A reading without a start holds only for its own day."""
    start = fields.get("started_at") or f"on {str(shared.study.get('started') or shared.study.get('uid'))[:10]}"
    nuclide = fields.get("radionuclide") or {}
    agent = fields.get("agent") or {}
    activity = fields.get("activity") or {}
    words = (
        nuclide.get("code") or nuclide.get("text"),
        agent.get("code") or agent.get("text"),
        start,
        f"{activity['value']} {activity['unit']}" if activity else None,
    )
    return "fact|" + "|".join(str(word) if word else "-" for word in words)


#: The names of one administration, those that are surest first.
_Names = tuple[str, ...]


def _cluster(readings: Sequence[_Reading]) -> dict[_Names, list[_Reading]]:
    """Group readings over the whole set: by event UID; those without one join the only cluster that tells the same fact.

    A fact that several events tell names none of them: it would lead a later reading to the wrong one.
    """
    by_event: dict[str, list[_Reading]] = defaultdict(list)
    by_fact: dict[str, list[_Reading]] = defaultdict(list)
    for reading in readings:
        (by_event[reading.event] if reading.event else by_fact[reading.fact]).append(reading)
    tellers: dict[str, set[str]] = defaultdict(set)
    for event, group in by_event.items():
        for reading in group:
            tellers[reading.fact].add(event)
    clusters: dict[_Names, list[_Reading]] = {}
    for event, group in sorted(by_event.items()):
        sure = sorted(fact for fact in {reading.fact for reading in group} if len(tellers[fact]) == 1)
        joining = [reading for fact in sure for reading in by_fact.pop(fact, ())]
        clusters[(event, *sure)] = [*group, *joining]
    clusters.update({(fact,): group for fact, group in sorted(by_fact.items())})
    return clusters


def _assign_keys(clusters: Sequence[_Names], known: Mapping[str, str], mint: Callable[[str], str]) -> dict[_Names, str]:
    """An id for each cluster: one minted before, if a name of it has one. No id serves two."""
    taken: set[str] = set()
    keys: dict[_Names, str] = {}
    for names in clusters:
        candidates = [known[name] for name in names if name in known]
        candidates += [mint(names[0]), mint(f"{names[0]}|apart")]
        keys[names] = next(key for key in candidates if key not in taken)
        taken.add(keys[names])
    return keys


def _one(key: str, cluster: tuple[_Names, Sequence[_Reading]]) -> Administration:
    aliases, readings = cluster
    mapping = min(Counter(reading.shared.mapping for reading in readings).items(), key=lambda item: (-item[1], item[0]))[0]
    return Administration(
        key=key,
        aliases=aliases,
        fields=by_majority((dict(reading.fields), 1) for reading in readings),
        study_uids=tuple(sorted({str(reading.shared.study.get("uid")) for reading in readings})),
        series_uids=tuple(sorted({str(reading.shared.series.get("uid")) for reading in readings})),
        mapping=mapping,
        issues=tuple(_disagreements(readings)),
    )


def _disagreements(cluster: Sequence[_Reading]) -> Iterable[Issue]:
    for name in _MUST_AGREE:
        values = {canonical(reading.fields[name]) for reading in cluster if name in reading.fields}
        if len(values) > 1:
            yield Issue(
                field=f"administration.{name}",
                reason=f"The headers of one administration give {len(values)} different values; the most frequent is published.",
                severity=Severity.WARNING,
            )


def _order(item: Administration) -> tuple[str, str]:
    return (str(item.fields.get("started_at") or ""), item.key)
