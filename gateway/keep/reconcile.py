"""A target may lose what it held: restored from an older copy, emptied by accident. Here each is asked for all that it once verified.

What it lacks is delivered again by the usual lanes, marks of people included; what it holds is not touched. Nothing is re-sent that a newer
version replaced: where another subject has told the target of the same patient since, the subject is sealed anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from gateway.errors import GatewayError, Quarantined
from gateway.keep.originals import Originals
from gateway.publish.target import ImageTarget, Target
from gateway.r4.bundles import resource_hash, resources_of
from gateway.spool.deliveries import Deliveries
from gateway.spool.files import SpoolFiles
from gateway.spool.keeping import Found, HeldInstance, HeldVersion, Keeping
from gateway.spool.proof import digest_of_file
from gateway.telemetry import token

log = structlog.get_logger()

_BATCH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What one target came to. Of an archive objects are counted, of a FHIR server versions of studies and dossiers."""

    target: str
    asked: int = 0
    again: int = 0  #: delivered again
    stuck: int = 0  #: missing there, and nobody has the bytes any more or the target cannot tell
    problem: str = ""  #: why the target was not asked to the end


class Reconciler:
    """Asks targets; what they lack is queued for the lanes. Safe beside a running gateway. ``since``: seconds since 1970."""

    def __init__(
        self,
        files: SpoolFiles,
        keeping: Keeping,
        deliveries: Deliveries,
        originals: Originals,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._keeping = keeping
        self._deliveries = deliveries
        self._originals = originals
        self._now = now

    def images(self, target: ImageTarget, stop: threading.Event, *, since: float = 0.0) -> Reconciled:
        """One archive, about all objects that it verified since then."""
        asked, stuck, again = 0, 0, 0
        try:
            for batch in self._instances(target.name, since, stop):
                lost = [held for held in batch if not self._is_held(target, held)]
                sendable = [held for held in lost if self._can_send(held)]
                asked, stuck = asked + len(batch), stuck + len(lost) - len(sendable)
                for held in lost:
                    self._keeping.find(held.instance_id, Found.LOST, target=target.name, now=self._now())
                again += self._send_again([held.delivery_id for held in sendable])
                for held in sendable:
                    self._keeping.mended(held.instance_id, Found.LOST, target=target.name, now=self._now())
        except GatewayError as error:
            return Reconciled(target=target.name, asked=asked, again=again, stuck=stuck, problem=error.reason)
        return Reconciled(target=target.name, asked=asked, again=again, stuck=stuck)

    def facts(self, target: Target, stop: threading.Event, *, since: float = 0.0) -> Reconciled:
        """One FHIR server, about all that holds now and that it verified since then."""
        asked, stuck, again = 0, 0, 0
        try:
            for version in self._versions(target.name, since, stop):
                asked += 1
                try:
                    missing = self._missing(target, version)
                except Quarantined as error:
                    stuck += 1
                    log.warning("target_cannot_tell", stage="keep", target=target.name, reason=error.reason)
                    continue
                if missing:
                    self._keeping.forget_published(target.name, missing)
                    again += self._send_again([version.delivery_id])
        except GatewayError as error:
            return Reconciled(target=target.name, asked=asked, again=again, stuck=stuck, problem=error.reason)
        return Reconciled(target=target.name, asked=asked, again=again, stuck=stuck)

    def _instances(self, target: str, since: float, stop: threading.Event) -> Iterator[Sequence[HeldInstance]]:
        after = 0
        while not stop.is_set() and (batch := self._keeping.held_instances(target, since=since, after=after, limit=_BATCH)):
            after = batch[-1].delivery_id
            yield batch

    def _versions(self, target: str, since: float, stop: threading.Event) -> Iterator[HeldVersion]:
        after = 0
        while not stop.is_set() and (batch := self._keeping.held_versions(target, since=since, after=after, limit=10)):
            after = batch[-1].delivery_id
            yield from batch

    def _is_held(self, target: ImageTarget, held: HeldInstance) -> bool:
        """Is what it was given there, be it the original or a normalised object?"""
        return target.holds(held.given_uid, held.given_digest, self._files.locate(held.day, held.given_digest))

    def _can_send(self, held: HeldInstance) -> bool:
        """We have the original, sound, or can have it. A damaged one is never sent."""
        try:
            path = self._originals.path(held.day, held.digest)
            if digest_of_file(path) == held.digest:
                return True
        except (OSError, Quarantined):
            pass  # gone or damaged: perhaps another archive gives it back
        found = self._originals.fetch_back(held.instance_id, held.sop_instance_uid, held.day, held.digest)
        if not found:
            log.error("original_is_nowhere", stage="keep", item=token(held.digest))
        return found

    def _missing(self, target: Target, version: HeldVersion) -> list[tuple[str, str]]:
        """Type and id of what the server should say by this version and does not. Of what another subject says since, that one tells."""
        resources = resources_of(version.bundle)
        known = self._deliveries.published(target.name, [resource["id"] for resource in resources])
        ours = []
        for resource in resources:
            held = known.get((resource["resourceType"], resource["id"]))
            if held is None or held.content_hash in (resource_hash(resource), "incomplete"):
                ours.append(resource)
        return [(resource["resourceType"], resource["id"]) for resource in target.missing(ours)]

    def _send_again(self, delivery_ids: Sequence[int]) -> int:
        self._keeping.set_aside(delivery_ids)
        return self._deliveries.unpark(delivery_ids, now=self._now())
