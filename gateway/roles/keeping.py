"""What keeps the spool, built from the settings: for the role ``work``, and for people at the command line."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.keep.originals import Originals
from gateway.keep.reconcile import Reconciled, Reconciler
from gateway.keep.retention import Retention
from gateway.keep.scrub import Scrubber
from gateway.publish.build import fact_targets, image_targets
from gateway.publish.target import ImageTarget
from gateway.roles.rooms import MEGABYTE, open_existing_ledger, open_files, open_store
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger


def build_retention(settings: Settings, files: SpoolFiles, ledger: Ledger, archives: Sequence[ImageTarget]) -> Retention:
    facts = [target.name for target in settings.targets if target.enabled and target.kind != "orthanc"]
    return Retention(files, ledger.keeping, archives, facts, days=settings.retention.days)


def build_scrubber(
    settings: Settings, files: SpoolFiles, ledger: Ledger, archives: Sequence[ImageTarget], *, in_haste: bool = False
) -> Scrubber:
    pace = 0 if in_haste else settings.retention.scrub_megabytes_per_sec * MEGABYTE
    return Scrubber(files, ledger.keeping, Originals(files, ledger.keeping, archives), bytes_per_sec=pace)


def reconcile_targets(settings: Settings, only: str | None, since: float) -> Iterator[Reconciled]:
    """Each enabled target, or ``only`` one, is asked for what it verified. Raises :class:`Misconfigured` for an unknown name."""
    ledger, files = open_existing_ledger(settings), open_files(settings)
    archives = image_targets(settings.targets)
    facts = fact_targets(settings.targets, open_store(settings), ledger.deliveries)
    names = [*(target.name for target in facts), *(target.name for target in archives)]
    if only is not None and only not in names:
        raise Misconfigured(f"no target named '{only}' is enabled; there are: {', '.join(names)}")
    originals = Originals(files, ledger.keeping, archives)
    reconciler, stop = Reconciler(files, ledger.keeping, ledger.deliveries, originals), threading.Event()
    for archive in archives:
        if only in (None, archive.name):
            yield reconciler.images(archive, stop, since=since)
    for fact in facts:
        if only in (None, fact.name):
            yield reconciler.facts(fact, stop, since=since)
