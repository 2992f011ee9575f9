"""What people ask of the ledger: counts, lists, one item. Reads only."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from gateway.database import Database
from gateway.model import Door, JsonObject
from gateway.spool import bodies
from gateway.spool.callers import Caller, Callers
from gateway.spool.commitments import Commitments

INSTANCE_STATES = ("received", "normalised", "quarantined", "conflict", "variant", "shadowed")


class Overview:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._callers = Callers(database)
        self._commitments = Commitments(database)
        self._sql = database.statements(Path(__file__).parent / "sql" / "overview.sql")

    def commitments(self, *, limit: int = 100) -> list[JsonObject]:
        """Requests for storage commitment, the latest first."""
        return self._commitments.listed(limit=limit)

    def counts(self) -> JsonObject:
        """Instances by state, deliveries by target and state, arrivals by door, subjects still open, commitments by state."""
        commitments = self._commitments.counts()
        with self._database.read() as connection:
            doors = {row.door: row.n for row in connection.execute(self._sql["arrival_counts"])}
            instances = {row.state: row.n for row in connection.execute(self._sql["instance_counts"])}
            deliveries: dict[str, dict[str, int]] = {}
            for row in connection.execute(self._sql["delivery_counts"]):
                deliveries.setdefault(row.target, {})[row.state] = row.n
            return {
                "arrivals": sum(doors.values()),
                "doors": {str(door): doors[door] for door in Door if door in doors},
                "instances": {state: instances.get(state, 0) for state in INSTANCE_STATES},
                "deliveries": deliveries,
                "open_subjects": connection.execute(self._sql["open_subjects"]).scalar_one(),
                "versions": {row.kind: row.n for row in connection.execute(self._sql["subject_versions"])},
                **({"commitments": commitments} if commitments else {}),
            }

    def instances(self, state: str, *, limit: int = 100) -> list[JsonObject]:
        with self._database.read() as connection:
            return [_item(row._mapping) for row in connection.execute(self._sql["instances_in_state"], _page(state, limit))]

    def deliveries(self, state: str, *, limit: int = 100) -> list[JsonObject]:
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["deliveries_in_state"], _page(state, limit))]

    def waiting(self) -> dict[str, JsonObject]:
        """For each target that something waits for: how many, since when, and why the last attempts failed, if they did."""
        found: dict[str, JsonObject] = {}
        with self._database.read() as connection:
            for row in connection.execute(self._sql["waiting"]):
                told = found.setdefault(row.target, {"deliveries": 0, "since": row.since, "reason": ""})
                told["deliveries"] += row.n
                told["since"] = min(told["since"], row.since)
                told["reason"] = told["reason"] or row.reason
        return found

    def problems(self) -> list[JsonObject]:
        """Studies and dossiers that cannot be published, with the reason. They are tried again by themselves."""
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["subjects_with_problems"])]

    def find(self, wanted: str, *, limit: int = 20) -> list[JsonObject]:
        """Instances by the first digits of their digest, by SOP Instance UID or by Study Instance UID, with all that is known."""
        hexadecimal = wanted if len(wanted) >= 4 and all(c in "0123456789abcdef" for c in wanted) else ""
        bounds = {
            "low": bytes.fromhex(hexadecimal.ljust(64, "0")) if hexadecimal else b"\xff" * 33,
            "high": bytes.fromhex(hexadecimal.ljust(64, "f")) if hexadecimal else b"",
            "uid": wanted,
            "limit": limit,
        }
        with self._database.read() as connection:
            found = connection.execute(self._sql["instances_like"], bounds).all()
            return [{**_item(row._mapping), **self._details(connection, row)} for row in found]

    def callers(self, *, limit: int = 100) -> list[Caller]:
        """Who has called the receiver and how it went, the latest first."""
        return self._callers.listed(limit=limit)

    def _details(self, connection: Any, row: Any) -> JsonObject:
        arrivals = [
            {**arrival._mapping, "received_at": dt.datetime.fromtimestamp(arrival.received_at, dt.UTC).isoformat()}
            for arrival in connection.execute(self._sql["arrivals_of"], {"digest": row.digest})
        ]
        deliveries = [dict(told._mapping) for told in connection.execute(self._sql["deliveries_of"], {"id": row.id})]
        known: JsonObject = {"arrivals": arrivals, **({"deliveries": deliveries} if deliveries else {})}
        record = connection.execute(self._sql["record_of"], {"id": row.id}).first()
        if record is None:
            return known
        shared = bodies.unpack_shared(record.body)
        issues = [issue.as_json() for issue in (*shared.issues, *bodies.unpack_issues(record.issues))]
        return {**known, "mapping": f"{shared.mapping}@{shared.mapping_version}", "issues": issues}


def _page(state: str, limit: int) -> dict[str, object]:
    return {"state": state, "limit": limit}


def _item(row: Any) -> JsonObject:
    return {**row, "digest": bytes(row["digest"]).hex()}
