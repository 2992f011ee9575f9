"""The ledger as lines that a person reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import JsonObject
from gateway.receive.folder_state import read_states
from gateway.spool.keeping import Found, Keeping
from gateway.spool.overview import Overview

if TYPE_CHECKING:  # a list of counts needs no DICOM client
    from gateway.workbench.scu import FileOutcome


def failure_lines(failures: Sequence[FileOutcome]) -> Iterator[str]:
    """Why objects were not stored: one line each, but a reason that many share is told once."""
    by_reason: dict[str, list[FileOutcome]] = {}
    for failure in failures:
        by_reason.setdefault(failure.meaning, []).append(failure)
    for reason, those in by_reason.items():
        if len(those) > _SHOWN_EACH:
            yield f"{len(those)} objects, the first of them {those[0].file.path}: {reason}"
        else:
            yield from (f"{failure.file.path}: {reason}" for failure in those)


#: Up to so many objects with one reason are named one by one.
_SHOWN_EACH = 5


def list_lines(overview: Overview, state: str | None, limit: int) -> Iterator[str]:
    """Counts of everything, or the items in one state."""
    if state is None:
        yield from _counts(overview.counts(), len(overview.problems()))
    elif state in ("pending", "parked"):
        yield from map(_delivery, overview.deliveries(state, limit=limit))
    elif state == "commitments":
        yield from map(_commitment, overview.commitments(limit=limit))
    elif state == "problems":
        yield from (f"{item['kind']}  {item['subject_key']}  {item['problem']}" for item in overview.problems()[:limit])
    else:
        yield from map(_instance, overview.instances(state, limit=limit))


def folder_lines(data: Path) -> Iterator[str]:
    """How the watched folders go."""
    for state in read_states(data):
        problem = f"  {state.problem}" if state.problem else ""
        yield f"folder {state.name}: {state.waiting} waiting, {state.done} done, {state.failed} failed{problem}"


_FOUND = {
    Found.DAMAGED: "its file has changed",
    Found.MISSING: "its file is not in the spool",
    Found.LOST: "does not hold it any more",
}


def finding_lines(keeping: Keeping, limit: int) -> Iterator[str]:
    """What is damaged, missing or lost, the latest first."""
    for item in keeping.findings(limit=limit):
        since = dt.datetime.fromtimestamp(item["found_at"], dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        whose = f"{item['target']} " if item["target"] else ""
        yield f"{item['digest'][:12]}  {item['sop_instance_uid']}  since {since}  {whose}{_FOUND[Found(item['kind'])]}"


def _counts(counts: JsonObject, problems: int) -> Iterator[str]:
    yield f"arrivals      {counts['arrivals']:>8}"
    for door, number in counts["doors"].items():
        yield f"  by {door:<9} {number:>8}"
    for state, number in counts["instances"].items():
        yield f"{state:<13} {number:>8}"
    yield f"open subjects {counts['open_subjects']:>8}"
    yield f"unpublishable {problems:>8}"
    for state, number in sorted(counts.get("commitments", {}).items()):
        yield f"commitments {state:<10} {number:>6}"
    for target, states in counts["deliveries"].items():
        for state, number in sorted(states.items()):
            yield f"to {target}: {state:<11} {number:>6}"


def _commitment(item: JsonObject) -> str:
    asked = dt.datetime.fromtimestamp(item["asked_at"], dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    open_ones = item["objects"] - item["committed"] - item["failed"]
    told = f"{item['objects']} objects: {item['committed']} committed, {item['failed']} failed, {open_ones} open"
    return (
        f"{item['id']:>6}  {item['state']:<8}  from {item['calling_ae']}  since {asked}  {told}  {item['reason'] or ''}".rstrip()
    )


def _instance(item: JsonObject) -> str:
    reason = f"  {item['reason']}" if item["reason"] else ""
    return f"{item['id']:>6}  {item['digest'][:12]}  {item['sop_instance_uid'] or '(no SOP Instance UID)'}{reason}"


def _delivery(item: JsonObject) -> str:
    what = f"{item['kind']} version {item['version']}" if item["version"] else f"{item['variant']} instance {item['subject_key']}"
    since = dt.datetime.fromtimestamp(item["created_at"], dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"{item['id']:>6}  to {item['target']}  {what}  since {since}  after {item['attempts']} attempts  {item['reason'] or ''}"
    )
