"""What the page "Mappings" shows: the version in force, what lies undeployed in the folder, what is in shadow and would be published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gateway.errors import Retryable
from gateway.in_force import SiteInForce
from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.spool.ledger import Ledger
from gateway.spool.shadows import KnownScanner, Waiting
from gateway.understanding import Understanding
from gateway.web.cards import Card, card
from gateway.workbench.shadow import would_be_published

SHOWN_STUDIES, SHOWN_WAITING, SHOWN_SCANNERS, SHOWN_VERSIONS = 4, 20, 50, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One study as it would be published, or why it would not be."""

    uid: str
    objects: int
    card: Card | None
    resources: str  #: ``1 Patient, 1 ImagingStudy``
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """What waits for one approval."""

    waiting: Waiting
    title: str
    previews: tuple[Preview, ...]


def mappings_view(ledger: Ledger, site: SiteInForce) -> JsonObject:
    """The context of the page."""
    problem = site.problem()
    understanding = usable(site)
    scanners = ledger.shadows.scanners(limit=SHOWN_SCANNERS)
    waiting = ledger.shadows.waiting()
    return {
        "in_force": site.current,
        "unusable": problem,
        "undeployed": site.changes(),
        "history": ledger.mappings.listed(limit=SHOWN_VERSIONS),
        "mappings": sorted(understanding.mappings, key=lambda mapping: mapping.name) if understanding else [],
        "shadows": [
            Shadow(waiting=item, title=_title(item, scanners), previews=_previews(ledger, understanding, item))
            for item in waiting[:SHOWN_WAITING]
        ],
        "more_shadows": max(0, len(waiting) - SHOWN_WAITING),
        "scanners": scanners,
    }


def _title(waiting: Waiting, scanners: list[KnownScanner]) -> str:
    if waiting.kind == "mapping":
        return waiting.name
    return next((item.scanner.text for item in scanners if str(item.id) == waiting.name), f"scanner {waiting.name}")


def usable(site: SiteInForce) -> Understanding | None:
    """The site by the mappings in force; None while they cannot be used, which the pages say."""
    try:
        return site.refresh()
    except Retryable:
        return None


def _previews(ledger: Ledger, site: Understanding | None, waiting: Waiting) -> tuple[Preview, ...]:
    if site is None:
        return ()
    found = []
    for item in ledger.shadows.studies(waiting.held_for, limit=SHOWN_STUDIES):
        study, dossier, problem = would_be_published(ledger, site, item["study_uid"])
        resources = [one for bundle in (study, dossier) if bundle for one in resources_of(bundle)]
        kinds = Counter(kind for kind, _ in {(one["resourceType"], one["id"]) for one in resources})
        found.append(
            Preview(
                uid=item["study_uid"],
                objects=item["objects"],
                card=card(item["study_uid"], study, dossier) if study else None,
                resources=", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())),
                problem=problem,
            )
        )
    return tuple(found)
