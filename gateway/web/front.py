"""The front page: what came in, what went out, what is held, and where to look."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway import __version__
from gateway.model import JsonObject
from gateway.spool.ledger import Ledger

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; padding: 0 1rem; color: #1c2733; }
h1 { font-size: 1.4rem; margin: 0; } p.sub { color: #5a6b7b; margin: 0 0 1.5rem; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; padding: .35rem .6rem; border-top: 1px solid #dde4ea; } th { font-weight: 500; }
td { text-align: right; font-variant-numeric: tabular-nums; } a { color: #0b5cad; } ul { padding-left: 1.2rem; }
"""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_LINKS = {
    "fhir/ImagingStudy?_count=20": "Studies",
    "fhir/MedicationAdministration?_include=MedicationAdministration:medication": "Tracer administrations",
    "fhir/Observation": "Observations",
    "fhir/metadata": "What the FHIR endpoint can do",
    "readyz": "Readiness",
    "metrics": "Metrics",
}


class Front:
    def __init__(self, ledger: Ledger, ae_title: str) -> None:
        self._ledger = ledger
        self._ae_title = ae_title

    async def page(self, _request: Request) -> Response:
        counts = await run_in_threadpool(self._ledger.overview.counts)
        return HTMLResponse(_html(counts, self._ae_title), headers=_HEADERS)


def _html(counts: JsonObject, ae_title: str) -> str:
    instances = _table("Received objects", counts["instances"])
    deliveries = "".join(_table(f"Deliveries to {target}", states) for target, states in counts["deliveries"].items())
    links = "".join(f'<li><a href="{escape(path)}">{escape(text)}</a></li>' for path, text in _LINKS.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Isobridge</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>Isobridge</h1><p class="sub">{escape(ae_title)} &middot; release {escape(__version__)} &middot; '
        f"{counts['open_subjects']} studies or dossiers still open</p>{instances}{deliveries}<ul>{links}</ul></body></html>"
    )


def _table(caption: str, rows: dict[str, int]) -> str:
    cells = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{number}</td></tr>" for name, number in rows.items())
    return f"<table><caption>{escape(caption)}</caption>{cells}</table>"
