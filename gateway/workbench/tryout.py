"""One file through the pipeline, told to a person: what was read and from where, what is doubtful, what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.model import Json, JsonObject, Record
from gateway.r4.canonical import encode
from gateway.understanding import Understanding
from gateway.workbench.convert import convert


def try_lines(path: Path, understanding: Understanding, *, recorded: str) -> Iterator[str]:
    """Lines for the terminal. Raises :class:`~gateway.errors.Quarantined` when the file cannot be understood."""
    record = understanding.read(path)
    shared = record.shared
    yield f"mapping {shared.mapping}@{shared.mapping_version}"
    yield from (f"  {line}" for line in _values(record))
    issues = (*shared.issues, *record.issues)
    yield f"issues  {len(issues)}"
    yield from (f"  {issue.severity}: {issue.field} {issue.reason}" for issue in issues)
    yield "fhir"
    for bundle in convert([path], understanding, recorded=recorded).bundles:
        yield msgspec.json.format(encode(bundle), indent=2).decode()


def _values(record: Record) -> Iterator[str]:
    """Every field with its value and the path it was read from."""
    shared = record.shared
    levels: list[tuple[str, JsonObject]] = [
        ("patient", shared.patient),
        ("study", shared.study),
        ("series", shared.series),
        ("device", shared.device),
        *(("administration", item) for item in shared.administrations),
        ("instance", record.instance),
    ]
    for level, fields in levels:
        for name, value in _flat(f"{level}", fields):
            source = next((path for field, path in shared.sources.items() if name == field or name.startswith(f"{field}.")), "")
            yield f"{name} = {value}" + (f"    <- {source}" if source else "")


def _flat(name: str, value: Json) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value.keys() == {"value", "unit"}:
        yield name, f"{value['value']} {value['unit']}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, str(value)
