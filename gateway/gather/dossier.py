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

    @property
    def names(self) -> tuple[str, ...]:
        return (self.event, self.fact) if self.event else (self.fact,)


def gather_dossier(
    patient_key: str, records: Sequence[SharedFields], *, known: Mapping[str, str], mint: Callable[[str], str]
) -> Dossier:
    """Gather a dossier from all that published instances say of one patient.

    ``known`` maps aliases to ids minted before; ``mint`` makes an id from an alias (a pure function of it).
    """
    clusters = _cluster([reading for shared in records for reading in _readings(shared)])
    administrations = tuple(sorted((_one(cluster, known, mint) for cluster in clusters), key=_order))
    return Dossier(
        patient_key=patient_key,
        patient=demographics(patient_key, records),
        administrations=administrations,
        minted={alias: item.key for item in administrations for alias in item.aliases if alias not in known},
        mapping_versions=tuple(sorted({f"{shared.mapping}@{shared.mapping_version}" for shared in records})),
    )


def _readings(shared: SharedFields) -> Iterable[_Reading]:
    repeats: Counter[str] = Counter()
    for fields in shared.administrations:
        fact = _fact_name(fields, shared)
        repeats[fact] += 1
        if repeats[fact] > 1:  # two equal items in one header are two administrations, not one told twice
            fact = f"{fact}|{repeats[fact]}"
        event = f"event|{fields['event_uid']}" if fields.get("event_uid") else None
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


def _cluster(readings: Sequence[_Reading]) -> list[list[_Reading]]:
    """Group readings over the whole set: by event UID; those without one join the only cluster that tells the same fact."""
    by_event: dict[str, list[_Reading]] = defaultdict(list)
    by_fact: dict[str, list[_Reading]] = defaultdict(list)
    for reading in readings:
        (by_event[reading.event] if reading.event else by_fact[reading.fact]).append(reading)
    clusters = {event: list(group) for event, group in sorted(by_event.items())}
    for fact, group in sorted(by_fact.items()):
        hosts = [event for event, others in by_event.items() if any(other.fact == fact for other in others)]
        if len(hosts) == 1:
            clusters[hosts[0]].extend(group)
        else:
            clusters[fact] = group
    return list(clusters.values())


def _one(cluster: Sequence[_Reading], known: Mapping[str, str], mint: Callable[[str], str]) -> Administration:
    aliases = tuple(sorted({name for reading in cluster for name in reading.names}))
    minted = sorted({known[alias] for alias in aliases if alias in known})
    mapping = min(Counter(reading.shared.mapping for reading in cluster).items(), key=lambda item: (-item[1], item[0]))[0]
    return Administration(
        key=minted[0] if minted else mint(aliases[0]),
        aliases=aliases,
        fields=by_majority((dict(reading.fields), 1) for reading in cluster),
        study_uids=tuple(sorted({str(reading.shared.study.get("uid")) for reading in cluster})),
        series_uids=tuple(sorted({str(reading.shared.series.get("uid")) for reading in cluster})),
        mapping=mapping,
        issues=tuple(_disagreements(cluster)),
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
