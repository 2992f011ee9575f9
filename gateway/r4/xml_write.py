"""Writes a resource as FHIR XML (R4 xml.html), from the same tree that is written as JSON.

The order of elements is that of the element tables. A decimal is written as it stands, ``1.50`` and not ``1.5``. What the tables
do not know has no place in XML and is left out; the schema of this gateway lets no such thing in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import PRIMITIVES

FHIR_NAMESPACE = "http://hl7.org/fhir"
XHTML_NAMESPACE = "http://www.w3.org/1999/xhtml"

#: XML 1.0, 2.2: what no document may hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile('[&<>"\t\n\r]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}

Write = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Row:
    """How one JSON key is written."""

    place: int
    name: str
    kind: str
    attribute: bool  #: ids of elements and the url of an extension are attributes


def to_xml(resource: JsonObject) -> bytes:
    """The resource as an XML document in UTF-8. Raises ``ValueError`` when it is not shaped like FHIR."""
    parts: list[str] = ['<?xml version="1.0" encoding="UTF-8"?>']
    try:
        _resource(resource, parts.append, f' xmlns="{FHIR_NAMESPACE}"')
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"not shaped like FHIR ({type(error).__name__})") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return "".join(parts).encode()


@lru_cache(maxsize=512)
def _rows(kind: str) -> Mapping[str, _Row]:
    rows: dict[str, _Row] = {}
    is_resource = kind in definitions.resource_types()
    for element in definitions.elements()[kind].values():
        for key, type_name in element.keys().items():
            attribute = (key == "id" and not is_resource) or (kind, key) == ("Extension", "url")
            rows[key] = _Row(len(rows), key, type_name, attribute)
    return rows


def _resource(resource: JsonObject, write: Write, namespace: str = "") -> None:
    _element(resource["resourceType"], resource, resource["resourceType"], write, namespace)


def _element(name: str, node: Mapping[str, Any], kind: str, write: Write, attributes: str = "") -> None:
    """One object: its attributes, then its children in the official order."""
    rows = _rows(kind)
    inner: dict[str, _Row] = {}
    for key, value in node.items():
        row = rows.get(key.removeprefix("_"))
        if row is None:
            continue
        if row.attribute:
            attributes += f' {row.name}="{escaped(value)}"'
        else:
            inner[row.name] = row
    if not inner:
        write(f"<{name}{attributes}/>")
        return
    write(f"<{name}{attributes}>")
    for row in sorted(inner.values(), key=lambda found: found.place):
        _member(row, node.get(row.name), node.get(f"_{row.name}"), write)
    write(f"</{name}>")


def _member(row: _Row, value: Any, sibling: Any, write: Write) -> None:
    if row.kind in PRIMITIVES:
        _primitives(row, value, sibling, write)
        return
    for child in value if isinstance(value, list) else [value]:
        if row.kind == "Resource":
            write(f"<{row.name}>")
            _resource(child, write)
            write(f"</{row.name}>")
        else:
            _element(row.name, child, row.kind, write)


def _primitives(row: _Row, value: Any, sibling: Any, write: Write) -> None:
    """A primitive, or a list of them in step with the list of their extensions."""
    if row.kind == "xhtml":
        write(_narrative(value))
        return
    if not isinstance(value, list) and not isinstance(sibling, list):
        _primitive(row.name, value, sibling, write)
        return
    many: Sequence[Any] = value or ()
    beside: Sequence[Any] = sibling or ()
    for index in range(max(len(many), len(beside))):
        _primitive(row.name, _at(many, index), _at(beside, index), write)


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _primitive(name: str, value: Any, sibling: Any, write: Write) -> None:
    attribute = "" if value is None else f' value="{escaped(value)}"'
    if sibling:
        _element(name, sibling, "Element", write, attribute)
    else:
        write(f"<{name}{attribute}/>")


def escaped(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    text = _NOT_XML.sub("\ufffd", str(value))
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def _narrative(text: str) -> str:
    """The XHTML as it is; a narrative that is no well-formed XHTML is shown as its text, so that the document can still be read."""
    parser = expat.ParserCreate(namespace_separator=" ")
    roots: list[str] = []
    parser.StartElementHandler = lambda name, _attributes: roots.append(name) if not roots else None
    try:
        parser.Parse(f"<!-- -->{text}", True)
    except expat.ExpatError:
        roots = []
    if roots != [f"{XHTML_NAMESPACE} div"] or "<!" in text or "<?" in text:
        return f'<div xmlns="{XHTML_NAMESPACE}">{escaped(text)}</div>'
    return text.strip()
