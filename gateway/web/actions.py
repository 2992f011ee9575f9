"""The buttons: try again, accept, reassign, withdraw. Each calls what the commands call; nothing is decided here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from gateway.errors import GatewayError, Rejected
from gateway.in_force import SiteInForce
from gateway.spool.decisions import By
from gateway.spool.ledger import Ledger
from gateway.web.forms import read_form
from gateway.web.login import user_of
from gateway.web.notes import Notes
from gateway.workbench.shadow import approve_mapping, approve_scanner

_MOST_REASON = 500
DECISIONS = ("accept", "reassign", "withdraw", "undo")

log = structlog.get_logger()


class Decisions(Protocol):
    """What people may decide about a study. Each answers one sentence for them, or raises :class:`GatewayError` with the reason why not."""

    def accept(self, ledger: Ledger, study_uid: str, *, digest: str | None, reason: str, by: str, now: float) -> str:
        """What is held belongs to this study; or, with a digest, that content of an instance is the right one."""
        ...

    def reassign(
        self,
        ledger: Ledger,
        study_uid: str,
        *,
        patient_id: str,
        issuer: str,
        only_held: bool,
        reason: str,
        by: str,
        now: float,
    ) -> str:
        """The study, or only what is held of it, is another patient's. Without ``issuer`` the id is one of the site."""
        ...

    def withdraw(self, ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> str:
        """The study must not be published."""
        ...

    def undo(self, ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> str:
        """The latest decision about the study holds no longer."""
        ...


class Actions:
    def __init__(
        self,
        ledger: Ledger,
        notes: Notes,
        decisions: Decisions | None,
        *,
        external_url: str | None = None,
        site: SiteInForce | None = None,
    ) -> None:
        self._ledger = ledger
        self._notes = notes
        self._decisions = decisions
        self._external_url = external_url
        self._site = site

    async def retry(self, request: Request) -> Response:
        """Objects in quarantine (``object``) or parked deliveries (``delivery``), by id; or images of a ``study`` for one ``target``."""
        return await self._answer(request, self._retry)

    async def decide(self, request: Request) -> Response:
        return await self._answer(request, self._decide)

    async def approve(self, request: Request) -> Response:
        """What is in shadow for a ``kind`` (mapping, scanner) with this ``name`` is published."""
        return await self._answer(request, self._approve)

    async def _answer(self, request: Request, act: Callable[[Request, dict[str, list[str]]], Awaitable[str]]) -> Response:
        """Do it and show the page it came from again, with a note on top (303, so that reloading repeats nothing)."""
        try:
            form: dict[str, list[str]] = {}
            for name, value in await read_form(request, external_url=self._external_url):
                form.setdefault(name, []).append(value.strip())
        except Rejected as error:
            return PlainTextResponse(f"{error.reason}\n", error.status)
        try:
            note = self._notes.leave(await act(request, form))
        except GatewayError as error:
            note = self._notes.leave(error.reason, good=False)
        return RedirectResponse(f"{_back(form)}?note={note}", 303)

    async def _retry(self, request: Request, form: dict[str, list[str]]) -> str:
        objects, deliveries = _numbers(form, "object"), _numbers(form, "delivery")
        if study := _one(form, "study"):
            deliveries += await run_in_threadpool(self._ledger.studies.parked_images, study, _one(form, "target"))
        taken = await run_in_threadpool(self._ledger.stages.requeue, objects)
        taken += await run_in_threadpool(lambda: self._ledger.deliveries.unpark(deliveries, now=time.time()))
        wanted = len(objects) + len(deliveries)
        log.info("retry_asked", stage="web", count=taken)
        if not wanted:
            raise Rejected("Nothing was chosen.", status=400)
        if taken < wanted:
            return f"{taken} of {wanted} will be tried again; the others are being worked on already or wait for a decision."
        return f"{taken} will be tried again." if taken > 1 else "It will be tried again."

    async def _approve(self, request: Request, form: dict[str, list[str]]) -> str:
        site, kind, name = self._site, _one(form, "kind"), _one(form, "name")
        if site is None:
            raise Rejected("Approvals are not offered here; use 'isobridge mappings approve'.", status=404)
        by = By(name=user_of(request), reason=_reason(form), at=time.time())
        if kind == "mapping":
            said = await run_in_threadpool(lambda: approve_mapping(self._ledger, site.refresh(), name, by))
        elif kind == "scanner" and name.isascii() and name.isdigit() and len(name) < 19:
            said = await run_in_threadpool(approve_scanner, self._ledger, int(name), by)
        else:
            raise Rejected("There is nothing of that kind to approve.", status=400)
        log.info("approved", stage="web", kind=kind)
        return said

    async def _decide(self, request: Request, form: dict[str, list[str]]) -> str:
        decision, decisions = request.path_params["decision"], self._decisions
        if decisions is None:
            raise Rejected("Decisions are not offered here; use 'isobridge study'.", status=404)
        if decision not in DECISIONS:
            raise Rejected("There is no such decision.", status=404)
        study, reason = _one(form, "study"), _reason(form)
        if not study:
            raise Rejected("A decision needs a study.", status=400)
        ledger, by, now = self._ledger, user_of(request), time.time()

        def act() -> str:
            if decision == "accept":
                return decisions.accept(ledger, study, digest=_one(form, "digest") or None, reason=reason, by=by, now=now)
            if decision == "withdraw":
                return decisions.withdraw(ledger, study, reason=reason, by=by, now=now)
            if decision == "undo":
                return decisions.undo(ledger, study, reason=reason, by=by, now=now)
            if not (patient_id := _one(form, "patient_id")):
                raise Rejected("Say to which patient id the study belongs.", status=400)
            return decisions.reassign(
                ledger,
                study,
                patient_id=patient_id,
                issuer=_one(form, "issuer"),
                only_held=bool(_one(form, "only_held")),
                reason=reason,
                by=by,
                now=now,
            )

        said = await run_in_threadpool(act)
        log.info("decided", stage="web", action=decision)
        return said


def _reason(form: dict[str, list[str]]) -> str:
    reason = _one(form, "reason")
    if not reason:
        raise Rejected("A decision needs a reason.", status=400)
    if len(reason) > _MOST_REASON:
        raise Rejected(f"The reason is longer than {_MOST_REASON} characters.", status=400)
    return reason


def _one(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


def _numbers(form: dict[str, list[str]], name: str) -> list[int]:
    return [int(text) for text in form.get(name, ()) if text.isascii() and text.isdigit() and len(text) < 19]


def _back(form: dict[str, list[str]]) -> str:
    """A page of ours: never an address that somebody else wrote."""
    page = _one(form, "back")
    is_study = page.startswith("/studies/") and all(c.isdigit() or c == "." for c in page.removeprefix("/studies/"))
    return page if page in ("/", "/held", "/mappings") or is_study else "/"
