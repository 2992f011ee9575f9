"""HTTP with a FHIR server: one session, its timeouts and credentials, and what each refusal asks for."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.model import Json, JsonObject
from gateway.r4.canonical import decode, encode

_FHIR_JSON = "application/fhir+json"

#: The server, or what stands before it, takes nothing now. 401 and 403: until somebody corrects the credentials.
_DOWN = frozenset({401, 403, 404, 405, 429, 501, 502, 503, 504})
_CODE = re.compile(r"[a-z-]{1,40}")
_LATER = frozenset({408, 409, 412, 423, 425})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one server. Shared by all kinds of remote targets."""

    url: str
    username: str | None = None
    password: str | None = None
    token: str | None = None
    ca_file: Path | None = None
    connect_timeout_secs: float = 5.0
    timeout_secs: float = 60.0

    def __repr__(self) -> str:
        return f"Access({self.url})"

    def session(self) -> requests.Session:
        """Connections to it, with no proxy and no credentials but those of the settings."""
        session = requests.Session()
        session.trust_env = False
        if self.ca_file is not None:
            session.verify = str(self.ca_file)
        if self.token:
            session.headers["Authorization"] = f"Bearer {self.token}"
        elif self.username is not None:
            session.auth = (self.username, self.password or "")
        return session


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Json  #: None when it is not JSON


class FhirHttp:
    """Requests to one FHIR base address. Raises :class:`Retryable` when there is no answer; an answer, even a refusal, is returned."""

    def __init__(self, access: Access) -> None:
        self._base = access.url.rstrip("/")
        self._timeout = (access.connect_timeout_secs, access.timeout_secs)
        self._session = access.session()
        self._session.headers.update({"Accept": _FHIR_JSON, "Cache-Control": "no-cache"})

    def get(self, path: str) -> Answer:
        """Read below the base address; ``path`` without a leading slash."""
        return self._request("GET", f"{self._base}/{path}")

    def post(self, bundle: JsonObject) -> Answer:
        """A transaction or batch, to the base address itself."""
        return self._request("POST", self._base, encode(bundle))

    def _request(self, method: str, url: str, body: bytes | None = None) -> Answer:
        headers = {"Content-Type": _FHIR_JSON} if body is not None else {}
        try:
            answer = self._session.request(method, url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False)
            content = answer.content
        except requests.RequestException as error:
            raise no_answer(error) from error
        try:
            parsed = decode(content) if content else None
        except ValueError:
            parsed = None
        return Answer(answer.status_code, answer.headers, parsed)


def no_answer(error: requests.RequestException) -> Retryable:
    """Why nothing came back, in words without an address. A slow answer says nothing of the next item; a refused connection does."""
    if isinstance(error, requests.exceptions.SSLError):
        return Retryable("The target's TLS certificate is not trusted; see ca_file.", peer_down=True)
    if isinstance(error, requests.ConnectTimeout):
        return Retryable("The target does not answer: connecting took too long.", peer_down=True)
    if isinstance(error, requests.Timeout):
        return Retryable("The target took too long to answer.")
    return Retryable("The target cannot be reached.", peer_down=True)


def refusal(status: int, headers: Mapping[str, str], body: Json, *, sent: Json = None) -> GatewayError:
    """What a status that is not success asks for. ``sent`` is what must not be quoted back."""
    wait_secs = retry_after_secs(headers.get("Retry-After"), now=time.time())
    if 300 <= status < 400:
        return Retryable("The target answers from another address; correct its url.", peer_down=True)
    if status in _DOWN:
        reasons = {401: "refuses our credentials", 403: "refuses our credentials", 404: "is not found at its url"}
        return Retryable(
            f"The target {reasons.get(status, 'takes nothing now')} (HTTP {status}).", wait_secs=wait_secs, peer_down=True
        )
    text = outcome_text(body, sent=sent)
    told = f"The target refuses this (HTTP {status}){': ' + text if text else '.'}"
    if {(412, "multiple-matches"), (409, "business-rule")} & {(status, code) for code in _codes(body)}:
        return Quarantined(told)  # the same answer every time: a person must decide
    if status in _LATER or status >= 500:
        return Retryable(told, wait_secs=wait_secs)
    return Quarantined(told)


def retry_after_secs(value: str | None, *, now: float) -> float | None:
    """``Retry-After`` (RFC 9110 10.2.3) in seconds: a number, or a date."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def outcome_text(body: Json, *, sent: Json = None, most: int = 300) -> str:
    """What an OperationOutcome says, without anything that we sent: a server likes to quote the value that it did not like."""
    if not isinstance(body, dict) or body.get("resourceType") != "OperationOutcome":
        return ""
    words = _words(sent)
    told = []
    for issue in body.get("issue", ()):
        if not isinstance(issue, dict) or issue.get("severity") in ("information", "warning"):
            continue
        details = issue.get("details") if isinstance(issue.get("details"), dict) else {}
        text = str(issue.get("diagnostics") or (details or {}).get("text") or "")
        where = " ".join(str(path) for path in issue.get("expression", ()))
        code = str(issue.get("code", ""))
        parts = (code if _CODE.fullmatch(code) else "", _without_values(where, words), _without_values(text, words))
        told.append(" ".join(part for part in parts if part))
    return "; ".join(told)[:most]


def _codes(body: Json) -> set[str]:
    issues = body.get("issue", ()) if isinstance(body, dict) else ()
    return {str(issue.get("code")) for issue in issues if isinstance(issue, dict)}


def _words(tree: Json) -> set[str]:
    """Every text in what we sent, and each word of it: names, identifiers, dates, but also our ids."""
    if isinstance(tree, dict):
        return {word for child in tree.values() for word in _words(child)}
    if isinstance(tree, list):
        return {word for child in tree for word in _words(child)}
    if isinstance(tree, str):
        return {part for part in (tree, *re.split(r"[\s^|/=]+", tree)) if len(part) > 1}
    return set()


def _without_values(text: str, words: set[str]) -> str:
    """The text with what was quoted, what we sent, and long numbers replaced. Names of elements and types stay."""
    hidden = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", text)
    for value in sorted((word for word in words if re.search(r"\W", word)), key=len, reverse=True):
        hidden = hidden.replace(value, "…")  # values of several words, before the text is taken apart
    hidden = "".join(_hide(piece, words) for piece in re.split(r"([\s,;:()\[\]{}]+)", hidden))
    return re.sub(r"\d{3,}[\d.\-/]*", "…", hidden)


def _hide(piece: str, words: set[str]) -> str:
    if re.fullmatch(r"[A-Z][A-Za-z]+(\.[A-Za-z\[\]0-9]+)*\.?", piece) and piece.rstrip(".").split(".")[0] in _ELEMENT_ROOTS:
        return piece
    folded = piece.strip(".").casefold()
    known = any(folded == word.casefold() or (len(word) > 3 and word.casefold() in folded) for word in words)
    return "…" if known else piece


#: The first words of FHIR paths that we may cause complaints about.
_ELEMENT_ROOTS = frozenset(
    {"Bundle", "Device", "DiagnosticReport", "Endpoint", "ImagingStudy", "Medication", "MedicationAdministration", "Observation"}
    | {"Patient", "Provenance"}
)


def entries(body: Json) -> Iterator[JsonObject]:
    """The entries of a bundle that a server answered with."""
    if isinstance(body, dict):
        yield from (entry for entry in body.get("entry", ()) if isinstance(entry, dict))
