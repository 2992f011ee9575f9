"""The middleware behind the log-in, for ``/fhir`` and ``/dicom-web`` alike: rate, rights, the bounds of a Group on DICOM objects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Rejected, Retryable
from gateway.scopes import only_some
from gateway.spool.archive import Archive
from gateway.store import FhirStore
from gateway.store.reach import EVERYTHING, Reach
from gateway.web.access import ANYBODY_HERE, NOBODY, PRINCIPAL, Principal, allows, is_below
from gateway.web.fhir_http import in_their_form, outcome
from gateway.web.interactions import Interaction, interaction_of
from gateway.web.limits import Rates

#: Key in the ASGI scope: whether a study (by its UID) is within the bounds of a Group or of a query; absent for those who have none.
STUDY_IS_SEEN = "isobridge.study_is_seen"
_FOR_PROGRAMS = ("/fhir/", "/dicom-web/")


class Guard:
    """The middleware. ``per_minute``: how many requests a client may make (0: no limit); ``of_clients``: where that is otherwise."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: FhirStore,
        archive: Archive,
        per_minute: int,
        of_clients: Mapping[str, int],
        rates: Rates | None = None,
    ) -> None:
        self._app = app
        self._store = store
        self._archive = archive
        self._per_minute = per_minute
        self._of_clients = dict(of_clients)
        self._rates = rates or Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not is_below(path, _FOR_PROGRAMS):
            await self._app(scope, receive, send)
            return
        principal: Principal = scope.get(PRINCIPAL, ANYBODY_HERE)
        found = interaction_of(scope)
        refusal = self._too_fast(scope, principal) or _no_right(scope, principal, found)
        if refusal is None and path.startswith("/dicom-web"):
            refusal = await self._bounded(scope, principal, found)
        await (refusal or self._app)(scope, receive, send)

    def _too_fast(self, scope: Scope, principal: Principal) -> Response | None:
        per_minute = self._of_clients.get(principal.name, self._per_minute)
        if principal.kind == "open" or principal is NOBODY or per_minute == 0:
            return None
        wait = self._rates.wait_secs(principal.name, per_minute)
        if not wait:
            return None
        return refused(scope, 429, f"more than {per_minute} requests a minute", {"Retry-After": str(wait)})

    async def _bounded(self, scope: Scope, principal: Principal, found: Interaction) -> Response | None:
        """DICOM objects are seen when their study is published as one that is seen."""
        narrowed = only_some(principal.scopes)
        if any(kind == "Patient" for kind, _ in narrowed):
            return refused(scope, 403, "this token may not read every Patient, and DICOM objects tell of them")
        reach = Reach(principal.group, only=tuple(one for one in narrowed if one[0] == "ImagingStudy"))
        if reach == EVERYTHING:
            return None

        @cache
        def is_seen(study: str) -> bool:
            return study_is_seen(self._store, self._archive, reach, study)

        scope[STUDY_IS_SEEN] = is_seen
        try:
            if found.id and not await run_in_threadpool(is_seen, found.id):
                return refused(scope, 404, "nothing is known of this study, series or instance")
        except Rejected as error:
            return refused(scope, error.status, error.reason)
        except Retryable as error:
            return refused(scope, 503, error.reason, {"Retry-After": "5"})
        return None


def study_is_seen(store: FhirStore, archive: Archive, within: Reach, study: str) -> bool:
    """Whether every ImagingStudy of this UID is within reach, and its objects are one patient's.

    A UID that two patients share is seen by neither's cohort, also while only one of them is published.
    """
    asked = [("identifier", f"urn:dicom:uid|urn:oid:{study}"), ("_total", "none")]

    def ids(reach: Reach) -> set[str]:
        return {entry.stored.id for entry in store.search("ImagingStudy", asked, reach=reach).entries}

    if not (seen := ids(within)) or seen != ids(EVERYTHING):
        return False
    return len({told.patient_key for told in archive.told(study=study)}) == 1


def _no_right(scope: Scope, principal: Principal, found: Interaction) -> Response | None:
    if found.needs is None:
        is_limited = principal.kind in ("client", "issuer")
        return refused(scope, 403, "this address is not open to a token with scopes") if is_limited else None
    if found.what == "store" and principal.kind in ("person", "token"):
        return None  # web.stow_senders decides
    for verb, kind in found.needs:
        if not allows(principal, verb, kind):
            return refused(scope, 403, f"this token may not {verb} {'every type' if kind == '*' else kind}")
    return None


def refused(scope: Scope, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """In the words of the interface that was asked."""
    if str(scope["path"]).startswith("/fhir"):
        return in_their_form(Request(scope), outcome(status, reason, headers=headers))
    return JSONResponse({"error": reason}, status, {"Cache-Control": "no-store", **(headers or {})})
