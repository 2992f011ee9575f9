"""The NDJSON files of an export: one resource a line, one type a file, compressed as they are written."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.model import JsonObject
from gateway.r4.canonical import encode
from gateway.store.export import Exported

RESOURCES_PER_FILE = 250_000
_LINES_AT_ONCE = 500
_DELETIONS_PER_BUNDLE = 100
#: Level 1: higher levels cost more time than the room they save is worth.
_LEVEL = 1

T = TypeVar("T")

#: Told the type and how many of it are written; may raise :class:`Cancelled`.
Note = Callable[[str, int], None]


class Cancelled(RuntimeError):
    """Whoever asked has withdrawn."""


class JobFile(msgspec.Struct, frozen=True):
    """One file: ``name`` is the last part of its address."""

    type: str
    name: str
    count: int


def write_resources(folder: Path, kind: str, resources: Iterable[Exported], note: Note) -> list[JobFile]:
    """Write ``Type.1.ndjson.gz``, ``Type.2.ndjson.gz`` ...; no file when there is nothing."""
    found: list[JobFile] = []
    source = iter(resources)
    total = 0
    while (first := next(source, None)) is not None:
        name = f"{kind}.{len(found) + 1}.ndjson"
        count = 0
        with gzip.open(folder / f"{name}.gz", "wb", compresslevel=_LEVEL) as file:
            for lines in _parts(chain((first,), islice(source, RESOURCES_PER_FILE - 1)), _LINES_AT_ONCE):
                file.write(b"".join(line for item in lines for line in (item.body, b"\n")))
                count += len(lines)
                note(kind, total + count)
        total += count
        found.append(JobFile(kind, name, count))
    return found


def write_deletions(folder: Path, kind: str, gone: Iterable[tuple[str, str]]) -> list[JobFile]:
    """Write what was deleted as transaction bundles of DELETE requests (Bulk Data Access IG, ``deleted``)."""
    name, count = f"deleted.{kind}.ndjson", 0
    source = iter(gone)
    if (first := next(source, None)) is None:
        return []
    with gzip.open(folder / f"{name}.gz", "wb", compresslevel=_LEVEL) as file:
        for part in _parts(chain((first,), source), _DELETIONS_PER_BUNDLE):
            entries = [{"request": {"method": "DELETE", "url": f"{deleted}/{logical_id}"}} for deleted, logical_id in part]
            bundle: JsonObject = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            file.write(encode(bundle) + b"\n")
            count += 1
    return [JobFile("Bundle", name, count)]


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while part := list(islice(source, size)):
        yield part
