"""Shadow: what would be published of objects that wait for approval, who waits, and the approval. The page and the commands call this."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from gateway.contents import members_of
from gateway.errors import GatewayError, Rejected
from gateway.gather.study import gather_study
from gateway.mapping.complaints import did_you_mean
from gateway.model import JsonObject
from gateway.spool.decisions import CONFLICT, By
from gateway.spool.ledger import Ledger
from gateway.spool.shadows import KnownScanner, Waiting
from gateway.spool.standing import standing
from gateway.understanding import Understanding

_RECORDED = "1970-01-01T00:00:00.000+00:00"


def would_be_published(ledger: Ledger, site: Understanding, study_uid: str) -> tuple[JsonObject | None, JsonObject | None, str]:
    """The bundles of a study and of its patient's dossier as they were if everything in shadow were approved, or why there are none."""
    records = ledger.subjects.study_records(study_uid, with_shadow=True)
    if not records:
        return None, None, "Nothing of this study has been read."
    study = gather_study(study_uid, members_of(records), standing(ledger.decisions.of_study(study_uid)))
    told = {item.fields.key: item.fields for item in ledger.subjects.dossier_shared(study.patient_key)}
    told |= {item.shared.fields.key: item.shared.fields for item in records if item.shared.patient_key == study.patient_key}
    shared = [told[key] for key in sorted(told)]
    facts = ledger.subjects.facts
    try:
        bundle = site.study_bundle(study, shared, recorded=_RECORDED)
        key = study.patient_key
        dossier = site.dossier(
            key,
            shared,
            facts.aliases(key),
            facts.replaced(key),
            known_results=facts.result_aliases(key),
            replaced_results=facts.replaced_results(key),
        )
        about = site.dossier_bundle(dossier, shared, recorded=_RECORDED)
    except GatewayError as error:
        return None, None, error.reason
    return bundle.body, about.body if about else None, ""


def approve_mapping(ledger: Ledger, site: Understanding, name: str, by: By) -> str:
    """Publish what this mapping reads, in the version that is in force. Raises :class:`~gateway.errors.Rejected`."""
    mapping = next((item for item in site.mappings if item.name == name), None)
    version = mapping.version if mapping is not None and mapping.shadow else None
    held = {item.name for item in ledger.shadows.waiting() if item.kind == "mapping"}
    if version is None and name not in held:
        known = sorted(held | {item.name for item in site.mappings if item.shadow})
        hint = did_you_mean(name, known) or (f"; in shadow: {', '.join(known)}" if known else "; no mapping is in shadow")
        raise Rejected(f"Nothing waits for a mapping '{name}'{hint}. Nothing was changed.", status=CONFLICT)
    count = ledger.shadows.approve_mapping(name, version, by)
    return f"mapping '{name}' is approved; {_released(count)}"


def approve_scanner(ledger: Ledger, identifier: int, by: By) -> str:
    """Publish what comes from this scanner. Raises :class:`~gateway.errors.Rejected`."""
    return f"scanner {identifier} is approved; {_released(ledger.shadows.approve_scanner(identifier, by))}"


def _released(count: int) -> str:
    return f"{count} held {'object is' if count == 1 else 'objects are'} published by the running gateway without sending again"


def waiting_lines(waiting: Sequence[Waiting]) -> Iterator[str]:
    """What is in shadow."""
    for item in waiting:
        verb = f"mappings approve {item.name}" if item.kind == "mapping" else f"scanner approve {item.name}"
        yield f"in shadow: {item.objects} objects of {item.studies} studies since {item.since}: isobridge {verb}"


def scanner_lines(scanners: Sequence[KnownScanner], waiting: Sequence[Waiting], zone: ZoneInfo) -> Iterator[str]:
    held = {item.name: item.objects for item in waiting if item.kind == "scanner"}
    for item in scanners:
        seen = dt.datetime.fromtimestamp(item.first_at, zone).date().isoformat() if item.first_at else "before"
        state = (
            f"waits for approval, {held.get(str(item.id), 0)} objects in shadow"
            if item.approved_at is None
            else (f"approved by {item.approved_by}: {item.reason}" if item.approved_by != "-" else item.reason)
        )
        yield f"{item.id:>4}  {item.scanner.text}  first seen {seen}  {state}"
