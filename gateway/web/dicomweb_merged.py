"""A search over the spool and over archives that show all: first what we have received, then what only they hold, each study once."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import AsyncIterator

import anyio
from starlette.concurrency import run_in_threadpool

from gateway.errors import Rejected
from gateway.spool.archive import Archive as Spooled
from gateway.web.behind.archive import Archive, Level, Match, Values, is_uid
from gateway.web.behind.front import Behind
from gateway.web.behind.http import SEARCH_SECS
from gateway.web.dicomweb_search import Found, Query, dicom_json

_PAGE = 100
_MOST_LOOKED_AT = 5000


async def also_behind(found: Found, query: Query, behind: Behind, spooled: Spooled, base: str) -> Found:
    """``found`` with the rest of its page from the archives. Offsets count through both, so pages neither overlap nor leave a gap.

    An archive that does not answer takes nothing from what we have: then a warning says so. Raises :class:`Rejected` (502 to 504) when we
    have nothing to give.
    """
    if found.more or not behind.shows_all or await run_in_threadpool(_is_ours, spooled, query):
        return found
    more, problem = [], ""
    try:
        with anyio.fail_after(2 * SEARCH_SECS):
            more = await _page(found, query, behind, spooled)
    except TimeoutError as error:
        if not found.matched:
            raise Rejected("the archive took too long to answer", status=504) from error
        problem = "an archive took too long to answer: what only it holds is missing"
    except Rejected as error:
        if not found.matched:
            raise
        problem = f"{error.reason}: what only it holds is missing"
    items = found.items + [
        dicom_json(_with_addresses(values, query.level, base)) for values in more[: query.limit - len(found.items)]
    ]
    warnings = [text for text in (found.warning, problem) if text]
    if len(found.items) + len(more) > query.limit:
        warnings.append("there are more results: ask with offset")
    return dataclasses.replace(found, items=items, warning="; ".join(warnings))


def _is_ours(spooled: Spooled, query: Query) -> bool:
    """Whether it asks of studies only that we answer for: then no archive is asked, be it alive or not."""
    named = re.split(r"[,\\]", query.matching.get("StudyInstanceUID", ""))
    if named == [""] and (series := query.matching.get("SeriesInstanceUID")):
        return all(spooled.study_of(uid) for uid in re.split(r"[,\\]", series))
    return named != [""] and spooled.known(named) >= set(named)


async def _page(found: Found, query: Query, behind: Behind, spooled: Spooled) -> list[Values]:
    """What follows our own matches on this page, and one more where there is more."""
    skipped, wanted = max(0, query.offset - found.matched), query.limit + 1 - len(found.items)
    page: list[Values] = []
    before: set[str] = set()
    until = time.monotonic() + SEARCH_SECS
    for archive in behind.shows_all:
        chosen: list[Match] = []
        own: set[str] = set()
        async for match in _strange(archive, query, behind, spooled, until):
            if match.study_uid in before:
                continue
            own.add(match.study_uid)
            if skipped:
                skipped -= 1
                continue
            chosen.append(match)
            if len(page) + len(chosen) >= wanted:
                break
        before |= own
        page += await behind.tell(archive, query.level, chosen) if chosen else []
        if len(page) >= wanted:
            break
    return page


async def _strange(archive: Archive, query: Query, behind: Behind, spooled: Spooled, until: float) -> AsyncIterator[Match]:
    """Its matches of studies of which we never received anything."""
    offset = 0
    while offset < _MOST_LOOKED_AT:
        if time.monotonic() > until:
            raise Rejected(f"the archive '{archive.name}' took too long to answer", status=504)
        matches = await behind.find(archive, query.level, query.matching, _PAGE, offset)
        known = await run_in_threadpool(spooled.known, {match.study_uid for match in matches})
        for match in matches:
            if match.fits and is_uid(match.study_uid) and match.study_uid not in known:
                yield match
        if len(matches) < _PAGE:
            return
        offset += len(matches)
    raise Rejected("the search was too broad for the archive; name a patient or a study", status=503)


def _with_addresses(values: Values, level: Level, base: str) -> Values:
    """An object is fetched from us, wherever it stands."""
    address = f"{base}/studies/{values['StudyInstanceUID']}"
    if level is not Level.STUDY:
        address += f"/series/{values['SeriesInstanceUID']}"
    if level is Level.INSTANCE:
        address += f"/instances/{values['SOPInstanceUID']}"
    return {**values, "InstanceAvailability": "NEARLINE", "RetrieveURL": address}
