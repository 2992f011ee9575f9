"""HTTP with a source: one session, its credentials, and what each refusal means. Reasons name no patient: no address, no answer's text."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import Any

import requests

from gateway.errors import Quarantined, Retryable
from gateway.publish.fhir_http import Access

_GONE = (404, 410)


class SourceHttp:
    """Raises :class:`Retryable` when there is no answer or the server takes nothing now, :class:`Quarantined` for any other refusal."""

    def __init__(self, access: Access) -> None:
        self._base = access.url.rstrip("/") + "/"
        self._timeout = (access.connect_timeout_secs, access.timeout_secs)
        self._session = access.session()

    def get_json(self, address: str) -> Any:
        """The answer; an empty list where there is none (204)."""
        return _json(self._ask("GET", address, headers={"Accept": "application/dicom+json, application/json"}))

    def post_json(self, address: str, body: Any) -> Any:
        return _json(self._ask("POST", address, json=body))

    def get_bytes(self, address: str) -> bytes:
        return bytes(self._ask("GET", address).content)

    def get_bytes_if_there(self, address: str) -> bytes | None:
        """None where the source has it no more (404)."""
        answer = self._ask("GET", address, may_be_gone=True)
        return None if answer.status_code in _GONE else bytes(answer.content)

    def get_json_if_there(self, address: str) -> Any:
        answer = self._ask("GET", address, may_be_gone=True)
        return None if answer.status_code in _GONE else _json(answer)

    def get_parts(self, address: str, *, accept: str) -> list[bytes]:
        """The parts of a multipart answer; one part where the server sends the object alone."""
        answer = self._ask("GET", address, headers={"Accept": accept})
        kind = answer.headers.get("Content-Type", "")
        if not kind.lower().startswith("multipart/"):
            return [bytes(answer.content)]
        message: Message = message_from_bytes(b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n")
        boundary = message.get_param("boundary")
        if not isinstance(boundary, str):
            raise Quarantined("The source sent a multipart answer without a boundary.")
        return _split(bytes(answer.content), boundary.encode("latin-1", "replace"))

    def _ask(self, method: str, address: str, *, may_be_gone: bool = False, **options: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self._base + address, timeout=self._timeout, allow_redirects=False, **options)
        except requests.RequestException as error:
            raise Retryable("The source cannot be reached, or its answer broke off.", peer_down=True) from error
        if answer.status_code in (200, 204) or (may_be_gone and answer.status_code in _GONE):
            return answer
        if answer.status_code in (401, 403, 408, 429) or answer.status_code >= 500:
            raise Retryable(f"The source refused (HTTP {answer.status_code}).", peer_down=True)
        raise Quarantined(f"The source refused (HTTP {answer.status_code}).")


def _json(answer: requests.Response) -> Any:
    if answer.status_code == 204 or not answer.content:
        return []
    try:
        return answer.json()
    except ValueError as error:
        raise Quarantined("The source did not answer in JSON.") from error


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    """RFC 2046 5.1: what stands between delimiter lines, without the headers of the parts."""
    delimiter = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Retryable("The source's answer broke off.")
    parts = []
    for piece in pieces[1:-1]:
        _, blank, content = piece.partition(b"\r\n\r\n")
        if blank:
            parts.append(content)
    return parts
