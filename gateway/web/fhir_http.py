"""What every FHIR answer has in common: negotiation, ETags, OperationOutcome for whatever goes wrong (R4 http.html)."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Rejected, Retryable
from gateway.model import JsonObject
from gateway.r4.canonical import encode
from gateway.telemetry import describe_exception

FHIR_JSON = "application/fhir+json"
MAX_PARAMETERS = 200
MAX_FORM_BYTES = 64 * 1024
RETRY_AFTER_SECS = 5

_JSON_FORMATS = frozenset({"json", "application/json", "application/fhir+json", "text/json"})
_JSON_RANGES = _JSON_FORMATS | {"*/*", "application/*", "text/html"}
#: HTTP status -> issue code (R4 valueset-issue-type.html).
_ISSUE_CODES = {
    400: "invalid",
    401: "login",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    410: "deleted",
    412: "conflict",
    413: "too-costly",
    415: "not-supported",
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

    def last(self, name: str) -> str | None:
        """The last value of a parameter."""
        return next((value for found, value in reversed(self.parameters) if found == name), None)


def endpoint(handle: Endpoint, *, allow: tuple[str, ...] = ("GET", "HEAD")) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: refuse other methods, negotiate, and turn our errors into OperationOutcomes."""

    async def answer(request: Request) -> Response:
        pretty = "_pretty=true" in request.url.query
        try:
            if request.method not in allow:
                reason = f"{request.method} is not done here: this endpoint is read-only for clients"
                return outcome(405, reason, pretty=pretty, headers={"Allow": ", ".join(allow)})
            call = await _read(request, pretty)
            _negotiate(call)
            return await handle(call)
        except Rejected as error:
            return outcome(error.status, error.reason, pretty=pretty)
        except Retryable as error:
            return outcome(503, error.reason, pretty=pretty, headers={"Retry-After": str(RETRY_AFTER_SECS)})

    return answer


async def crashed(_request: Request, error: Exception) -> Response:
    """The answer to a fault of ours: a number that a person can find in the log, and nothing else."""
    error_id = secrets.token_hex(6)
    log.error("fhir_request_failed", error_id=error_id, error=describe_exception(error))
    return outcome(500, f"internal error {error_id}; the operator finds it in the log under this number")


async def _read(request: Request, pretty: bool) -> Call:
    parameters = _parameters(request.scope.get("query_string", b""))
    if request.method == "POST":
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Rejected("a search by POST has a body of type application/x-www-form-urlencoded", status=415)
        parameters += _parameters(await _form(request))
    return Call(request, parameters, _base(request), pretty)


def _base(request: Request) -> str:
    """Host and scheme as the client wrote them, with the path where these routes are mounted."""
    return f"{request.base_url.scheme}://{request.base_url.netloc}{request.scope.get('root_path', '')}".rstrip("/")


async def _form(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise Rejected(f"the form is larger than {MAX_FORM_BYTES // 1024} KiB", status=413)
    return bytes(body)


def _parameters(encoded: bytes) -> Parameters:
    try:
        text = encoded.decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise Rejected("the parameters are not UTF-8", status=400) from error
    except ValueError as error:
        raise Rejected(f"more than {MAX_PARAMETERS} parameters", status=400) from error


def _negotiate(call: Call) -> None:
    """JSON or nothing, for now. ``_format`` overrides the Accept header (R4 http.html#parameters)."""
    wanted = call.last("_format")
    if wanted is not None:
        if wanted.partition(";")[0].strip().replace(" ", "+").lower() not in _JSON_FORMATS:
            raise Rejected("_format: only json is offered; XML is not yet", status=406)
        return
    accepted = [part.partition(";")[0].strip().lower() for part in call.request.headers.get("accept", "*/*").split(",")]
    if not any(kind in _JSON_RANGES or kind == "" for kind in accepted):
        raise Rejected("Accept: only application/fhir+json is offered; XML is not yet", status=406)


def resource_response(body: bytes, *, pretty: bool, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.format(body, indent=2) if pretty else body
    # Facts about patients: a shared cache must not keep them, a private one has to ask.
    fixed = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    return Response(content, status, {**fixed, **(headers or {})}, f"{FHIR_JSON}; charset=utf-8")


def outcome(status: int, reason: str, *, pretty: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    severity = "fatal" if status == 500 else "error"
    body = encode(operation_outcome(severity, _ISSUE_CODES.get(status, "processing"), [reason]))
    return resource_response(body, pretty=pretty, status=status, headers=headers)


def operation_outcome(severity: str, code: str, reasons: list[str]) -> JsonObject:
    issues = [{"severity": severity, "code": code, "diagnostics": reason} for reason in reasons]
    return {"resourceType": "OperationOutcome", "issue": issues}


def etag(version: int) -> str:
    return f'W/"{version}"'


def matches(if_none_match: str | None, version: int) -> bool:
    """RFC 9110, 13.1.2: any of the tags listed, compared weakly."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or str(version) in re.findall(r'(?:W/)?"([^"]*)"', if_none_match)


def http_date(microseconds: int) -> str:
    moment = dt.datetime.fromtimestamp(microseconds // 1_000_000, dt.UTC)
    return format_datetime(moment, usegmt=True)
