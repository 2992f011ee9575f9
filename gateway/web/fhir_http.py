"""What every FHIR answer has in common: negotiation, ETags, OperationOutcome for whatever goes wrong (R4 http.html)."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Rejected, Retryable
from gateway.model import JsonObject
from gateway.r4.canonical import decode, encode
from gateway.r4.xml_write import to_xml
from gateway.telemetry import describe_exception
from gateway.web.tokens import token

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
MAX_PARAMETERS = 200
MAX_FORM_BYTES = 64 * 1024
RETRY_AFTER_SECS = 5
#: Headers up to here are remembered with what they mean.
_SHORT = 256

_JSON_FORMATS = frozenset({"json", "application/json", "application/fhir+json", "text/json"})
_XML_FORMATS = frozenset({"xml", "application/xml", "application/fhir+xml", "text/xml"})
_ANY = frozenset({"*/*", "application/*", "text/html", ""})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}", re.ASCII)
#: HTTP status -> issue code (R4 valueset-issue-type.html).
_ISSUE_CODES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    408: "timeout",
    409: "conflict",
    406: "not-supported",
    410: "deleted",
    412: "conflict",
    413: "too-costly",
    415: "not-supported",
    422: "invalid",
    429: "throttled",
    500: "exception",
    503: "transient",
}

log = structlog.get_logger()

Parameters = list[tuple[str, str]]
Endpoint = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and negotiated."""

    request: Request
    parameters: Parameters
    base: str  #: address of the FHIR endpoint as this client sees it, without a slash at its end
    pretty: bool

    @property
    def wishes(self) -> list[str]:
        """What the header ``Prefer`` says, as ``name=value`` in lower case."""
        told = self.request.headers.get("prefer")
        return [wish.strip().replace(" ", "").lower() for wish in re.split("[,;]", told)] if told else []

    @property
    def strict(self) -> bool:
        """Whether an unknown parameter is an error: ``Prefer: handling=strict``; lenient is what we do unasked."""
        return "handling=strict" in self.wishes

    def last(self, name: str) -> str | None:
        """The last value of a parameter."""
        return next((value for found, value in reversed(self.parameters) if found == name), None)


def endpoint(
    handle: Endpoint, *, allow: tuple[str, ...] = ("GET", "HEAD"), form: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: refuse other methods, negotiate, and turn our errors into OperationOutcomes.

    ``form``: the body of a POST holds search parameters; else the handler reads it itself.
    """

    async def answer(request: Request) -> Response:
        response, xml = await _handled(handle, request, allow, form)
        if xml and response.headers.get("content-type", "").startswith(FHIR_JSON):
            response = await asyncio.to_thread(_as_xml, response, pretty=_is_pretty(request))
        response.raw_headers.append((b"x-request-id", request_id(request).encode("ascii")))
        return response

    return answer


async def _handled(handle: Endpoint, request: Request, allow: tuple[str, ...], form: bool) -> tuple[Response, bool]:
    """The answer, as JSON, and whether the client wants XML."""
    pretty, xml = _is_pretty(request), False
    try:
        xml = _wants_xml(request)
        if request.method not in allow:
            reason = f"{request.method} is not done at this address; see Allow"
            return outcome(405, reason, pretty=pretty, headers={"Allow": ", ".join(allow)}), xml
        call = await _read(request, pretty, form)
        xml = _wants_xml(request, call.last("_format"))
        return await handle(call), xml
    except Rejected as error:
        return outcome(error.status, error.reason, pretty=pretty, code=error.code), xml
    except Retryable as error:
        return outcome(503, error.reason, pretty=pretty, headers={"Retry-After": str(RETRY_AFTER_SECS)}), xml


def _is_pretty(request: Request) -> bool:
    return b"_pretty=true" in request.scope.get("query_string", b"")


def _as_xml(response: Response, *, pretty: bool) -> Response:
    """The same answer in XML; ``pretty`` puts every element that holds elements only on lines of its own."""
    body = to_xml(decode(bytes(response.body)))
    headers = {name: value for name, value in response.headers.items() if name not in ("content-type", "content-length")}
    return Response(indented(body) if pretty else body, response.status_code, headers, f"{FHIR_XML}; charset=utf-8")


def in_their_form(request: Request, response: Response) -> Response:
    """An OperationOutcome that was made beside :func:`endpoint`, in XML for those who want it; every answer gets its number."""
    is_outcome = response.status_code >= 400 or response.status_code == 202
    try:
        xml = is_outcome and _wants_xml(request, request.query_params.get("_format"))
    except Rejected:
        xml = False
    if xml and response.headers.get("content-type", "").startswith(FHIR_JSON):
        response = _as_xml(response, pretty=_is_pretty(request))
    response.headers["X-Request-Id"] = request_id(request)
    return response


def request_id(request: Request) -> str:
    """The client's own, when it has the form of one; else a new one (R4 http.html#custom)."""
    given = request.headers.get("x-request-id", "")
    return given if given and _REQUEST_ID.fullmatch(given) else token()[:16]


async def crashed(_request: Request, error: Exception) -> Response:
    """The answer to a fault of ours: a number that a person can find in the log, and nothing else."""
    error_id = secrets.token_hex(6)
    log.error("fhir_request_failed", error_id=error_id, error=describe_exception(error))
    return outcome(500, f"internal error {error_id}; the operator finds it in the log under this number")


async def _read(request: Request, pretty: bool, form: bool) -> Call:
    parameters = _parameters(request.scope.get("query_string", b""))
    if request.method == "POST" and form:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Rejected("a search by POST has a body of type application/x-www-form-urlencoded", status=415)
        parameters += _parameters(await _form(request))
    return Call(request, parameters, _base(request), pretty)


def _base(request: Request) -> str:
    """Host and scheme as the client wrote them, with the path where these routes are mounted."""
    scope = request.scope
    host = request.headers.get("host") or request.base_url.netloc
    return f"{scope['scheme']}://{host}{scope.get('root_path', '')}".rstrip("/")


async def _form(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise Rejected(f"the form is larger than {MAX_FORM_BYTES // 1024} KiB", status=413)
    return bytes(body)


def _parameters(encoded: bytes) -> Parameters:
    if not encoded:
        return []
    try:
        text = encoded.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise Rejected("the parameters are not UTF-8", status=400) from error
    except ValueError as error:
        raise Rejected(f"more than {MAX_PARAMETERS} parameters", status=400) from error


def _wants_xml(request: Request, wanted: str | None = None) -> bool:
    """Whether XML is asked for. ``_format`` overrides the Accept header (R4 http.html#parameters). Raises :class:`Rejected` (406)."""
    if wanted:
        kind = wanted.partition(";")[0].strip().replace(" ", "+").lower()
        if kind in _XML_FORMATS or kind in _JSON_FORMATS:
            return kind in _XML_FORMATS
        raise Rejected("_format: json and xml are offered", status=406)
    accept = request.headers.get("accept", "*/*")
    known, xml = _welcome(accept) if len(accept) <= _SHORT else _welcome.__wrapped__(accept)
    if not known and not _format_will_tell(request):
        raise Rejected("Accept: application/fhir+json and application/fhir+xml are offered", status=406)
    return xml


@lru_cache(maxsize=256)
def _welcome(accept: str) -> tuple[bool, bool]:
    """Of an Accept header: whether it names anything that is offered, and whether XML is more welcome than JSON."""
    ranges = [_range(part) for part in accept.split(",")]
    best = {
        xml: max((quality for kind, quality in ranges if kind in formats), default=0.0)
        for xml, formats in ((True, _XML_FORMATS), (False, _JSON_FORMATS | _ANY))
    }
    # Where both are as welcome, XML has to be named and JSON not: a client that adds "or anything" means what it named.
    named = {kind for kind, quality in ranges if quality > 0}
    xml = best[True] > best[False] or (best[True] == best[False] > 0 and not named & (_JSON_FORMATS | {"text/html"}))
    return any(best.values()), xml


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    return kind, float(quality) if re.fullmatch(r"[01](?:\.\d{0,3})?", quality) else 1.0


def _format_will_tell(request: Request) -> bool:
    return b"_format=" in request.scope.get("query_string", b"")


def resource_response(body: bytes, *, pretty: bool, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.format(body, indent=2) if pretty else body
    # Facts about patients: a shared cache must not keep them, a private one has to ask.
    fixed = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    return Response(content, status, {**fixed, **(headers or {})}, f"{FHIR_JSON}; charset=utf-8")


def outcome(
    status: int, reason: str, *, pretty: bool = False, headers: Mapping[str, str] | None = None, code: str | None = None
) -> Response:
    body = encode(failure(status, reason, code))
    return resource_response(body, pretty=pretty, status=status, headers=headers)


def failure(status: int, reason: str, code: str | None = None) -> JsonObject:
    """The OperationOutcome that goes with a status; of a long complaint each line is an issue of its own."""
    severity = "fatal" if status == 500 else "error"
    return operation_outcome(severity, code or _ISSUE_CODES.get(status, "processing"), reason.split("\n"))


def operation_outcome(severity: str, code: str, reasons: list[str]) -> JsonObject:
    issues = [{"severity": severity, "code": code, "diagnostics": reason} for reason in reasons]
    return {"resourceType": "OperationOutcome", "issue": issues}


def indented(document: bytes) -> bytes:
    """Line breaks between tags, never inside a narrative, whose blanks have a meaning."""
    parts = re.split(rb"(<div xmlns=.*?</div>(?=</text>))", document, flags=re.DOTALL)
    return b"".join(part if number % 2 else part.replace(b"><", b">\n<") for number, part in enumerate(parts)) + b"\n"


def etag(version: int) -> str:
    return f'W/"{version}"'


def matches(if_none_match: str | None, version: int) -> bool:
    """RFC 9110, 13.1.2: any of the tags listed, compared weakly."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or str(version) in re.findall(r'(?:W/)?"([^"]*)"', if_none_match)


def not_newer(if_modified_since: str | None, updated: int) -> bool:
    """RFC 9110, 13.1.3, in whole seconds as HTTP dates are. A date that cannot be read is no condition."""
    if if_modified_since is None:
        return False
    try:
        known = parsedate_to_datetime(if_modified_since)
    except ValueError:
        return False
    known = known if known.tzinfo else known.replace(tzinfo=dt.UTC)
    return updated // 1_000_000 <= known.timestamp()


def http_date(microseconds: int) -> str:
    return _http_date(microseconds // 1_000_000)


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return format_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC), usegmt=True)
