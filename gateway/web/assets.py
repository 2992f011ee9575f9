"""The stylesheet and drawings of the pages, and the templates: files of this package, served as they are."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.web import show

_DIRECTORY = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_ASSETS = {path.name: path.read_bytes() for path in (_DIRECTORY / "assets").iterdir() if path.suffix in _TYPES}

#: Everything that is written into a page is escaped; a name that is not there is an error, not an empty place.
templates = Environment(
    loader=FileSystemLoader(_DIRECTORY / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters.update(show.FILTERS)


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        return PlainTextResponse("there is nothing of that name\n", 404)
    headers = {
        "Cache-Control": "public, max-age=3600",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'",
    }
    return Response(_ASSETS[name], 200, headers, _TYPES[Path(name).suffix])
