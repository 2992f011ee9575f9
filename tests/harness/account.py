"""The account: what was acknowledged against what is kept and what is published. It must balance to the last object.

    acknowledged  =  in the spool, digest recomputed  =  published  +  parked for a human

and nothing stands twice: each SOP Instance UID in exactly one ImagingStudy, each business identifier on one resource of its type.
It reads the witness's log, the files, the ledger's tables (read-only) and the FHIR endpoint; it uses no code of the gateway.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom.dsutils import split_dataset

from tests.harness import snapshot as fhir
from tests.harness.snapshot import Snapshot
from tests.harness.witness import read_log

#: Instance states in which a human must look: kept, visible, and rightly not published.
PARKED = ("quarantined", "conflict", "shadowed")

Identity = tuple[str, str]  #: SOP Instance UID, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The counts, and every complaint. It balances when there is none."""

    acknowledged: int
    spooled: int
    published: int
    parked: int
    resources: int
    complaints: tuple[str, ...] = field(default_factory=tuple)

    @property
    def balanced(self) -> bool:
        return not self.complaints

    def table(self) -> str:
        rows = [
            ("acknowledged by the receiver", self.acknowledged),
            ("of these in the spool, digest recomputed", self.spooled),
            ("of these published in exactly one ImagingStudy", self.published),
            ("of these parked for a human", self.parked),
            ("resources in the store", self.resources),
        ]
        lines = [f"{label:<50}{count:>8}" for label, count in rows]
        verdict = "balanced" if self.balanced else f"{len(self.complaints)} complaints"
        return "\n".join([*lines, f"{'account':<50}{verdict:>8}", *self.complaints[:50]])


def settle(data: Path, *, timeout_secs: float = 120.0) -> list[str]:
    """Wait until the ledger has nothing left to do; returns what is still open when the time is up."""
    deadline = time.monotonic() + timeout_secs
    while True:
        unfinished = journalled(data) + unknown_files(data) + open_work(data / "ledger.db")
        if not unfinished or time.monotonic() > deadline:
            return unfinished
        time.sleep(0.1)


def journalled(data: Path) -> list[str]:
    """Segments of the journal that hold acknowledged objects whose files are still to come."""
    segments = (data / "spool" / "journal").glob("*.seg")
    waiting = sum(_begins(path) == b"ISOBJRN" for path in segments)
    return [f"{waiting} segments of the journal not yet settled"] if waiting else []


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(7)


def unknown_files(data: Path) -> list[str]:
    """Files whose row is still on its way: the receiver answers when the file is durable, a moment before the row."""
    files = {path.stem for path in (data / "spool").rglob("*.dcm")}
    unknown = files - {digest for (_, digest), _ in _rows(data / "ledger.db")}
    return [f"{len(unknown)} files without a row"] if unknown else []


def open_work(ledger: Path) -> list[str]:
    """What the ledger still means to do, one line per kind of work."""
    questions = {
        "instances not yet normalised": "SELECT COUNT(*) FROM instance WHERE state = 'received'",
        "studies not yet sealed": "SELECT COUNT(*) FROM study WHERE next_quiet_at IS NOT NULL",
        "dossiers not yet sealed": "SELECT COUNT(*) FROM dossier WHERE next_quiet_at IS NOT NULL",
        "deliveries under way": "SELECT COUNT(*) FROM delivery WHERE state IN ('pending', 'leased', 'done')",
    }
    with closing(_read_only(ledger)) as database:
        database.execute("BEGIN")  # one view: else work could slip from one count to the next
        counts = {name: int(database.execute(question).fetchone()[0]) for name, question in questions.items()}
    return [f"{count} {name}" for name, count in counts.items() if count]


def not_kept(log: Path, data: Path) -> tuple[int, list[str]]:
    """How many objects were acknowledged, and each of them without a file (digest recomputed) or a row. Before anything is published."""
    acknowledged = {(answer.sop_instance_uid, answer.digest) for answer in read_log(log) if answer.acknowledged}
    spooled, complaints = _spooled(data / "spool")
    rows = {identity for identity, _ in _rows(data / "ledger.db")}
    complaints += [f"acknowledged but not in the spool: {uid}" for uid, digest in sorted(acknowledged) if digest not in spooled]
    complaints += [f"acknowledged but without a row: {uid}" for uid, _ in sorted(acknowledged - rows)]
    return len(acknowledged), complaints


def settle_account(log: Path, data: Path, resources: Snapshot) -> Account:
    """Compare the witness's log with spool, ledger and store."""
    acknowledged = {(answer.sop_instance_uid, answer.digest) for answer in read_log(log) if answer.acknowledged}
    spooled, complaints = _spooled(data / "spool")
    rows = _rows(data / "ledger.db")
    states = dict(rows)
    holders = _holders(resources)
    complaints += [f"unfinished: {line}" for line in open_work(data / "ledger.db")]
    complaints += [f"row twice: {uid} {digest}" for (uid, digest), count in Counter(key for key, _ in rows).items() if count > 1]
    complaints += _missing(acknowledged, spooled, states, holders)
    complaints += _twice(holders, resources)
    complaints += _unasked(holders, states)
    parked = {identity for identity in acknowledged if states.get(identity) in PARKED}
    return Account(
        acknowledged=len(acknowledged),
        spooled=sum(digest in spooled for _, digest in acknowledged),
        published=sum(len(holders.get(uid, ())) == 1 for uid, _ in acknowledged - parked),
        parked=len(parked),
        resources=len(resources),
        complaints=tuple(complaints),
    )


def _spooled(spool: Path) -> tuple[set[str], list[str]]:
    """The digests of the files, each computed anew from the bytes; a file that is not what its name says is a complaint."""
    found, complaints = set(), []
    for path in sorted(spool.rglob("*.dcm")):
        meta, offset = split_dataset(path)
        digest = hashlib.sha256(str(meta.TransferSyntaxUID).encode("ascii") + path.read_bytes()[offset:]).hexdigest()
        if digest != path.stem:
            complaints.append(f"bytes differ from the name: {path.name}")
        found.add(digest)
    return found, complaints


def _rows(ledger: Path) -> list[tuple[Identity, str]]:
    with closing(_read_only(ledger)) as database:
        rows = database.execute("SELECT sop_instance_uid, digest, state FROM instance").fetchall()
    return [((uid, digest.hex() if isinstance(digest, bytes) else str(digest)), state) for uid, digest, state in rows]


def _read_only(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    database.execute("PRAGMA query_only = 1")
    return database


def _holders(resources: Snapshot) -> dict[str, list[str]]:
    """For each SOP Instance UID the ImagingStudy resources that list it; a UID listed twice in one counts twice."""
    holders: dict[str, list[str]] = {}
    for key, resource in resources.items():
        if resource["resourceType"] == "ImagingStudy":
            for series in resource.get("series", []):
                for instance in series.get("instance", []):
                    holders.setdefault(instance["uid"], []).append(key)
    return holders


def _missing(
    acknowledged: Iterable[Identity], spooled: set[str], states: dict[Identity, str], holders: dict[str, list[str]]
) -> Sequence[str]:
    complaints = []
    for uid, digest in sorted(acknowledged):
        state = states.get((uid, digest))
        if digest not in spooled:
            complaints.append(f"acknowledged but not in the spool: {uid}")
        if state is None:
            complaints.append(f"acknowledged but without a row: {uid}")
        elif state not in PARKED and not holders.get(uid):
            complaints.append(f"acknowledged but neither published nor parked ({state}): {uid}")
    return complaints


def _twice(holders: dict[str, list[str]], resources: Snapshot) -> list[str]:
    complaints = [
        f"listed {len(keys)} times: {uid} in {', '.join(sorted(keys))}" for uid, keys in holders.items() if len(keys) > 1
    ]
    owners: dict[tuple[str, str, str], set[str]] = {}
    for key, resource in resources.items():
        identifiers = resource.get("identifier", [])
        for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
            if identifier.get("system") and identifier.get("value") and not _is_accession(identifier):
                owners.setdefault((resource["resourceType"], identifier["system"], identifier["value"]), set()).add(key)
    # A fact that was withdrawn keeps its identifiers and points to the survivor: only what is in force counts.
    for (kind, system, _), keys in owners.items():
        in_force = {key for key in keys if resources[key].get("status") != "entered-in-error"}
        if len(in_force) > 1 and kind not in ("Observation", "Provenance"):
            complaints.append(f"one identifier of {system} on {len(in_force)} {kind} resources: {', '.join(sorted(in_force))}")
    return complaints


def _is_accession(identifier: dict[str, Any]) -> bool:
    """An accession number names the order, not the study: one order may lead to several studies."""
    return any(coding.get("code") == "ACSN" for coding in identifier.get("type", {}).get("coding", []))


def _unasked(holders: dict[str, list[str]], states: dict[Identity, str]) -> list[str]:
    """Published, but not in the ledger as an instance in force."""
    in_force = {uid for (uid, _), state in states.items() if state == "normalised"}
    return [f"published without a normalised instance: {uid}" for uid in sorted(holders.keys() - in_force)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="the witness's log")
    parser.add_argument("data", type=Path, help="the daemon's data directory")
    parser.add_argument("url", help="the FHIR endpoint, for example http://127.0.0.1:8080/fhir")
    chosen = parser.parse_args()
    account = settle_account(chosen.log, chosen.data, fhir.fetch(chosen.url))
    print(account.table())
    return 0 if account.balanced else 1


if __name__ == "__main__":
    raise SystemExit(main())
