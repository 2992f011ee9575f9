"""Orthanc as a target for images: the file as it stands in the spool, uploaded, read back, compared.

Orthanc stores an upload as it came, so the MD5 that it tells of its attachment is that of the file. Where they differ, the object is
downloaded and compared by our digest (transfer syntax and data set): another route may have brought the same data set under
another file header. Success is told only when that digest is equal. What stands there with other content is never overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import requests
import structlog
from orthanc_api_client import OrthancApiClient
from orthanc_api_client import exceptions as orthanc_errors
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from gateway.dicom.reading import TRANSFER_SYNTAX_UID, read_file_meta
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.publish.fhir_http import Access, refusal
from gateway.publish.target import Produced
from gateway.spool.deliveries import Given, InstanceTicket, Variant

log = structlog.get_logger()

#: User-defined metadata start here (Orthanc book, "Metadata"); a number needs no entry in Orthanc's configuration.
MARK = "1024"

#: What a mark says. No person, no reason: both stand in the gateway.
_MARKS = {
    Variant.WITHDRAWN: "isobridge: withdrawn, do not use",
    Variant.REASSIGNED: "isobridge: belongs to another patient than it says, see the FHIR record",
}

_WITHDRAWN_STANDS = (
    "Orthanc still holds the withdrawn object under this SOP Instance UID. "
    "Delete it there, or set on_withdrawal: delete; then retry."
)
_ANOTHER = "Orthanc holds another object under this SOP Instance UID. Neither is overwritten; compare them and remove one."


class OrthancTarget:
    """Delivers instances to one Orthanc. Safe for several threads: they share one pool of connections."""

    def __init__(
        self,
        name: str,
        access: Access,
        *,
        on_withdrawal: Literal["mark", "delete"] = "mark",
        parallel: int = 4,
        normalised: bool = False,
    ) -> None:
        self._name = name
        self._normalised = normalised
        self._on_withdrawal = on_withdrawal
        self._parallel = parallel
        self._timeout = (access.connect_timeout_secs, access.timeout_secs)
        self._client = _client(access, pool_maxsize=parallel + 1)
        self._greeted = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def parallel(self) -> int:
        return self._parallel

    @property
    def normalised(self) -> bool:
        return self._normalised

    def deliver(self, ticket: InstanceTicket, file: Path, produced: Produced | None = None) -> Given | None:
        """Hold it (or mark it), and prove it. Raises a :class:`~gateway.errors.GatewayError` when that did not come about."""
        if not self._greeted:
            self.check()
        former = [item for item in ticket.given if produced is None or item.digest != produced.digest]
        places = {item.sop_instance_uid: self._lookup(item.sop_instance_uid) for item in former}
        if ticket.variant is Variant.WITHDRAWN or (ticket.variant is Variant.REASSIGNED and produced is None):
            places[ticket.sop_instance_uid] = self._lookup(ticket.sop_instance_uid)
            self._withdraw(ticket, [identifier for found in places.values() for identifier in found])
            return None
        content = produced or _Original(file, ticket)
        held = self._lookup(content.sop_instance_uid)
        digests = {item.digest for item in former}
        found = {identifier for identifiers in places.values() for identifier in identifiers}
        kept = self._hold(content, held, {identifier for identifier in found if self._digest_of(identifier) in digests})
        belongs_elsewhere = bool(ticket.original_key) and ticket.patient_key != ticket.original_key
        if self._normalised and belongs_elsewhere and not content.names_patient:
            self._set_mark(kept, _MARKS[Variant.REASSIGNED])
        if produced is None and ticket.variant is not Variant.NORMALISED:
            return None
        return Given(digest=content.digest, sop_instance_uid=content.sop_instance_uid)

    def check(self) -> None:
        """Ask who it is and log what matters of its settings. Raises :class:`Retryable`."""
        system = _members(self._ask(lambda: self._client.get("system", timeout=self._timeout)))
        overwrites = system.get("OverwriteInstances")
        version = str(system.get("Version", "unknown"))
        told = {True: "on", False: "off"}.get(overwrites, "not told by this version")
        log.info("target_found", stage="publish", target=self._name, version=version, option="OverwriteInstances", state=told)
        if overwrites is True:
            reason = "other senders may replace what we delivered; set OverwriteInstances to false"
            log.warning("target_overwrites", stage="publish", target=self._name, reason=reason)
        self._greeted = True

    def holds(self, sop_instance_uid: str, digest: str, file: Path) -> bool:
        """Whether it holds this object now, byte for byte; ``file`` is our copy, if we still have it. Raises :class:`Retryable`."""
        md5 = ""
        with contextlib.suppress(FileNotFoundError), file.open("rb") as body:
            md5 = hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return any(
            (bool(md5) and self._md5_at(identifier) == md5) or self._digest_of(identifier) == digest
            for identifier in self._lookup(sop_instance_uid)
        )

    def fetch(self, sop_instance_uid: str, digest: str) -> bytes | None:
        """The original with this digest, if it is there. Raises :class:`Retryable`."""
        for identifier in self._lookup(sop_instance_uid):
            content = self._file_of(identifier)
            if content is not None and digest_of(content) == digest:
                return content
        return None

    def _md5_at(self, identifier: str) -> str | None:
        answer = self._found(lambda: self._client.get(f"instances/{identifier}/attachments/dicom/md5", timeout=self._timeout))
        return None if answer is None else answer.text.strip().lower()

    def _hold(self, content: Produced, held: list[str], ours: set[str]) -> str:
        """Make it stand there; returns Orthanc's id of it.

        ``ours`` are former objects of the same instance, proven by digest: the new one takes their place, they go last. Orthanc keeps one
        object in one place (patient, study, series, SOP Instance UID). Where a former one stands just there it goes first; a kill in
        between leaves the delivery pending, and the object is made and sent again.
        """
        others = [identifier for identifier in held if identifier not in ours]
        kept = next((identifier for identifier in others if self._holds(identifier, content)), None)
        if kept is None:
            if any(self._mark_of(identifier) is None for identifier in others):
                raise Quarantined(_ANOTHER)
            kept = self._upload(content)
            if kept in ours and not self._holds(kept, content):
                self._delete(kept)
                kept = self._upload(content)
            if not self._holds(kept, content):
                if not self._digest_of(kept):
                    raise Retryable("The target answered success but does not hold what was sent.")
                raise Quarantined(_WITHDRAWN_STANDS if kept in held else _ANOTHER)
        else:
            self._clear_mark(kept)
        for identifier in sorted(ours - {kept}):
            self._delete(identifier)
        return kept

    def _withdraw(self, ticket: InstanceTicket, held: list[str]) -> None:
        """Mark or delete what is ours there, by digest; what others brought under the same UID is not touched."""
        known = {ticket.digest, *(item.digest for item in ticket.given)}
        ours = [identifier for identifier in dict.fromkeys(held) if self._digest_of(identifier) in known]
        for identifier in ours:
            if ticket.variant is Variant.WITHDRAWN and self._on_withdrawal == "delete":
                self._delete(identifier)
            else:
                self._set_mark(identifier, _MARKS[ticket.variant])

    def _lookup(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's ids of what it holds under a SOP Instance UID; several when patient or study differ."""
        answer = self._ask(lambda: self._client.post("tools/lookup", data=sop_instance_uid.encode(), timeout=self._timeout))
        return [item["ID"] for item in _members(answer) if item.get("Type") == "Instance"]

    def _upload(self, content: Produced) -> str:
        with content.open() as body:
            answer = self._ask(lambda: self._post_file(body), missing="object")
        told = _members(answer)
        if isinstance(told, dict) and told.get("Status") in ("Success", "AlreadyStored"):
            return str(told["ID"])
        raise Quarantined("Orthanc did not store the object: a filter of its own refused it.")

    def _post_file(self, body: BinaryIO) -> requests.Response | None:
        body.seek(0)
        answer: requests.Response | None = self._client.post(
            "instances", data=body, headers={"Content-Type": "application/dicom"}, timeout=self._timeout
        )
        return answer

    def _holds(self, identifier: str, content: Produced) -> bool:
        answer = self._found(lambda: self._client.get(f"instances/{identifier}/attachments/dicom/md5", timeout=self._timeout))
        if answer is None:
            return False
        return answer.text.strip().lower() == content.md5 or self._digest_of(identifier) == content.digest

    def _digest_of(self, identifier: str) -> str | None:
        """None where nothing stands; empty where what stands cannot be read."""
        content = self._file_of(identifier)
        try:
            return None if content is None else digest_of(content)
        except Quarantined:
            return ""

    def _file_of(self, identifier: str) -> bytes | None:
        answer = self._found(lambda: self._client.get(f"instances/{identifier}/file", timeout=self._timeout))
        return None if answer is None else bytes(answer.content)

    def _mark_of(self, identifier: str) -> str | None:
        answer = self._found(lambda: self._client.get(f"instances/{identifier}/metadata/{MARK}", timeout=self._timeout))
        return answer.text if answer is not None and answer.text in _MARKS.values() else None

    def _set_mark(self, identifier: str, text: str) -> None:
        address = f"instances/{identifier}/metadata/{MARK}"
        if self._mark_of(identifier) != text:
            self._ask(lambda: self._client.put(address, data=text.encode(), timeout=self._timeout))
        if self._mark_of(identifier) != text:
            raise Retryable("Orthanc did not keep the mark.")

    def _clear_mark(self, identifier: str) -> None:
        if self._mark_of(identifier) is not None:
            self._found(lambda: self._client.delete(f"instances/{identifier}/metadata/{MARK}", timeout=self._timeout))

    def _delete(self, identifier: str) -> None:
        self._found(lambda: self._client.delete(f"instances/{identifier}", timeout=self._timeout))

    def _found(self, action: Callable[[], requests.Response | None]) -> requests.Response | None:
        """The answer, or None when Orthanc does not know of it (404)."""
        try:
            return self._ask(action, missing="nothing")
        except _Missing:
            return None

    def _ask(
        self, action: Callable[[], requests.Response | None], *, missing: Literal["address", "object", "nothing"] = "address"
    ) -> requests.Response:
        """One request. ``missing`` says what a 404 means: a wrong address, an object without what Orthanc needs, or just nothing."""
        try:
            answer = action()
        except orthanc_errors.ResourceNotFound as error:
            if missing == "nothing":
                raise _Missing from error
            if missing == "object":
                reason = "Orthanc lacks what it needs of this object: PatientID, Study or Series Instance UID."
                raise Quarantined(reason) from error
            raise Retryable("No Orthanc is found at this url (HTTP 404).", peer_down=True) from error
        except orthanc_errors.OrthancApiException as error:
            raise _translated(error) from error
        if answer is None:  # the client swallows what it does not know, such as an answer that breaks off
            raise Retryable("The answer broke off.", peer_down=True)
        return answer


def _members(answer: requests.Response) -> Any:
    """What the answer says. A page of something that stands before Orthanc comes with status 200, too."""
    try:
        return answer.json()
    except ValueError as error:
        raise Retryable("What answers at this url is not what an Orthanc says.", peer_down=True) from error


class _Missing(Exception):
    """Orthanc does not know of it."""


def _client(access: Access, *, pool_maxsize: int) -> Any:
    client = OrthancApiClient(
        access.url.rstrip("/") + "/",
        user=access.username,
        pwd=access.password,
        api_token=access.token,
        pool_maxsize=pool_maxsize,
    )
    session: requests.Session = client._http_session
    session.trust_env = False
    if access.ca_file is not None:
        session.verify = str(access.ca_file)
    # Whatever is asked here may be asked twice, so a kept connection that Orthanc has closed is opened anew at once. All else that
    # fails is the lane's to decide: the client's own retries would sleep for as long as a Retry-After says.
    again = Retry(total=1, redirect=0, status=0, other=0, allowed_methods=None, respect_retry_after_header=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again, pool_maxsize=pool_maxsize))
    return client


def _translated(error: Any) -> GatewayError:
    """What a refusal asks for. Orthanc's own words quote patients, so only what they amount to is kept."""
    if isinstance(error, orthanc_errors.TimeoutError):
        return Retryable("The target took too long to answer.")
    if isinstance(error, orthanc_errors.HttpError):
        if error.http_status_code == 400:
            return Quarantined("Orthanc cannot read this as DICOM (HTTP 400).")
        response = error.request_response
        return refusal(error.http_status_code, response.headers if response is not None else {}, None)
    return Retryable("The target cannot be reached.", peer_down=True)


class _Original:
    """The file of the spool as it stands."""

    def __init__(self, file: Path, ticket: InstanceTicket) -> None:
        self._file = file
        self.sop_instance_uid = ticket.sop_instance_uid
        self.digest = ticket.digest
        self.names_patient = False

    @cached_property
    def md5(self) -> str:
        """Raises :class:`Quarantined` when the file is gone."""
        try:
            with self._file.open("rb") as body:
                return hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except FileNotFoundError as error:
            raise Quarantined("The object is not in the spool any longer.") from error

    def open(self) -> BinaryIO:
        return self._file.open("rb")


def digest_of(content: bytes) -> str:
    """Our digest of a Part 10 file: SHA-256 of its transfer syntax UID and its data set."""
    meta, start = read_file_meta(content)
    digest = hashlib.sha256(meta.get(TRANSFER_SYNTAX_UID, b"").rstrip(b" \0"))
    digest.update(memoryview(content)[start:])
    return digest.hexdigest()
