"""One delivery of facts: send what the target does not hold yet, ask back, remember."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.model import JsonObject, Receipt
from gateway.publish.target import Target
from gateway.r4.bundles import resource_hash, resources_of, transaction
from gateway.spool.deliveries import Deliveries, DeliveryTicket, Published


class Outcome(StrEnum):
    SENT = "sent"  #: something was new to the target
    UNCHANGED = "unchanged"  #: the target held everything already
    LOST = "lost"  #: another worker took the lease over; it will finish
    UNVERIFIED = "unverified"  #: sent, but the target does not hold it


@dataclass(frozen=True, slots=True)
class _Change:
    resource: JsonObject
    content_hash: str


def deliver(ticket: DeliveryTicket, target: Target, deliveries: Deliveries, *, now: float) -> Outcome:
    """Deliver one sealed version. Raises what the target raises; the caller asks :func:`gateway.publish.target.classify`.

    Unchanged resources are left out, so that a target that makes a version of every PUT makes none for them.
    """
    changes = _changes(ticket, deliveries)
    if not changes:
        return Outcome.UNCHANGED if deliveries.verified(ticket, [], now=now) else Outcome.LOST
    resources = [change.resource for change in changes]
    receipt = target.send(transaction(resources))
    if not target.verify(resources, receipt):
        return Outcome.UNVERIFIED
    held = [_published(change, receipt) for change in changes]
    return Outcome.SENT if deliveries.verified(ticket, held, now=now) else Outcome.LOST


def _changes(ticket: DeliveryTicket, deliveries: Deliveries) -> list[_Change]:
    resources = resources_of(ticket.bundle)
    known = deliveries.published(ticket.target, [resource["id"] for resource in resources])
    changes = []
    for resource in resources:
        digest = resource_hash(resource)
        held = known.get((resource["resourceType"], resource["id"]))
        if held is None or held.content_hash != digest:
            changes.append(_Change(resource, digest))
    return changes


def _published(change: _Change, receipt: Receipt) -> Published:
    kind, identifier = change.resource["resourceType"], change.resource["id"]
    key = f"{kind}/{identifier}"
    # What was sent with a reference that the target could not follow yet is sent again with the next version.
    return Published(
        resource_type=kind,
        resource_id=identifier,
        version_id=receipt.versions[key],
        content_hash="incomplete" if key in receipt.incomplete else change.content_hash,
        remote_id=receipt.remote_ids.get(key),
    )
