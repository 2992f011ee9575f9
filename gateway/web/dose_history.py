"""Doses over the cycles of a therapy: a page of the patient of a study, and the form that declares its cycles complete.

No id of a patient stands in an address: a study leads to its patient.
"""

from __future__ import annotations

import time

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.errors import GatewayError, Rejected
from gateway.in_force import SiteInForce
from gateway.line import Line
from gateway.spool.decisions import By
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.web.forms import read_form
from gateway.web.login import user_of
from gateway.web.notes import Notes
from gateway.web.pages import Pages
from gateway.workbench.dose_history import complete, cycle_words, declared_words, history

log = structlog.get_logger()


class DosePages:
    def __init__(
        self, ledger: Ledger, files: SpoolFiles, site: SiteInForce, pages: Pages, notes: Notes, external_url: str | None
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._site = site
        self._pages = pages
        self._notes = notes
        self._external_url = external_url

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/studies/{uid}/doses", self.shown, methods=["GET"]),
            Route("/actions/doses", self.decide, methods=["POST"]),
        ]

    async def shown(self, request: Request) -> Response:
        """Administrations, doses over cycles, declarations of the patient of this study."""
        uid = request.path_params["uid"]
        try:
            found = await run_in_threadpool(lambda: history(self._line(), self._patient(uid)))
        except Rejected as error:
            return self._pages.draw(request, "nothing.html", {"text": error.reason}, status=404)
        zone = self._site.understanding.site.timezone
        context = {
            "uid": uid,
            "found": found,
            "cycles": [cycle_words(cycle) for cycle in found.cycles],
            "declared": [(item.id, declared_words(item, zone)) for item in found.declared],
            "regions": sorted({row.region for row in found.rows}),
        }
        return self._pages.draw(request, "doses.html", context)

    async def decide(self, request: Request) -> Response:
        """Declare cycles complete, or take that back, and show the page again with a note (303)."""
        try:
            form = [(name, value.strip()) for name, value in await read_form(request, external_url=self._external_url)]
        except Rejected as error:
            return PlainTextResponse(f"{error.reason}\n", error.status)
        told = dict(form)
        by = By(name=user_of(request), reason=told.get("reason", ""), at=time.time())
        uid = told.get("study", "")
        try:
            patient_key = await run_in_threadpool(lambda: self._patient(uid))
            cycles = [value for name, value in form if name == "cycle"]
            note = self._notes.leave(await run_in_threadpool(self._decide, patient_key, told, cycles, by))
        except GatewayError as error:
            note = self._notes.leave(error.reason, good=False)
        if not all(part.isdigit() for part in uid.split(".")):
            return PlainTextResponse("there is no such study\n", 404)
        return RedirectResponse(f"/studies/{uid}/doses?note={note}", 303)

    def _decide(self, patient_key: str, form: dict[str, str], cycles: list[str], by: By) -> str:
        number = form.get("undo", "")
        if number:
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                raise Rejected("There is no such declaration.", status=404)
            self._ledger.declarations.withdraw(patient_key, int(number), by)
            log.info("decided", stage="web", action="dose_undo")
            return f"Declaration {number} holds no longer."
        made = complete(self._line(), patient_key, cycles, form.get("region") or None, by)
        log.info("decided", stage="web", action="dose_complete")
        return f"Declaration {made}: {len(cycles)} cycles are complete. Their doses are added up now."

    def _patient(self, uid: str) -> str:
        view = self._ledger.decisions.overview(uid)
        found = [item["patient_key"] for item in view["patients"] if item["is_subject"]]
        if not found:
            raise Rejected("Nothing of this study could be understood yet.", status=404)
        return str(found[0])

    def _line(self) -> Line:
        return Line(understanding=self._site.refresh(), files=self._files, ledger=self._ledger, targets=())
