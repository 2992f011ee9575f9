"""What stands in a header at the place that a field was read from, in the header's own words. For ``explain`` and for the pages."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.dicom import sr
from gateway.dicom.elements import Element
from gateway.dicom.items import Item, Root
from gateway.dicom.paths import Path, PathError, parse_path
from gateway.dicom.sr import SrPath
from gateway.dicom.values import Invalid
from gateway.mapping.rules import REPEATED
from gateway.model import Json, JsonObject

_CODED = tuple(map(parse_path, ("CodeMeaning", "CodeValue", "CodingSchemeDesignator")))


def words_at(start: Root | Item, path: Path | SrPath) -> str:
    """The words at a path; empty when nothing stands there, or nothing that can be read."""
    try:
        found = start.find(path) if isinstance(path, Path) else sr.find(start, path)
    except Invalid as error:
        return f"(unreadable: it {error})"
    return words(found) if found else ""


def words_at_text(start: Root | Item, text: str) -> str:
    """The same for a path as it was written; empty for what is no path of elements."""
    try:
        return words_at(start, parse_path(text))
    except PathError:
        return ""


def words(element: Element) -> str:
    """An element's values as written; of coded items the meaning with code and scheme (PS3.3 8.8)."""
    return f"{element.text} {element.unit}".strip() or "; ".join(_coded(item) for item in element.items)


def _coded(item: Item) -> str:
    parts = []
    for path in _CODED:
        try:
            found = item.find(path)
        except Invalid:
            found = None
        parts.append(found.text if found else "")
    meaning, *code = parts
    return f"{meaning} ({', '.join(filter(None, code))})" if any(parts) else "(item)"


def flat(level: str, values: JsonObject, sources: dict[str, str]) -> Iterator[tuple[str, Json]]:
    """Fields by their full name: what has a source is one field, whatever its shape."""
    for key, value in values.items():
        name = f"{level}.{key}"
        if isinstance(value, dict) and name not in sources and not value.keys() & {"value", "code", "text"}:
            yield from flat(name, value, sources)
        else:
            yield name, value


def label_of(name: str, number: int, count: int) -> str:
    """How a record calls a field of one of several administrations: ``administration[1].activity``."""
    return name if count <= 1 or not name.startswith(f"{REPEATED}.") else f"{REPEATED}[{number}]{name[len(REPEATED) :]}"
