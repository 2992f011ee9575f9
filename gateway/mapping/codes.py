"""Code tables: what a sender's code or words mean, in the code system that is published.

A table (``mappings/codes/<name>.yaml``) lists concepts; the key is the text that is published when the concept is known, so
that it does not depend on the sender. Lookup goes by code first (retired SNOMED-RT becomes SNOMED CT through pydicom's table of
PS3.16), then by the words, whatever their case, punctuation and mention of a nuclide.
"""

from __future__ import annotations

import hashlib
import importlib.util
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pydicom

from gateway import yamlfile
from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, complain, did_you_mean
from gateway.model import Concept
from gateway.nuclear.nuclide import Nuclide, Nuclides
from gateway.yamlfile import Document

SCHEMES_FILE = "scheme_systems"
NUCLIDES_TABLE = "radionuclides"
_ENTRY_KEYS = ("system", "code", "aliases", "nuclide", "element", "half_life_s", "plausible_MBq")
_SCHEME_KEYS = ("systems", "snomed_rt", "snomed_rt_extra")


@cache
def _snomed_rt() -> Mapping[str, str]:
    """Retired SNOMED-RT codes and their SNOMED CT successors, from pydicom's table of PS3.16.

    Only that one file is loaded: its package builds dictionaries of all SR concepts, which costs every start a second.
    """
    path = Path(pydicom.__file__).parent / "sr" / "_snomed_dict.py"
    spec = importlib.util.spec_from_file_location("pydicom_snomed_dict", path)
    if spec is None or spec.loader is None:
        raise Misconfigured("pydicom's table of retired SNOMED codes is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: Mapping[str, str] = module.mapping["SRT"]
    return table


@cache
def _snomed_rt_by_successor() -> Mapping[str, tuple[str, ...]]:
    """SNOMED CT codes and the retired SNOMED-RT codes that mean the same."""
    successors: dict[str, tuple[str, ...]] = {}
    for retired, code in _snomed_rt().items():
        successors[code] = (*successors.get(code, ()), retired)
    return successors


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A code as a sender wrote it: coding scheme designator, value, meaning. Any of them may be empty."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One known concept of a table."""

    text: str
    scheme: str | None = None
    code: str | None = None
    nuclide: str | None = None  #: canonical name of the nuclide that an agent implies
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Schemes:
    """Coding scheme designators and their FHIR systems."""

    systems: dict[str, str] = field(default_factory=dict)
    snomed_rt: frozenset[str] = frozenset()
    snomed_rt_extra: dict[str, str] = field(default_factory=dict)

    def current(self, coded: Coded) -> tuple[str, str]:
        """Designator and code, with a known SNOMED-RT code turned into SNOMED CT."""
        if coded.scheme in self.snomed_rt:
            code = _snomed_rt().get(coded.value) or self.snomed_rt_extra.get(coded.value)
            if code:
                return "SCT", code
        return coded.scheme, coded.value

    def equals(self, scheme: str, code: str) -> frozenset[tuple[str, str]]:
        """All ways in which senders write a code: itself, and the retired SNOMED-RT codes for it."""
        if scheme != "SCT":
            return frozenset({(scheme, code)})
        retired = {*_snomed_rt_by_successor().get(code, ()), *(old for old, new in self.snomed_rt_extra.items() if new == code)}
        return frozenset({(scheme, code), *((designator, old) for designator in self.snomed_rt for old in retired)})


@dataclass(frozen=True, kw_only=True)
class CodeTable:
    """The concepts of one file, findable by code and by words."""

    name: str
    entries: tuple[Entry, ...]
    digest: str  #: of the content, part of the version of each mapping that uses the table
    by_code: dict[tuple[str, str], Entry]
    by_words: dict[str, tuple[Entry, ...]]


@dataclass(frozen=True, kw_only=True)
class Codes:
    """All code tables of an installation."""

    schemes: Schemes
    nuclides: Nuclides
    tables: dict[str, CodeTable]

    def by_code(self, table: str, coded: Coded) -> Entry | None:
        """What a code means in a table."""
        return self.tables[table].by_code.get(self.schemes.current(coded))

    def by_text(self, table: str, text: str, *, nuclide: str | None = None) -> Entry | None:
        """What words mean in a table. A nuclide, mentioned or given, tells two agents of one name apart; still two: ``None``."""
        if table == NUCLIDES_TABLE:
            name = self.nuclides.recognise(text)
            return next((entry for entry in self.tables[table].entries if entry.text == name), None)
        words = self.tables[table].by_words
        found = words.get(fold(text)) or words.get(fold(self.nuclides.without_mentions(text))) or ()
        mentioned = self.nuclides.mentioned(text)
        if mentioned:
            found = tuple(entry for entry in found if entry.nuclide in mentioned)
        elif len(found) > 1 and nuclide:
            found = tuple(entry for entry in found if entry.nuclide == nuclide)
        return found[0] if len(found) == 1 else None

    def concept(self, entry: Entry) -> Concept:
        """A known concept as it is published."""
        return Concept(system=self.schemes.systems.get(entry.scheme or ""), code=entry.code, text=entry.text)

    def entry_of(self, table: str, concept: dict[str, Any]) -> Entry | None:
        """The table's entry behind a concept that :meth:`concept` made."""
        return next((entry for entry in self.tables[table].entries if entry.text == concept.get("text")), None)


def fold(text: str) -> str:
    """Words without case, accents, punctuation and spaces."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def load_codes(directory: Path) -> tuple[Codes, list[Complaint]]:
    """Read every table of a directory. Complaints instead of exceptions, so that all are told at once."""
    complaints: list[Complaint] = []
    documents: dict[str, Document] = {}
    for path in sorted(directory.glob("*.yaml")):
        try:
            documents[path.stem] = yamlfile.read(path, name=f"{directory.name}/{path.name}")
        except Misconfigured as error:
            complaints += [Complaint(f"{directory.name}/{path.name}", 1, 1, line) for line in error.complaints]
    schemes = _schemes(documents.pop(SCHEMES_FILE, None), complaints)
    raw = {name: _entries(document, schemes, complaints) for name, document in documents.items()}
    nuclides = _nuclides(documents.get(NUCLIDES_TABLE), complaints)
    tables = {name: _table(name, documents[name], entries, nuclides) for name, entries in raw.items()}
    for name, document in documents.items():
        complaints += _unknown_nuclides(document, tables[name], nuclides)
    return Codes(schemes=schemes, nuclides=nuclides, tables=tables), complaints


def _schemes(document: Document | None, complaints: list[Complaint]) -> Schemes:
    if document is None:
        return Schemes()
    data = document.data if isinstance(document.data, dict) else {}
    complaints += _unknown_keys(document, (), data, _SCHEME_KEYS)
    return Schemes(
        systems=dict(data.get("systems") or {}),
        snomed_rt=frozenset(data.get("snomed_rt") or ()),
        snomed_rt_extra=dict(data.get("snomed_rt_extra") or {}),
    )


def _entries(document: Document, schemes: Schemes, complaints: list[Complaint]) -> tuple[Entry, ...]:
    data = document.data if isinstance(document.data, dict) else {}
    complaints += _unknown_keys(document, (), data, ("entries",))
    rows = data.get("entries")
    if not isinstance(rows, dict):
        complaints.append(complain(document, (), "a code table needs 'entries'"))
        return ()
    made = []
    for text, row in rows.items():
        place = ("entries", text)
        if not isinstance(row, dict):
            complaints.append(complain(document, place, "an entry is a mapping of 'system', 'code', 'aliases', ..."))
            continue
        complaints += _unknown_keys(document, place, row, _ENTRY_KEYS)
        complaints += _wrong_entry(document, place, row, schemes)
        aliases = row.get("aliases")
        made.append(
            Entry(
                text=text,
                scheme=row.get("system"),
                code=str(row["code"]) if "code" in row else None,
                nuclide=row.get("nuclide"),
                aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else (),
            )
        )
    return tuple(made)


def _wrong_entry(document: Document, place: tuple[str, ...], row: dict[str, Any], schemes: Schemes) -> Iterable[Complaint]:
    scheme = row.get("system")
    if scheme is not None and scheme not in schemes.systems:
        hint = did_you_mean(str(scheme), schemes.systems)
        yield complain(document, (*place, "system"), f"coding scheme '{scheme}' has no FHIR system{hint}")
    if (scheme is None) != ("code" not in row):
        yield complain(document, place, "'system' and 'code' go together")
    if not isinstance(row.get("code", ""), str):
        yield complain(document, (*place, "code"), "a code is text: put it in quotes")
    if not isinstance(row.get("aliases", []), list):
        yield complain(document, (*place, "aliases"), "'aliases' is a list")


def _nuclides(document: Document | None, complaints: list[Complaint]) -> Nuclides:
    if document is None or not isinstance(document.data, dict) or not isinstance(document.data.get("entries"), dict):
        return Nuclides(())
    known = []
    for name, row in document.data["entries"].items():
        if not isinstance(row, dict):
            continue
        limits = row.get("plausible_MBq")
        if not row.get("element"):
            complaints.append(complain(document, ("entries", name), "a radionuclide needs its 'element'"))
            continue
        if limits is not None and not _is_range(limits):
            complaints.append(complain(document, ("entries", name, "plausible_MBq"), "a range is [lowest, highest]"))
            continue
        half_life = row.get("half_life_s")
        if half_life is not None and not (_is_number(half_life) and half_life > 0):
            complaints.append(complain(document, ("entries", name, "half_life_s"), "a half-life is a number of seconds"))
            continue
        known.append(
            Nuclide(
                name=name,
                element=row["element"],
                half_life_s=Decimal(half_life) if half_life is not None else None,
                plausible_mbq=(Decimal(limits[0]), Decimal(limits[1])) if limits else None,
            )
        )
    return Nuclides(tuple(known))


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]


def _table(name: str, document: Document, entries: tuple[Entry, ...], nuclides: Nuclides) -> CodeTable:
    words: dict[str, list[Entry]] = {}
    for entry in entries:
        writings = {entry.text, *entry.aliases}
        keys = {fold(text) for text in writings} | {fold(nuclides.without_mentions(text)) for text in writings}
        for key in keys - {""}:
            words.setdefault(key, []).append(entry)
    return CodeTable(
        name=name,
        entries=entries,
        digest=hashlib.sha256(repr(document.data).encode()).hexdigest(),
        by_code={(entry.scheme, entry.code): entry for entry in entries if entry.scheme and entry.code},
        by_words={key: tuple(found) for key, found in words.items()},
    )


def _unknown_nuclides(document: Document, table: CodeTable, nuclides: Nuclides) -> Iterable[Complaint]:
    for entry in table.entries:
        if entry.nuclide is not None and nuclides.named(entry.nuclide) is None:
            hint = did_you_mean(entry.nuclide, [nuclide.name for nuclide in nuclides.known])
            yield complain(
                document, ("entries", entry.text, "nuclide"), f"'{entry.nuclide}' is not in {NUCLIDES_TABLE}.yaml{hint}"
            )


def _unknown_keys(document: Document, place: tuple[str, ...], data: dict[str, Any], known: Iterable[str]) -> list[Complaint]:
    return [
        complain(document, (*place, key), f"unknown key '{key}'{did_you_mean(key, known)}") for key in data if key not in known
    ]
