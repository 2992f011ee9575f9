"""Forms that only our own pages can send: a token in a SameSite cookie and in the form, and the browser's word on who sends it."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Rejected

COOKIE = "isobridge_form"
FIELD = "form_token"
_MOST_BYTES, _MOST_FIELDS = 64 * 1024, 2000


def token_of(request: Request) -> str:
    """The browser's token, or a new one for it."""
    known = request.cookies.get(COOKIE, "")
    return known if len(known) == 43 and known.isascii() else secrets.token_urlsafe(32)


def put_token(request: Request, response: Response, token: str) -> None:
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https", path="/")


async def read_form(request: Request, *, external_url: str | None = None) -> list[tuple[str, str]]:
    """The fields of a form that one of our pages sent, under our own name or the external one.

    Raises :class:`Rejected`: 403 for anybody else's, 400, 413, 415.
    """
    check_sender(request, external_url)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Rejected("a form is sent as application/x-www-form-urlencoded", status=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Rejected("the form is too large", status=413)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Rejected("the form cannot be read", status=400) from error
    given = dict(fields).get(FIELD, "")
    known = request.cookies.get(COOKIE, "")
    if not known or not hmac.compare_digest(known.encode(), given.encode()):
        raise Rejected("this form is too old or not ours: load the page again and repeat", status=403)
    return fields


def check_sender(request: Request, external_url: str | None) -> None:
    """Fetch metadata and Origin: a browser tells which site a form came from."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Rejected("this came from another site", status=403)
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(external_url).netloc if external_url else None}
    if origin is not None and urlsplit(origin).netloc not in ours:
        raise Rejected("this came from another site", status=403)
