"""Small mapping directories for tests: the shipped code tables, and the YAML a test writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.dicom.reading import header_of
from gateway.mapping.example import encode, merged
from gateway.mapping.language import Mapping, lint, load
from gateway.model import Record
from gateway.normalise.record import SharedCache, SiteContext, normalise

SHIPPED = Path(__file__).resolve().parents[2] / "mappings"
SITE = SiteContext(timezone=ZoneInfo("Europe/Brussels"))


def directory(path: Path, **files: str) -> Path:
    """A mapping directory with these files; ``_`` in a name stands for itself, ``__`` for a folder."""
    shutil.copytree(SHIPPED / "codes", path / "codes")
    for name, text in files.items():
        file = path / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return path


def complaints(path: Path, **files: str) -> list[str]:
    return [str(complaint) for complaint in lint(directory(path, **files))]


def one_field(path: Path, spec: str) -> Mapping:
    """A mapping with the single field ``study.x``."""
    return load(directory(path, one=f"match: everything\nfields:\n  study.x: {spec}\n")).named("one")


def read(mapping: Mapping, given: dict[str, Any]) -> Record:
    """Normalise an object with these elements, beside those of the mapping's example."""
    return normalise(header_of(encode(merged(mapping.example, given))), mapping, SITE, SharedCache(4))


def said(record: Record) -> list[str]:
    return [f"{issue.field} {issue.reason}" for issue in (*record.shared.issues, *record.issues)]
