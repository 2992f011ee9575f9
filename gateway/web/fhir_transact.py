"""``POST`` to the base address: a batch, each entry for itself, or a transaction, all of it or nothing (R4 http.html#transaction).

What a transaction changes is done in one transaction of the store. R4's order (DELETE, POST, PUT, GET) shows only in this: no two
entries may name one resource, criteria look at the store as it stood before, and what is read is read last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy.engine import Connection
from starlette.responses import Response

from gateway.errors import Rejected, Retryable
from gateway.model import JsonObject
from gateway.r4.canonical import encode
from gateway.store import FhirStore, Stored, dates
from gateway.store.operations import Operation
from gateway.store.writer import Outcome
from gateway.web.access import touched
from gateway.web.fhir_body import Bodies
from gateway.web.fhir_entries import MAX_READS, Read, checked_bundle, read_entry
from gateway.web.fhir_http import Call, etag, failure, operation_outcome, resource_response
from gateway.web.fhir_inner import ask
from gateway.web.fhir_read_last import read_last
from gateway.web.fhir_write import Writers, may_see, need_for, returned, signature, written
from gateway.web.threads import Threads

#: Of all that the reads of one bundle answer.
MAX_ANSWER_BYTES = 64 << 20

log = structlog.get_logger()
T = TypeVar("T")


class BundleApi:
    """The handler of the base address."""

    def __init__(self, store: FhirStore, writers: Writers, bodies: Bodies, pool: Threads) -> None:
        self._store = store
        self._writers = writers
        self._bodies = bodies
        self._pool = pool

    async def handle(self, call: Call) -> Response:
        bundle = await self._bodies.resource(call.request)
        entries = await self._pool.run(lambda: checked_bundle(bundle))
        kind = str(bundle["type"])
        answers = await (self._batch if kind == "batch" else self._transaction)(call, entries)
        answer: JsonObject = {"resourceType": "Bundle", "type": f"{kind}-response"}
        if answers:
            answer["entry"] = answers
        return resource_response(encode(answer), pretty=call.pretty)

    async def _batch(self, call: Call, entries: Sequence[JsonObject]) -> list[JsonObject]:
        answers, reads, size = [], 0, 0
        for number, entry in enumerate(entries):
            try:
                wanted = await self._pool.run(partial(read_entry, number, entry, call.base))
                if isinstance(wanted, Operation):
                    (answer,) = await self._change(call, [wanted], [])
                else:
                    reads += 1
                    answer = await self._read(call, wanted, reads, size)
                    size += _size(answer)
            except Rejected as error:
                answer = _failed(error.status, error.reason, error.code)
            except Retryable as error:
                answer = _failed(503, error.reason)
            answers.append(answer)
        return answers

    async def _transaction(self, call: Call, entries: Sequence[JsonObject]) -> list[JsonObject]:
        wanted = await self._pool.run(lambda: [read_entry(number, entry, call.base) for number, entry in enumerate(entries)])
        changes = [one for one in wanted if isinstance(one, Operation)]
        reads = [one for one in wanted if isinstance(one, Read)]
        if changes:
            done = iter(await self._change(call, changes, reads))
            asked = [next(done) for _ in changes], list(done)
        else:
            asked = [], [await self._strictly(call, one, number) for number, one in enumerate(reads, start=1)]
        changed, read = map(iter, asked)
        return [next(changed) if isinstance(one, Operation) else next(read) for one in wanted]

    async def _change(self, call: Call, changes: Sequence[Operation], reads: Sequence[Read]) -> list[JsonObject]:
        """The answers to the changes, then those to the reads."""
        principal = self._writers.who(call)
        wish = returned(call, default="minimal")

        def work() -> list[JsonObject]:
            for one in changes:
                need_for(principal, one)
            found: list[JsonObject] = []

            def then(connection: Connection) -> None:
                found.extend(read_last(call, self._store, connection, principal, reads))

            outcomes = self._store.write(changes, by=signature(principal), base=call.base, then=then)
            log.info("fhir_written", stage="web", method="POST", count=len(changes))
            told = []
            for one, outcome in zip(changes, outcomes, strict=True):
                stored = written(self._store, outcome)
                touched(call.request, stored)
                shown = stored[-1] if stored and one.method != "DELETE" and may_see(principal, outcome) else None
                told.append(_told(one, outcome, wish, shown))
            return told + found

        return await self._pool.run(work)

    async def _strictly(self, call: Call, wanted: Read, number: int) -> JsonObject:
        answer = await self._read(call, wanted, number, 0)
        status = int(answer["response"]["status"])
        if status >= 400:
            raise Rejected(f"the transaction was refused: a read in it answered {status}", status=status)
        return answer

    async def _read(self, call: Call, wanted: Read, number: int, size: int) -> JsonObject:
        if number > MAX_READS or size > MAX_ANSWER_BYTES:
            raise Rejected(f"at most {MAX_READS} reads and {MAX_ANSWER_BYTES >> 20} MiB in one bundle", status=413)
        inner = await ask(call.request, wanted.path, wanted.method, wanted.headers)
        response: JsonObject = {"status": str(inner.status)}
        if tag := inner.headers.get("etag"):
            response["etag"] = tag
        if not inner.body:
            if inner.status == 200 and wanted.method == "GET":
                return _failed(400, "this answer is no FHIR resource; ask for it alone")
            return {"response": response}
        if inner.status >= 400:
            return {"response": {**response, "outcome": msgspec.Raw(inner.body)}}
        return {"resource": msgspec.Raw(inner.body), "response": response}


def _told(wanted: Operation, outcome: Outcome, wish: str, shown: Stored | None) -> JsonObject:
    response: JsonObject = {"status": outcome.status}
    change = outcome.change
    if outcome.version:
        if wanted.method != "DELETE":
            response["location"] = f"{change.type}/{change.id}/_history/{outcome.version}"
        response |= {"etag": etag(outcome.version), "lastModified": dates.as_instant(outcome.updated)}
    if wish == "operationoutcome":
        response["outcome"] = operation_outcome("information", "informational", [outcome.status])
    entry = {"resource": msgspec.Raw(shown.body)} if wish == "representation" and shown else {}
    return {**entry, "response": response}


def _size(answer: JsonObject) -> int:
    body: Any = answer.get("resource")
    return len(bytes(body)) if isinstance(body, msgspec.Raw) else 0


def _failed(status: int, reason: str, code: str | None = None) -> JsonObject:
    return {"response": {"status": str(status), "outcome": failure(status, reason, code)}}
