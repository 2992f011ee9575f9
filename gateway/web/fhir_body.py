"""Reads the body of a request that changes something: one resource in JSON or XML, within bounds and fit for a database."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from starlette.requests import ClientDisconnect, Request

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4.canonical import decode
from gateway.r4.xml_read import from_xml

#: A form or ``text/plain`` is what a page elsewhere can make a browser send without asking first; neither is among these.
_JSON = frozenset({"application/fhir+json", "application/json", "text/json"})
_XML = frozenset({"application/fhir+xml", "application/xml", "text/xml"})
BODY_SECS = 120
BODIES_AT_ONCE = 8
MAX_DEPTH = 64
#: R4 datatypes.html#decimal asks for 18 digits; what is far beyond any quantity would be infinite in an index.
_MOST_DIGITS = 40
_LARGEST_EXPONENT = 100
_CONTROL = frozenset(map(chr, range(32))) - {"\t", "\n", "\r"}


class Bodies:
    """Takes a few bodies at once, so that many large ones do not fill the memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reading = 0

    async def resource(self, request: Request) -> JsonObject:
        """The resource of the body. Raises :class:`Rejected`: 400, 408, 413, 415, 429."""
        xml = _is_xml(request)
        if self._reading >= BODIES_AT_ONCE:
            raise Rejected("too many changes are being sent at once; try again", status=429)
        self._reading += 1
        try:
            body = await self._body(request)
            return await asyncio.to_thread(parsed, body, xml=xml)
        finally:
            self._reading -= 1

    async def _body(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and int(announced[:15]) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise self._too_large()
        except TimeoutError as error:
            raise Rejected(f"the body did not arrive within {BODY_SECS} s", status=408) from error
        except ClientDisconnect as error:
            raise Rejected("the body ended early", status=400) from error
        return bytes(body)

    def _too_large(self) -> Rejected:
        return Rejected(f"the body is larger than {self._max_bytes >> 20} MiB; send it in parts", status=413)


def parsed(body: bytes, *, xml: bool) -> JsonObject:
    """Raises :class:`Rejected` (400), with no value quoted."""
    try:
        tree = from_xml(body) if xml else decode(body)
    except (ValueError, UnicodeDecodeError) as error:
        reason = str(error) if xml else "the body is not JSON"
        raise Rejected(reason, status=400, code="structure") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("resourceType"), str):
        raise Rejected("the body is no FHIR resource: resourceType is missing", status=400, code="structure")
    _check(tree)
    return tree


def _is_xml(request: Request) -> bool:
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() not in _JSON | _XML or ("charset=" in charset and "charset=utf-8" not in charset):
        raise Rejected("send application/fhir+json or application/fhir+xml, in UTF-8", status=415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected("send the body without Content-Encoding", status=415)
    return kind.strip() in _XML


def _check(tree: Any) -> None:
    """Level by level, so that depth costs no stack."""
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Rejected(f"nested more than {MAX_DEPTH} levels deep", status=400, code="structure")
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                deeper += node.values()
                deeper += node
            elif isinstance(node, list):
                deeper += node
            else:
                _check_value(node)
        level = deeper


def _check_value(value: Any) -> None:
    if isinstance(value, str):
        if not _CONTROL.isdisjoint(value):
            raise Rejected("a text holds a control character, which FHIR forbids", status=400, code="value")
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if len(number.as_tuple().digits) > _MOST_DIGITS or abs(number.adjusted()) > _LARGEST_EXPONENT:
            raise Rejected("a number has more digits than any quantity needs", status=400, code="value")
