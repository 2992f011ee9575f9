"""A FHIR R4 server elsewhere as a target: transactions, ids of ours where it takes them, and never a version without a reason.

Many servers make a new version of every PUT, even an identical one. After a kill or a lost answer nobody here knows what arrived, so
what is to be sent is asked for first; only what the server does not say already is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.errors import Quarantined, Retryable
from gateway.model import JsonObject, Receipt
from gateway.publish.agreement import agrees, literal
from gateway.publish.fhir_http import FhirHttp, entries, refusal
from gateway.publish.remote_ids import Translation, criterion, is_ours, key_of
from gateway.r4.bundles import references, resources_of
from gateway.r4.canonical import encode
from gateway.spool.deliveries import Published

log = structlog.get_logger()

#: What a server can do is asked again after this time; an update may change it.
_STATEMENT_SECS = 3600.0

#: So many resources are asked for in one batch.
_BATCH = 50

#: What the ledger knows of resources by their ids: ``Deliveries.published`` for this target.
Known = Callable[[Sequence[str]], Mapping[tuple[str, str], Published]]


@dataclass(frozen=True, slots=True)
class _Server:
    """What a CapabilityStatement tells that matters here."""

    foreign: frozenset[str]  #: types for which the server gives the ids
    all_foreign: bool
    can_batch: bool

    def gives_id(self, kind: str) -> bool:
        return self.all_foreign or kind in self.foreign


@dataclass(slots=True)
class _Sending:
    """What one delivery has learnt so far, by our ``Type/id``."""

    foreign: frozenset[str]
    names: dict[str, str]  #: the server's ids
    versions: dict[str, str] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)


class FhirServerTarget:
    """Publishes into one FHIR server. Not safe for several threads: each target has one lane."""

    def __init__(self, name: str, http: FhirHttp, known: Known, *, ids: str = "auto", max_bundle_bytes: int = 2 << 20) -> None:
        self._name = name
        self._http = http
        self._known = known
        self._ids = ids
        self._max_bundle_bytes = max_bundle_bytes
        self._server: _Server | None = None
        self._asked_at = 0.0

    @property
    def name(self) -> str:
        return self._name

    def check(self) -> None:
        """Read the CapabilityStatement and log whose ids will be used. Raises :class:`Retryable`."""
        server = self._statement()
        state = "the server's own" if server.all_foreign else f"ours, but for {len(server.foreign)} types"
        log.info("target_found", stage="publish", target=self._name, option="ids", state=state)

    def send(self, bundle: JsonObject) -> Receipt:
        """Send what the server does not say already, in transactions of limited size, in the order in which references need it."""
        resources = resources_of(bundle)
        sending = self._begin(resources)
        missing = self._not_held(resources, sending)
        for chunk in self._chunks(missing):
            self._transact(chunk, sending)
        foreign_names = {key: name for key, name in sending.names.items() if key in sending.versions}
        return Receipt(versions=sending.versions, remote_ids=foreign_names, incomplete=frozenset(sending.incomplete))

    def verify(self, resources: Sequence[JsonObject], receipt: Receipt) -> bool:
        """Read everything back, by the server's own ids."""
        sending = self._begin(resources)
        sending.names.update(receipt.remote_ids)
        held = self._read({key_of(resource): self._address(resource, sending) for resource in resources})
        translation = Translation(sending.foreign, sending.names)
        for resource in resources:
            found = held.get(key_of(resource))
            if found is None or key_of(resource) not in receipt.versions:
                return False
            if not agrees(translation.of(resource), found, exactly=False) and not self._is_anothers(resource, found, sending):
                return False
        return True

    def missing(self, resources: Sequence[JsonObject]) -> list[JsonObject]:
        """Those that the server does not say, or says otherwise."""
        return self._not_held(resources, self._begin(resources))

    def _begin(self, resources: Sequence[JsonObject]) -> _Sending:
        server = self._statement()
        wanted = {key_of(resource) for resource in resources}
        wanted.update(
            reference for resource in resources for reference in references(resource) if literal(reference) == reference
        )
        foreign = frozenset(kind for key in wanted if server.gives_id(kind := key.partition("/")[0]))
        if not foreign:
            return _Sending(foreign, {})
        ids = sorted({key.partition("/")[2] for key in wanted if key.partition("/")[0] in foreign})
        known = self._known(ids)
        names = {f"{kind}/{own}": entry.remote_id for (kind, own), entry in known.items() if entry.remote_id}
        return _Sending(foreign, names)

    def _statement(self) -> _Server:
        """What the server can do, asked again every hour. A server told to take our ids need not have a statement."""
        if self._server is not None and time.monotonic() - self._asked_at < _STATEMENT_SECS:
            return self._server
        answer = self._http.get("metadata")
        if answer.status != 200 or not isinstance(answer.body, dict):
            if self._ids != "ours":
                raise Retryable(refusal(answer.status, answer.headers, answer.body).reason, peer_down=True)
            return _Server(frozenset(), all_foreign=False, can_batch=False)
        rest: JsonObject = next(iter(answer.body.get("rest", ())), {})
        foreign = {item.get("type", "") for item in rest.get("resource", ()) if not item.get("updateCreate", False)}
        can_batch = any(item.get("code") == "batch" for item in rest.get("interaction", ()))
        if self._ids == "ours":
            foreign = set()
        self._server = _Server(frozenset(foreign), all_foreign=self._ids == "server", can_batch=can_batch)
        self._asked_at = time.monotonic()
        return self._server

    def _address(self, resource: JsonObject, sending: _Sending) -> str | None:
        """Where the resource stands at the server, relative; None while the server has not given it an id."""
        if resource["resourceType"] not in sending.foreign:
            return key_of(resource)
        name = sending.names.get(key_of(resource))
        return f"{resource['resourceType']}/{name}" if name else None

    def _not_held(self, resources: Sequence[JsonObject], sending: _Sending) -> list[JsonObject]:
        """Those that the server does not say yet; of the others the version is noted."""
        addresses = {key_of(resource): self._address(resource, sending) for resource in resources}
        held = self._read(addresses)
        for resource in resources:
            key = key_of(resource)
            if addresses[key] is None:
                found = self._search(resource)
                if found is not None:
                    sending.names[key], held[key] = found["id"], found
        translation = Translation(sending.foreign, sending.names)
        missing = []
        for resource in resources:
            found = held.get(key_of(resource))
            if found is not None and (
                agrees(translation.of(resource), found, exactly=True) or self._is_anothers(resource, found, sending)
            ):
                sending.versions[key_of(resource)] = _version_of(found)
            else:
                missing.append(resource)
        return missing

    def _is_anothers(self, resource: JsonObject, found: JsonObject, sending: _Sending) -> bool:
        """A Patient that the server had from somebody else is referred to, never overwritten."""
        return resource["resourceType"] == "Patient" and "Patient" in sending.foreign and not is_ours(found, resource)

    def _search(self, resource: JsonObject) -> JsonObject | None:
        """The one resource that carries this business identifier or our id. Raises :class:`Quarantined` when there are several."""
        kind = resource["resourceType"]
        answer = self._http.get(f"{kind}?{criterion(resource)}")
        if answer.status != 200:
            raise refusal(answer.status, answer.headers, answer.body, sent=resource)
        found: list[JsonObject] = [
            entry["resource"]
            for entry in entries(answer.body)
            if entry.get("search", {}).get("mode", "match") == "match" and entry.get("resource", {}).get("resourceType") == kind
        ]
        if len(found) > 1:
            raise Quarantined(
                f"The target holds {len(found)} resources of type {kind} under one identifier; merge them there first."
            )
        return found[0] if found else None

    def _read(self, addresses: Mapping[str, str | None]) -> dict[str, JsonObject]:
        """What stands at these addresses, by our keys; what is not there or deleted is left out."""
        wanted = [(key, address) for key, address in addresses.items() if address is not None]
        if self._server is not None and self._server.can_batch and len(wanted) > 1:
            found: dict[str, JsonObject] = {}
            for start in range(0, len(wanted), _BATCH):
                found.update(self._read_batch(wanted[start : start + _BATCH]))
            return found
        return {key: resource for key, address in wanted if (resource := self._read_one(address)) is not None}

    def _read_one(self, address: str) -> JsonObject | None:
        answer = self._http.get(address)
        if answer.status in (404, 410):
            return None
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise refusal(answer.status, answer.headers, answer.body)
        return answer.body

    def _read_batch(self, wanted: Sequence[tuple[str, str]]) -> dict[str, JsonObject]:
        requests = [{"request": {"method": "GET", "url": address}} for _, address in wanted]
        answer = self._http.post({"resourceType": "Bundle", "type": "batch", "entry": requests})
        told = list(entries(answer.body))
        if answer.status != 200 or len(told) != len(wanted):
            raise (
                refusal(answer.status, answer.headers, answer.body)
                if answer.status != 200
                else Retryable("The target answered a batch with another number of entries.")
            )
        found: dict[str, JsonObject] = {}
        for (key, address), entry in zip(wanted, told, strict=True):
            status, resource = str(entry.get("response", {}).get("status", ""))[:3], entry.get("resource")
            if status == "200" and isinstance(resource, dict):
                found[key] = resource
            elif status not in ("404", "410"):
                single = self._read_one(address)  # some servers answer reads inside a batch in their own way
                if single is not None:
                    found[key] = single
        return found

    def _chunks(self, resources: Sequence[JsonObject]) -> Iterator[list[JsonObject]]:
        """Runs that stay below the limit; a resource larger than it travels alone."""
        chunk: list[JsonObject] = []
        size = 0
        for resource in resources:
            weight = len(encode(resource)) + 200
            if chunk and size + weight > self._max_bundle_bytes:
                yield chunk
                chunk, size = [], 0
            chunk.append(resource)
            size += weight
        if chunk:
            yield chunk

    def _transact(self, chunk: Sequence[JsonObject], sending: _Sending) -> None:
        together = frozenset(key_of(item) for item in chunk if item["resourceType"] in sending.foreign) - sending.names.keys()
        bundle_entries = []
        for resource in chunk:
            translation = Translation(sending.foreign, sending.names, together)
            bundle_entries.append(self._entry(resource, translation.of(resource), sending))
            if not translation.is_complete:
                sending.incomplete.add(key_of(resource))
        answer = self._http.post({"resourceType": "Bundle", "type": "transaction", "entry": bundle_entries})
        if answer.status == 413 and len(chunk) > 1:
            half = len(chunk) // 2
            self._transact(chunk[:half], sending)
            self._transact(chunk[half:], sending)
            return
        if answer.status not in (200, 201):
            raise refusal(answer.status, answer.headers, answer.body, sent=list(chunk))
        told = list(entries(answer.body))
        if len(told) != len(chunk):
            raise Retryable("The target answered a transaction with another number of entries.")
        for resource, entry in zip(chunk, told, strict=True):
            self._note(resource, entry.get("response", {}), sending)

    def _entry(self, resource: JsonObject, translated: JsonObject, sending: _Sending) -> JsonObject:
        kind = resource["resourceType"]
        address = self._address(resource, sending)
        request = (
            {"method": "PUT", "url": address} if address else {"method": "POST", "url": kind, "ifNoneExist": criterion(resource)}
        )
        return {"fullUrl": f"urn:uuid:{resource['id']}", "resource": translated, "request": request}

    def _note(self, resource: JsonObject, response: JsonObject, sending: _Sending) -> None:
        location, key = str(response.get("location", "")), key_of(resource)
        address = literal(location) or self._address(resource, sending)
        if address is None:
            raise Retryable("The target did not say under which id it keeps what it took.")
        if resource["resourceType"] in sending.foreign:
            sending.names[key] = address.partition("/")[2]
        version = location.rpartition("/_history/")[2] if "/_history/" in location else str(response.get("etag", "")).strip('W/"')
        sending.versions[key] = version or "unknown"


def _version_of(resource: JsonObject) -> str:
    return str(resource.get("meta", {}).get("versionId", "unknown"))
