"""The one way in for tables, whatever brought them: read by an adapter, kept, recorded. Judged before anything is kept.

A table that no adapter can read is refused with the reason, and nothing of it stays: whoever brought it still has it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from gateway.errors import Rejected
from gateway.gather.patient import DEVICE
from gateway.nuclear.results import KINDS, Link
from gateway.spool.ledger import Ledger
from gateway.spool.table_files import TableFiles, digest_of
from gateway.spool.tables import NewPart, TableFile
from gateway.tables.records import part_key, record_of
from gateway.tables.understand import Part, Understood
from gateway.telemetry import token
from gateway.understanding import Understanding

log = structlog.get_logger()
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTaken:
    """What became of a table."""

    digest: str
    is_new: bool
    understood: Understood

    @property
    def facts(self) -> int:
        return sum(len(part.results) for part in self.understood.parts)


class TableDoor:
    """Safe to use from several threads. ``look`` tells the understanding in force."""

    def __init__(self, ledger: Ledger, files: TableFiles, look: Callable[[], Understanding]) -> None:
        self._ledger = ledger
        self._files = files
        self._look = look

    def take(
        self, content: bytes, filename: str, *, door: str, sender: str, now: float, adapter: str | None = None
    ) -> TableTaken:
        """Raises :class:`~gateway.errors.Rejected` for a table that cannot be understood, :class:`~gateway.errors.Retryable`."""
        site = self._look()
        name = "".join(letter for letter in filename if letter.isprintable())[-_LONGEST_NAME:]
        understood = site.adapters.read(content, name, site.site.timezone, adapter=adapter)
        digest = digest_of(content)
        first = self._ledger.tables.received_before(digest)
        received_at = now if first is None else first
        parts = [self._new_part(site, part, understood, digest, received_at) for part in understood.parts]
        self._files.keep(content)
        chosen = understood.adapter
        file = TableFile(
            digest=digest,
            name=name,
            size_bytes=len(content),
            adapter=chosen.name,
            adapter_version=chosen.version,
            door=door,
            sender=sender,
            received_at=received_at,
        )
        taken = self._ledger.tables.take(file, parts, now=now)
        result = "new" if taken.is_new else "known"
        log.info("table_taken", stage="tables", item=token(digest), count=len(parts), kind=chosen.name, result=result)
        return TableTaken(digest=digest, is_new=taken.is_new, understood=understood)

    def read_again(self, *, now: float) -> Iterator[tuple[str, str]]:
        """Read every file that was taken by the adapters in force now: (name, what came of it). What people decided stays.

        A file that is gone, or that its adapter cannot read any more, keeps what was read from it.
        """
        for digest, name, adapter in self._ledger.tables.files():
            try:
                taken = self.take(self._files.read(digest), name, door="", sender="", now=now, adapter=adapter)
            except (Rejected, OSError) as error:
                reason = error.reason if isinstance(error, Rejected) else "its file is gone from the spool"
                yield name, f"keeps its former reading: {reason}"
                continue
            yield name, "read again" if taken.is_new else "reads as before"

    def _new_part(self, site: Understanding, part: Part, understood: Understood, digest: str, received_at: float) -> NewPart:
        stamp = dt.datetime.fromtimestamp(received_at, dt.UTC).isoformat(timespec="seconds")
        return NewPart(
            key=part_key(part),
            stated_key=_stated_key(site, part),
            fields=record_of(part, understood.adapter, digest, stamp),
        )


def _stated_key(site: Understanding, part: Part) -> str | None:
    """The patient that the table names. Facts about a device alone have none, and a dossier of their own."""
    identifier = part.patient.get("id")
    if identifier:
        return site.patients.named(str(identifier), str(part.patient.get("issuer") or ""))
    about_a_device = all(KINDS[result["kind"]].administration is Link.NEVER for result in part.results)
    if part.device and part.results and about_a_device:
        return "|".join([DEVICE, *(str(part.device.get(name, "")) for name in ("manufacturer", "model", "serial", "station"))])
    return None
