"""What is legal in a directory of mappings and hardly meant: warnings, never mistakes.

A private creator that differs from a known one by a letter, a field of the site that nothing reads, a code table entry that loses the
words of the shipped one. Only what the hospital wrote is doubted (``sites``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydicom._private_dict import private_dictionaries

from gateway import yamlfile
from gateway.dicom.paths import Path as DicomPath
from gateway.dicom.paths import PathError, parse_path
from gateway.errors import Misconfigured
from gateway.mapping.codes import NUCLIDES_TABLE, SCHEMES_FILE, fold
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.mapping.dicom_rules import SetField
from gateway.mapping.files import Effective, Origin
from gateway.mapping.rules import FieldRule, Mapping
from gateway.mapping.scopes import SCOPES, belongs_to, root_of
from gateway.mapping.sources import FieldRef, plain
from gateway.mapping.tracer import AGENTS_TABLE
from gateway.yamlfile import Document, Place

SITES = "sites/"
#: A creator that is nearer than this to a known one, and not one, is misspelt.
_NEAR = 0.85
#: Key of an entry -> the tables in which something reads it.
_READ_IN = {
    "element": (NUCLIDES_TABLE,),
    "half_life_s": (NUCLIDES_TABLE,),
    "nuclide": (AGENTS_TABLE,),
    "plausible_MBq": (NUCLIDES_TABLE, AGENTS_TABLE),
    "laterality": ("organs",),
}


def doubts(effective: list[Effective], mappings: list[Mapping], directory: Path) -> Iterable[Complaint]:
    """Everything that looks like a slip in the mappings and code tables of the site."""
    shipped = {name for one in effective if not _is_site(one.document) for name in one.fields}
    creators = _creators_of_dictionary() | {
        creator for one in effective if not _is_site(one.document) for _, creator in _creators(one.own)
    }
    for one, mapping in zip(effective, mappings, strict=True):
        if _is_site(one.document):
            yield from _odd_creators(one.document, creators)
            yield from _unread_fields(one, mapping, shipped)
    for path in sorted((directory / SITES / "codes").glob("*.yaml")):
        if path.stem != SCHEMES_FILE:
            yield from _table_doubts(path, directory / "codes" / path.name)


def _is_site(document: Document) -> bool:
    return document.name.startswith(SITES)


@cache
def _creators_of_dictionary() -> frozenset[str]:
    return frozenset(private_dictionaries)


def _odd_creators(document: Document, known: Iterable[str]) -> Iterator[Complaint]:
    known = set(known)
    for place, creator in _creators(document.data):
        near = [] if creator in known else get_close_matches(creator, known, n=1, cutoff=_NEAR)
        if near:
            yield complain(document, place, f"no private creator is known as '{creator}' (did you mean '{near[0]}'?)")


def _creators(node: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every private creator that a path in a file names, keys included; and that of ``match``."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "private_creator" and isinstance(value, str) and "*" not in value:
                yield (*place, key), value
            yield from ((((*place, key)), creator) for creator in _creators_of(key))
            yield from _creators(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _creators(value, (*place, index))
    elif isinstance(node, str):
        yield from ((place, creator) for creator in _creators_of(node))


def _creators_of(text: str) -> Iterator[str]:
    _, begins, rest = text.partition("(")
    if begins and ")[" in rest:
        try:
            path: DicomPath = parse_path(text.partition(".")[2] if text.startswith("$") else text)
        except PathError:
            return
        yield from (step.creator for step in path.steps if step.creator is not None)


def _unread_fields(one: Effective, mapping: Mapping, shipped: Iterable[str]) -> Iterator[Complaint]:
    """Fields that only this file knows, and that no resource, no other field and no rule of ``dicom`` reads."""
    read = set(_read(mapping))
    shipped = set(shipped)
    for name in mapping.own_fields:
        if name not in shipped and not belongs_to(name, read):
            hint = did_you_mean(name, (other for other in one.fields if other != name))
            text = f"nothing reads '{name}': it is kept with the object, and no resource publishes it{hint}"
            yield Origin(one.document, ("fields", name)).complain(text)


def _read(mapping: Mapping) -> Iterator[str]:
    """Names of the form ``level.a.b`` that something of this mapping reads."""
    for resource in mapping.resources.values():
        scope = SCOPES[resource.per]
        for template in (*resource.identity, resource.body):
            for _, path in template.paths:
                root = root_of(path, scope)
                if root is not None and path != root:
                    yield f"{scope[root]}.{path[len(root) + 1 :].replace('[]', '')}"
    for rule in (*mapping.fields, *(member for result in mapping.results for member in result.fields)):
        yield from _read_by(rule)
    yield from (rule.action.name for rule in mapping.dicom.elements if isinstance(rule.action, SetField))


def _read_by(rule: FieldRule) -> Iterator[str]:
    for source in rule.looked_at():
        bare = plain(source)
        if isinstance(bare, FieldRef):
            yield bare.name
    for item in rule.items:
        yield from _read_by(item)


def _table_doubts(path: Path, shipped: Path) -> Iterator[Complaint]:
    try:
        document = yamlfile.read(path, name=f"{SITES}codes/{path.name}")
        before = yamlfile.read(shipped).data.get("entries", {}) if shipped.exists() else {}
    except Misconfigured:  # a complaint already
        return
    for text, row in (document.data.get("entries") or {}).items():
        if not isinstance(row, dict):
            continue
        for key in row:
            if path.stem not in _READ_IN.get(key, (path.stem,)):
                yield complain(document, ("entries", text, key), f"nothing reads '{key}' in this table")
        lost = _lost_words(text, row, before)
        if lost:
            told = f"'{text}' stands instead of the shipped entry and leaves out its words: {', '.join(lost)}"
            yield complain(document, ("entries", text), told)


def _lost_words(text: str, row: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Writings by which the entries it stands for were found, and it is not."""
    replaced = row.get("replaces", [])
    names = [text, *map(str, replaced if isinstance(replaced, list) else [replaced])]
    own = {fold(str(word)) for word in (text, *(row.get("aliases") or ()))}
    rows = {name: before[name] for name in names if isinstance(before.get(name), dict)}
    words = [str(word) for name, old in rows.items() for word in (name, *(old.get("aliases") or ()))]
    return [word for word in dict.fromkeys(words) if fold(word) not in own]
