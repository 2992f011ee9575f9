"""Where the objects are that a DICOMweb address names: in the spool, or in an archive once they have left it or never came.

What the gateway has ever received of a study, it answers for: states, decisions and Groups hold, and what an archive gives is proven by the
digest of what was received. Only a study of which nothing ever came is answered from an archive alone, to those without a Group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from gateway.errors import Rejected
from gateway.spool.archive import Archive as Spooled
from gateway.spool.archive import Served
from gateway.spool.files import SpoolFiles
from gateway.web.behind.archive import Archive, Place
from gateway.web.behind.front import Behind, Lent, syntax_of
from gateway.web.dicomweb_files import pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object. ``transfer_syntax_uid`` and ``digest`` are empty for one that we never received; the former is known once it is here."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str = ""
    digest: str = ""
    day: str = ""
    choices: tuple[tuple[Archive, Place], ...] = ()  #: empty: it stands in the spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is asked for and can be given; ``missing``: how many more there were, and nobody has."""

    items: list[Item]
    missing: int = 0


class Objects:
    def __init__(self, spooled: Spooled, files: SpoolFiles, behind: Behind) -> None:
        self._spooled = spooled
        self._files = files
        self._behind = behind

    async def find(self, wanted: Mapping[str, str], *, bounded: bool) -> Found:
        """``wanted``: the UIDs of the address; ``bounded``: for one who sees the patients of a Group only.

        Raises :class:`Rejected`: 404, 410 when all have left and nobody has them, 502 to 504 when what has left cannot be had now.
        """
        served = await run_in_threadpool(self._spooled.served, **wanted)
        if not served:
            return await self._never_received(wanted, bounded=bounded)
        there = await run_in_threadpool(
            lambda: {item.id for item in served if self._files.locate(item.day, item.digest).exists()}
        )
        gone = {item.sop_instance_uid for item in served if item.id not in there}
        elsewhere = await self._departed(wanted, gone) if gone and self._behind else {}
        items = [
            _item(item, () if item.id in there else tuple(elsewhere[item.sop_instance_uid]))
            for item in served
            if item.id in there or item.sop_instance_uid in elsewhere
        ]
        if not items:
            nobody = "; no archive has them now" if self._behind else "; only their facts are kept"
            raise Rejected(f"the originals have left the archive (retention){nobody}", status=410)
        return Found(items=items, missing=len(served) - len(items))

    async def _departed(self, wanted: Mapping[str, str], gone: set[str]) -> dict[str, list[tuple[Archive, Place]]]:
        """Half an answer, because an archive is away for a moment, would look like a whole one to most clients."""
        places = await self._behind.places(wanted)
        found: dict[str, list[tuple[Archive, Place]]] = defaultdict(list)
        for archive, place in places.found:
            found[place.sop_instance_uid].append((archive, place))
        if places.failure is not None and not gone <= found.keys():
            raise places.failure
        return {**found}

    async def _never_received(self, wanted: Mapping[str, str], *, bounded: bool) -> Found:
        held = await run_in_threadpool(self._spooled.not_served, **wanted)
        is_ours = bool(await run_in_threadpool(self._spooled.known, [wanted["study"]]))
        if held or is_ours or bounded or not self._behind.shows_all:
            raise Rejected(_absent(held), status=404)
        found, failure = await self._behind.places(wanted, of_all=True)
        if not found:
            raise failure or Rejected(_absent({}), status=404)
        by_uid: dict[tuple[str, str], list[tuple[Archive, Place]]] = defaultdict(list)
        for archive, place in found:
            by_uid[place.series_uid, place.sop_instance_uid].append((archive, place))
        if any(len(choices) > 1 for choices in by_uid.values()):
            raise Rejected("the archive holds objects of several patients under these UIDs: neither is given", status=404)
        return Found(
            items=[
                Item(study_uid=wanted["study"], series_uid=series, sop_instance_uid=instance, choices=tuple(choices))
                for (series, instance), choices in by_uid.items()
            ]
        )

    async def lend(self, item: Item) -> Lent:
        """Its file. Raises :class:`Rejected` when it cannot be had now."""
        if item.choices:
            return await self._behind.fetch(item.choices, item.digest)
        return Lent(self._files.locate(item.day, item.digest))


async def given(lent: Lent) -> AsyncIterator[bytes]:
    """Its bytes, piece by piece; then it goes back."""
    try:
        async for piece in pieces(lent.path):
            yield piece
    finally:
        lent.close()


async def encoding(item: Item, lent: Lent) -> str:
    return item.transfer_syntax_uid or await run_in_threadpool(syntax_of, lent.path)


def encodings(items: Sequence[Item]) -> list[str]:
    """Those that are known without fetching."""
    return [item.transfer_syntax_uid for item in items if item.transfer_syntax_uid]


def _item(served: Served, choices: tuple[tuple[Archive, Place], ...]) -> Item:
    return Item(
        study_uid=served.study_uid,
        series_uid=served.series_uid,
        sop_instance_uid=served.sop_instance_uid,
        transfer_syntax_uid=served.transfer_syntax_uid,
        digest=served.digest,
        day=served.day,
        choices=choices,
    )


def _absent(held: Mapping[str, int]) -> str:
    if not held:
        return "nothing is known of this study, series or instance"
    states = ", ".join(f"{count} {state}" for state, count in held.items())
    return f"what is known of it is not served ({states}): it waits for the gateway or for a person's decision"
