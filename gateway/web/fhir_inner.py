"""A request that stands in a batch, asked of this very application: it is let in, limited and answered as if it had come alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message

from gateway.web.fhir_http import FHIR_JSON

#: What an inner request takes over from the one that carries it.
_KEPT = ("authorization", "host", "x-forwarded-for", "x-forwarded-proto", "user-agent")
_SHARED = ("type", "asgi", "http_version", "scheme", "server", "client", "extensions", "state")


@dataclass(slots=True)
class Inner:
    """An answer. ``body`` is empty unless it is FHIR JSON."""

    status: int = 500
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""


async def ask(request: Request, path: str, method: str, headers: Mapping[str, str]) -> Inner:
    """``path`` stands below the FHIR endpoint, with its query."""
    outer = request.scope
    address, _, query = path.partition("?")
    root = str(outer.get("root_path", ""))
    lines = [(name, value) for name, value in request.headers.items() if name in _KEPT]
    lines += [("accept", FHIR_JSON), *((name.lower(), value) for name, value in headers.items())]
    scope: dict[str, Any] = {key: outer[key] for key in _SHARED if key in outer} | {
        "method": method,
        "root_path": outer.get("app_root_path", ""),
        "path": f"{root}/{unquote(address)}",
        "raw_path": f"{root}/{address}".encode(),
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in lines],
    }
    answer = Inner()
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], Headers(raw=message["headers"])
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await outer["app"](scope, receive, send)
    if answer.headers.get("content-type", "").startswith(FHIR_JSON):
        answer.body = b"".join(parts)
    return answer
