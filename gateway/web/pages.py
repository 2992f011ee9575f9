"""The pages: what came in, what went out, what is held, one study whole. Drawn on the server from templates; no script runs in them."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response

from gateway import __version__
from gateway.config import Settings
from gateway.in_force import SiteInForce
from gateway.mapping.language import Mappings
from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.receive.folder_state import read_states
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.studies import StudyFacts
from gateway.telemetry import describe_exception
from gateway.web import dose_cards, show
from gateway.web.assets import templates
from gateway.web.cards import card, doses, picture
from gateway.web.explain import Group, explain
from gateway.web.forms import put_token, token_of
from gateway.web.held import held_groups
from gateway.web.mapping_cards import mappings_view, usable
from gateway.web.notes import Notes
from gateway.web.study_parts import folded, offers, references, series_lines, series_title, why_withheld
from gateway.web.thumbnails import Thumbnails

SHOWN_STUDIES, PAGE_STUDIES = 12, 50
SHOWN_HELD, PAGE_HELD = 6, 200
REFRESH_SECS = 10
_UID = re.compile(r"[0-9.]{1,64}")

log = structlog.get_logger()

#: Nothing may run, nothing may come from elsewhere, nobody may frame the page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: The doors, as people call them.
_DOORS = {"dimse": "C-STORE", "stow": "STOW-RS", "folder": "folder", "backfill": "backfill"}


class Pages:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        files: SpoolFiles,
        thumbnails: Thumbnails,
        notes: Notes,
        *,
        mappings: Mappings | None,
        site: SiteInForce | None = None,
        can_decide: bool,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._files = files
        self._thumbnails = thumbnails
        self._notes = notes
        self._mappings = mappings
        self._site = site
        self._can_decide = can_decide

    async def overview(self, request: Request) -> Response:
        """The flow with its counts, what needs a person, the last studies."""
        context = await run_in_threadpool(self._overview)
        return self._page(request, "overview.html", context)

    def _overview(self) -> JsonObject:
        overview, studies = self._ledger.overview, self._ledger.studies
        counts = overview.counts()
        gathering = studies.gathering(limit=SHOWN_STUDIES)
        moving = counts["open_subjects"] or counts["instances"]["received"] or _waiting(counts["deliveries"])
        return {
            "counts": counts,
            "doors": {_DOORS.get(door, door): number for door, number in counts["doors"].items()},
            "folders": read_states(self._settings.data.directory),
            "keeping": self._ledger.keeping.counts(),
            "backfills": self._ledger.backfills.listing()[:SHOWN_STUDIES],
            "feeds": self._ledger.feeds.listing()[:SHOWN_STUDIES],
            "waiting": overview.waiting(),
            "tables_waiting": self._ledger.tables.count_waiting(),
            "undeployed": self._site.changes() if self._site else [],
            "unusable": self._site.problem() if self._site else "",
            "held": held_groups(overview, limit=PAGE_HELD),
            "shown_held": SHOWN_HELD,
            "cards": [card(item.uid, item.bundle, item.dossier) for item in studies.recent(limit=SHOWN_STUDIES)],
            "gathering": gathering,
            "refresh_secs": REFRESH_SECS if moving else None,
            "quiet_secs": self._settings.gather.quiet_secs,
        }

    async def held(self, request: Request) -> Response:
        """Everything that waits for a person."""
        groups = await run_in_threadpool(held_groups, self._ledger.overview, limit=PAGE_HELD)
        return self._page(request, "held.html", {"held": groups})

    async def mappings(self, request: Request) -> Response:
        """The version in force, what lies undeployed beside it, what is in shadow."""
        site = self._site
        context = await run_in_threadpool(mappings_view, self._ledger, site) if site else {"in_force": None}
        return self._page(request, "mappings.html", context)

    async def studies(self, request: Request) -> Response:
        """All published studies, newest first; an empty field looks for nothing."""
        wanted = request.query_params.get("uid", "").strip()
        if _UID.fullmatch(wanted):
            return RedirectResponse(f"/studies/{wanted}", 303)
        text = request.query_params.get("page", "1")
        number = min(int(text), 10_000) if text.isascii() and text.isdigit() and int(text) else 1
        found = await run_in_threadpool(
            lambda: self._ledger.studies.recent(limit=PAGE_STUDIES + 1, offset=(number - 1) * PAGE_STUDIES)
        )
        cards = [card(item.uid, item.bundle, item.dossier) for item in found[:PAGE_STUDIES]]
        context = {"cards": cards, "number": number, "more": len(found) > PAGE_STUDIES, "wanted": wanted}
        return self._page(request, "studies.html", context)

    async def study(self, request: Request) -> Response:
        """What arrived, what was published, what is held and why; each value with its source."""
        uid = request.path_params["study"]
        facts = await run_in_threadpool(self._ledger.studies.facts, uid) if _UID.fullmatch(uid) else None
        if facts is None:
            return self._nothing(request, "Nothing is known of this study.")
        return self._page(request, "study.html", await run_in_threadpool(self._study, facts))

    def _study(self, facts: StudyFacts) -> JsonObject:
        resources = resources_of(facts.bundle) if facts.bundle else []
        study = next((item for item in resources if item["resourceType"] == "ImagingStudy"), {})
        patient = next((item for item in resources if item["resourceType"] == "Patient"), {})
        view = self._ledger.decisions.overview(facts.uid)
        administered = doses(study, facts.dossier)
        return {
            "facts": facts,
            "view": view,
            "offers": offers(view),
            "deliveries": folded(facts.deliveries),
            "why_withheld": why_withheld(facts),
            "study": study,
            "patient": patient,
            "published": references(facts, study),
            "doses": administered,
            "results": dose_cards.results(study, facts.dossier, administered),
            "result_remarks": dose_cards.remarks(study, facts.dossier),
            "picture": picture(study),
            "series": series_lines(facts),
            "explained": self._explained(facts),
            "patients": sorted({header.patient_key for header in facts.headers}),
            "can_decide": self._can_decide,
            "withdrawn": study.get("status") == "cancelled",
        }

    def _explained(self, facts: StudyFacts) -> list[tuple[JsonObject, list[Group]]]:
        """For each kind of header, once a series: those with administrations first."""
        first: dict[str, Any] = {}
        site = usable(self._site) if self._site else None
        for header in facts.headers:
            first.setdefault(str(header.fields.series.get("uid")), header)
        ordered = sorted(first.values(), key=lambda header: not header.fields.administrations)
        return [
            (
                {"header": header, "title": series_title(header.fields.series), "mapping": header.fields.mapping},
                explain(
                    header.fields,
                    self._files.locate(header.day, header.digest),
                    site.mappings if site else self._mappings,
                    (facts.bundle, facts.dossier),
                ),
            )
            for header in ordered
        ]

    async def study_thumbnail(self, request: Request) -> Response:
        """The picture of the study's most telling series."""
        uid = request.path_params["study"]
        facts = await run_in_threadpool(self._ledger.studies.facts, uid) if _UID.fullmatch(uid) else None
        resources = resources_of(facts.bundle) if facts and facts.bundle else []
        chosen = picture(next((item for item in resources if item["resourceType"] == "ImagingStudy"), {}))
        return await self._thumbnail(uid, *chosen) if chosen else _placeholder()

    async def series_thumbnail(self, request: Request) -> Response:
        study, series = request.path_params["study"], request.path_params["series"]
        modality = request.query_params.get("modality", "")
        if not _UID.fullmatch(study) or not _UID.fullmatch(series):
            return _placeholder()
        return await self._thumbnail(study, series, modality)

    async def _thumbnail(self, study: str, series: str, modality: str) -> Response:
        path = await self._thumbnails.of(study, series, modality)
        if path is None:
            return _placeholder()
        headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
        return FileResponse(path, media_type="image/png", headers=headers)

    async def not_found(self, request: Request, _error: Exception) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("there is nothing at this address\n", 404)
        return self._nothing(request, "There is nothing at this address.")

    def _nothing(self, request: Request, text: str) -> Response:
        return self._page(request, "nothing.html", {"text": text}, status=404)

    def draw(self, request: Request, name: str, context: JsonObject, *, status: int = 200) -> Response:
        """A page of another module, in the same frame."""
        return self._page(request, name, context, status=status)

    def _page(self, request: Request, name: str, context: JsonObject, *, status: int = 200) -> Response:
        token = token_of(request)
        site = self._settings.site
        body = templates.get_template(name).render(
            {
                "refresh_secs": None,
                **context,
                "note": self._notes.take(request.query_params.get("note")),
                "form_token": token,
                "here": request.url.path,
                "site": site.name,
                "ae_title": self._settings.receive.ae_title,
                "release": __version__,
                "now": time.time(),
                "clock": lambda seconds: show.clock(seconds, site.zone),
            }
        )
        response = HTMLResponse(body, status, HEADERS)
        put_token(request, response, token)
        return response


async def crashed(_request: Request, error: Exception) -> Response:
    """The answer to a fault of ours: a number that a person can find in the log, and nothing else."""
    error_id = secrets.token_hex(6)
    log.error("request_failed", stage="web", error_id=error_id, error=describe_exception(error))
    return PlainTextResponse(f"internal error {error_id}; the operator finds it in the log under this number\n", 500)


def _placeholder() -> Response:
    return RedirectResponse("/assets/no-picture.svg", 302, {"Cache-Control": "private, max-age=60"})


def _waiting(deliveries: dict[str, dict[str, int]]) -> int:
    return sum(states.get("pending", 0) + states.get("leased", 0) for states in deliveries.values())
