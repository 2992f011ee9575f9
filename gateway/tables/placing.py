"""Which administration a part of a table belongs to: exactly one that fits by the design's tolerances, or the one that a person chose.

Pure, over the whole set: what came first does not matter. What fits none, or more than one, waits for a person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.dicom.values import instant
from gateway.mapping.codes import Codes
from gateway.model import Administration, JsonObject, SharedFields
from gateway.nuclear.results import KINDS, Link
from gateway.nuclear.sameness import Injection, gap, may_be_one
from gateway.nuclear.units import convert
from gateway.tables.records import sealed

_NO_SECONDS = 2**31
NO_OBJECTS = "No object tells of this patient yet; a table creates no patient."
OTHER_ISSUER = "Objects tell of a patient with this id by another issuer: say 'issuer' in the adapter, or choose the patient."


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPlace:
    """A part in a dossier. ``administration_id``: chosen by a person."""

    id: int
    fields: SharedFields
    administration_id: str | None = None
    cycle: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """``records`` join those of DICOM objects; ``outcomes``: part -> (administration, why it waits)."""

    records: tuple[SharedFields, ...]
    outcomes: dict[int, tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An administration that a part may belong to, the nearest first; ``fits`` by the tolerances."""

    id: str
    words: str
    fits: bool
    fields: JsonObject


def place(
    parts: Sequence[ToPlace], administrations: Sequence[Administration], replaced: Mapping[str, str], codes: Codes
) -> Placed:
    """Bind each part, or say why it waits. Needs a patient of whom objects tell."""
    records: list[SharedFields] = []
    outcomes: dict[int, tuple[str | None, str | None]] = {}
    by_id = {item.key: item for item in administrations}
    for part in parts:
        bound, why = _bound(part, administrations, by_id, replaced, codes)
        outcomes[part.id] = (bound, why)
        if why is None:
            records.append(_record(part, bound, _remark(part, by_id.get(bound or ""), codes)))
    return Placed(records=tuple(_without_superseded(records)), outcomes=outcomes)


def _without_superseded(records: Sequence[SharedFields]) -> list[SharedFields]:
    """A corrected table takes the place of what an older one says of the same administration, region, intent and software.

    Only a table of the same layout corrects another: two exports of one program complete each other. What is measured again and again
    stays. What both say is left to gathering, which takes the newer one and knows that it was corrected; what only the older one says is
    gone. Two tables of one moment correct nothing of each other.
    """
    newest: dict[str, str] = {}
    for record, result in _all(records):
        name = _subject(result, record)
        newest[name] = max(newest.get(name, ""), _age(record))
    told = {
        (name, _what(result)) for record, result in _all(records) if _age(record) == newest[(name := _subject(result, record))]
    }
    made = []
    for record in records:
        kept = tuple(
            result
            for result in record.results
            if KINDS[result["kind"]].timed
            or _age(record) == newest[(name := _subject(result, record))]
            or (name, _what(result)) in told
        )
        made.append(record if len(kept) == len(record.results) else sealed(dataclasses.replace(record, results=kept)))
    return made


def _all(records: Sequence[SharedFields]) -> Iterator[tuple[SharedFields, JsonObject]]:
    for record in records:
        for result in record.results:
            yield record, result


def _age(record: SharedFields) -> str:
    return str(record.document.get("created_at") or "")


def _subject(result: JsonObject, record: SharedFields) -> str:
    of = (result.get("administration") or {}).get("id")
    if of is None and record.administrations:
        told = record.administrations[0]
        of = "|".join(str(told.get(name)) for name in ("started_at", "activity", "radionuclide", "site"))
    of = of or str(record.document.get("uid"))
    lesion = result.get("lesion") or {}
    words = [
        of,
        record.document.get("template"),
        _word(result.get("region")),
        _word(result.get("laterality")),
        lesion.get("tracking_uid") or lesion.get("tracking_id") or lesion.get("label"),
        result.get("intent"),
        (result.get("software") or {}).get("name"),
    ]
    return "|".join(str(word or "-") for word in words)


def _what(result: JsonObject) -> str:
    parameter = result.get("parameter") or {}
    words = (result["kind"], _word(result.get("statistic")), _word(result.get("code")), parameter.get("name"), result.get("at"))
    return "|".join(str(word or "-") for word in words)


def _word(concept: Any) -> str | None:
    return (concept.get("code") or concept.get("text")) if isinstance(concept, dict) else None


def _bound(
    part: ToPlace,
    administrations: Sequence[Administration],
    by_id: Mapping[str, Administration],
    replaced: Mapping[str, str],
    codes: Codes,
) -> tuple[str | None, str | None]:
    if part.administration_id is not None:
        chosen = replaced.get(part.administration_id, part.administration_id)
        if chosen in by_id:
            return chosen, None
        return None, "The administration that a person chose is not known any more: choose again."
    fitting = [item for item in candidates(part.fields, administrations, codes) if item.fits]
    if len(fitting) > 1:
        return None, f"{len(fitting)} administrations of the patient fit: choose one."
    if fitting:
        return fitting[0].id, None
    if part.fields.administrations:  # the adapter says that the table itself tells of one
        return None, None
    if not needs_administration(part.fields):
        return None, None
    if not administrations:
        return None, "The patient has no administration yet."
    return None, "No administration of the patient fits by nuclide, start and activity: choose one."


def needs_administration(fields: SharedFields) -> bool:
    """Whether a fact of it means nothing without one."""
    return any(KINDS[result["kind"]].administration is Link.REQUIRED for result in fields.results if result.get("kind") in KINDS)


def candidates(fields: SharedFields, administrations: Sequence[Administration], codes: Codes) -> list[Candidate]:
    """The patient's administrations as one part sees them, the nearest first."""
    hint = hint_of(fields)
    event = hint.get("event_uid")
    told = injection(hint, codes)
    found = []
    for item in administrations:
        other = injection(item.fields, codes)
        fits = event in item.event_uids if event else may_be_one(told, other)
        apart = gap(told, other)
        seconds = abs(apart.seconds) if apart.seconds is not None else Decimal(_NO_SECONDS)
        found.append((not fits, seconds, Candidate(id=item.key, words=_words(item.fields), fits=fits, fields=item.fields)))
    return [candidate for _, _, candidate in sorted(found, key=lambda entry: (entry[0], entry[1], entry[2].id))]


def hint_of(fields: SharedFields) -> JsonObject:
    """What the table says of the administration."""
    for result in fields.results:
        hint = result.get("administration")
        if isinstance(hint, dict):
            return hint
    return dict(fields.administrations[0]) if fields.administrations else {}


def injection(fields: JsonObject, codes: Codes) -> Injection:
    """In the words of arithmetic."""
    started, activity, half_life = fields.get("started_at"), fields.get("activity"), fields.get("half_life")
    nuclide = _nuclide(fields)
    known = codes.nuclides.named(str((fields.get("radionuclide") or {}).get("text")))
    return Injection(
        nuclide=nuclide,
        agent=(fields.get("agent") or {}).get("code"),
        activity_mbq=_in(activity, "MBq"),
        start=instant(started) if isinstance(started, str) else None,
        half_life_s=_in(half_life, "s") or (known.half_life_s if known else None),
    )


def _nuclide(fields: JsonObject) -> str | None:
    concept = fields.get("radionuclide") or {}
    found = concept.get("code") or concept.get("text")
    return str(found) if found else None


def _in(quantity: Any, unit: str) -> Decimal | None:
    if not isinstance(quantity, dict):
        return None
    try:
        return convert(Decimal(quantity["value"]), quantity["unit"], unit)
    except (ValueError, KeyError):
        return None


def _words(fields: JsonObject) -> str:
    agent = (fields.get("agent") or fields.get("radionuclide") or {}).get("text", "unknown agent")
    activity = fields.get("activity")
    amount = f", {activity['value']} {activity['unit']}" if activity else ""
    return f"{agent}{amount}, {fields.get('started_at', 'start unknown')}"


def _remark(part: ToPlace, administration: Administration | None, codes: Codes) -> str | None:
    """What a reader must know of the link: that a person made it, or how far the table's own words lie from the administration."""
    if administration is None:
        return None
    if part.administration_id is not None:
        return "A person assigned the table to its administration."
    apart = gap(injection(hint_of(part.fields), codes), injection(administration.fields, codes))
    return f"The table tells of its administration {apart.words()}." if apart.seconds or apart.share else None


def _record(part: ToPlace, bound: str | None, remark: str | None) -> SharedFields:
    """The part as gathering reads it: bound to an administration, whose id then stands in each result.

    A table that tells of the administration itself keeps it, unless a person chose another: gathering reconciles the two, so that a
    fact which the table made before the report came is known to be the same.
    """
    fields = part.fields
    if fields.administrations and part.administration_id is None:
        bound = None
    results = []
    for result in fields.results:
        hint = result.get("administration") or {}
        made = {**result, **({"cycle": part.cycle} if part.cycle is not None else {})}
        made.pop("administration", None)
        if remark is not None:
            made["remarks"] = [*made.get("remarks", ()), remark]
        if bound is not None:
            made["administration"] = {**hint, "id": bound}
        elif fields.administrations:
            made["of_administration"] = 0
        results.append(made)
    kept = fields.administrations if bound is None else ()
    return sealed(dataclasses.replace(fields, results=tuple(results), administrations=kept))
