"""Code tables: what a sender's code or words mean, in the code system that is published.

A table (``mappings/codes/<name>.yaml``) lists concepts; the key is the text that is published when the concept is known, so
that it does not depend on the sender. A site's own table (``mappings/sites/codes/<name>.yaml``) has the last word, entry by entry.
Lookup goes by code first (retired SNOMED-RT becomes SNOMED CT through pydicom's table of PS3.16), then by the words, whatever
their case, punctuation and mention of a nuclide.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from gateway import yamlfile
from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, complain, did_you_mean, from_text
from gateway.mapping.schemes import Coded, Schemes
from gateway.model import Concept
from gateway.nuclear.nuclide import Nuclide, Nuclides
from gateway.yamlfile import Document

__all__ = ["LATERALITY_TABLE", "NUCLIDES_TABLE", "CodeTable", "Coded", "Codes", "Entry", "Schemes", "fold", "load_codes"]

SCHEMES_FILE = "scheme_systems"
NUCLIDES_TABLE = "radionuclides"
LATERALITY_TABLE = "laterality"
_ENTRY_KEYS = ("system", "code", "aliases", "nuclide", "laterality", "element", "half_life_s", "plausible_MBq", "replaces")
_TEXT_KEYS = ("system", "nuclide", "laterality", "element")
#: What a nuclide and its element look like: patterns are made of them.
_NUCLIDE, _ELEMENT = re.compile("[A-Z][a-z]?-[0-9]{1,3}m?"), re.compile("[A-Za-z]{1,20}")
_SCHEME_KEYS = ("systems", "snomed_rt", "snomed_rt_extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One known concept of a table."""

    text: str
    scheme: str | None = None
    code: str | None = None
    nuclide: str | None = None  #: canonical name of the nuclide that an agent implies
    laterality: str | None = None  #: the side of a paired organ, an entry of the table ``laterality``
    plausible_mbq: tuple[Decimal, Decimal] | None = None  #: of an agent, where narrower than that of its nuclide
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CodeTable:
    """The concepts of one file, findable by code and by words."""

    name: str
    entries: tuple[Entry, ...]
    digest: str  #: of the content, part of the version of each mapping that uses the table
    by_code: dict[tuple[str, str], Entry]
    by_words: dict[str, tuple[Entry, ...]]

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        """Entries by the text that is published."""
        return {entry.text: entry for entry in self.entries}


class _Row(NamedTuple):
    """One entry as it is written, and the file that has the last word on it."""

    row: dict[str, Any]
    document: Document


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
            return self.tables[table].by_name.get(name or "")
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
        return self.tables[table].by_name.get(str(concept.get("text")))


def fold(text: str) -> str:
    """Words without case, accents, punctuation and spaces."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def load_codes(directory: Path) -> tuple[Codes, list[Complaint]]:
    """Read every table of a directory (``mappings/codes``) and those of the site beside it (``mappings/sites/codes``).

    Complaints instead of exceptions, so that all are told at once.
    """
    complaints: list[Complaint] = []
    shipped = _documents(directory, directory.name, complaints)
    site = _documents(directory.parent / "sites" / directory.name, f"sites/{directory.name}", complaints)
    schemes = _schemes([documents.pop(SCHEMES_FILE, None) for documents in (shipped, site)], complaints)
    sources = {name: [found for found in (shipped.get(name), site.get(name)) if found] for name in {**shipped, **site}}
    rows = {name: _merged(documents, schemes, complaints) for name, documents in sources.items()}
    nuclides = _nuclides(rows.get(NUCLIDES_TABLE, {}), complaints)
    tables = {name: _table(name, found, nuclides) for name, found in rows.items()}
    for name, found in rows.items():
        complaints += _unknown_names(found, tables, nuclides)
        complaints += _collisions(found, tables[name])
    return Codes(schemes=schemes, nuclides=nuclides, tables=tables), complaints


def _documents(directory: Path, shown: str, complaints: list[Complaint]) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for path in sorted(directory.glob("*.yaml")):
        name = f"{shown}/{path.name}"
        problems: list[str] = []
        try:
            documents[path.stem] = yamlfile.read(path, name=name, problems=problems)
        except Misconfigured as error:
            problems += error.complaints
        complaints += [from_text(name, line) for line in problems]
    return documents


def _schemes(documents: list[Document | None], complaints: list[Complaint]) -> Schemes:
    """The designators of the product, and above them those of the site."""
    systems: dict[str, str] = {}
    retired: set[str] = set()
    extra: dict[str, str] = {}
    for document in documents:
        if document is None:
            continue
        data = document.data if isinstance(document.data, dict) else {}
        complaints += _unknown_keys(document, (), data, _SCHEME_KEYS)
        wrong = list(_wrong_schemes(document, data))
        complaints += wrong
        if not wrong:
            systems |= data.get("systems") or {}
            retired |= set(data.get("snomed_rt") or ())
            extra |= data.get("snomed_rt_extra") or {}
    return Schemes(systems=systems, snomed_rt=frozenset(retired), snomed_rt_extra=extra)


def _wrong_schemes(document: Document, data: dict[str, Any]) -> Iterable[Complaint]:
    for key in ("systems", "snomed_rt_extra"):
        node = data.get(key) or {}
        if not isinstance(node, dict) or not all(isinstance(value, str) for value in node.values()):
            yield complain(document, (key,), f"'{key}' is a mapping of words to words")
    node = data.get("snomed_rt") or []
    if not isinstance(node, list) or not all(isinstance(value, str) for value in node):
        yield complain(document, ("snomed_rt",), "'snomed_rt' is a list of words")


def _merged(documents: list[Document], schemes: Schemes, complaints: list[Complaint]) -> dict[str, _Row]:
    """The entries of a table; a site's entry of the same name stands instead of the shipped one, ``null`` takes it away."""
    rows: dict[str, _Row] = {}
    for document in documents:
        data = document.data if isinstance(document.data, dict) else {}
        complaints += _unknown_keys(document, (), data, ("entries",))
        entries = data.get("entries")
        if not isinstance(entries, dict):
            complaints.append(complain(document, (), "a code table needs 'entries'"))
            continue
        for text, row in entries.items():
            place = ("entries", text)
            if row is None and text in rows:
                del rows[text]
                continue
            if row is None:
                text = f"there is no shipped entry '{text}' to take away{did_you_mean(text, rows)}"
                complaints.append(complain(document, place, text))
                continue
            if not isinstance(row, dict):
                complaints.append(complain(document, place, "an entry is a mapping of 'system', 'code', 'aliases', ..."))
                continue
            complaints += _unknown_keys(document, place, row, _ENTRY_KEYS)
            no_text = [key for key in _TEXT_KEYS if not isinstance(row.get(key, ""), str)]
            if no_text:
                complaints += [complain(document, (*place, key), f"'{key}' is a word") for key in no_text]
            row = {key: value for key, value in row.items() if key not in no_text}
            complaints += _wrong_entry(document, place, row, schemes)
            for replaced in _replaced(row):
                if rows.pop(replaced, None) is None:
                    hint = did_you_mean(replaced, rows)
                    complaints.append(complain(document, (*place, "replaces"), f"there is no entry '{replaced}'{hint}"))
            rows[text] = _Row(row, document)
    return rows


def _replaced(row: dict[str, Any]) -> list[str]:
    named = row.get("replaces", [])
    return [str(text) for text in (named if isinstance(named, list) else [named])]


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
    if "plausible_MBq" in row and not _is_range(row["plausible_MBq"]):
        yield complain(document, (*place, "plausible_MBq"), "a range is [lowest, highest]")


def _nuclides(rows: dict[str, _Row], complaints: list[Complaint]) -> Nuclides:
    known = []
    for name, (row, document) in rows.items():
        limits = row.get("plausible_MBq")
        if not row.get("element"):
            complaints.append(complain(document, ("entries", name), "a radionuclide needs its 'element'"))
            continue
        if limits is not None and not _is_range(limits):
            continue
        if not _NUCLIDE.fullmatch(name) or not _ELEMENT.fullmatch(row["element"]):
            complaints.append(
                complain(document, ("entries", name), "a radionuclide is named as F-18 or Tc-99m, its element in one word")
            )
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
                plausible_mbq=_range(limits),
            )
        )
    return Nuclides(tuple(known))


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]


def _range(limits: Any) -> tuple[Decimal, Decimal] | None:
    return (Decimal(limits[0]), Decimal(limits[1])) if _is_range(limits) else None


def _table(name: str, rows: dict[str, _Row], nuclides: Nuclides) -> CodeTable:
    entries = tuple(_entry(text, row) for text, (row, _) in rows.items())
    words: dict[str, list[Entry]] = {}
    for entry in entries:
        for key in _words(entry, nuclides):
            words.setdefault(key, []).append(entry)
    # A code means the whole organ; one side of it is known by words only.
    ordered = sorted(entries, key=lambda entry: entry.laterality is None)
    return CodeTable(
        name=name,
        entries=entries,
        digest=hashlib.sha256(repr({text: row for text, (row, _) in rows.items()}).encode()).hexdigest(),
        by_code={(entry.scheme, entry.code): entry for entry in ordered if entry.scheme and entry.code},
        by_words={key: tuple(found) for key, found in words.items()},
    )


def _entry(text: str, row: dict[str, Any]) -> Entry:
    aliases = row.get("aliases")
    return Entry(
        text=text,
        scheme=row.get("system"),
        code=str(row["code"]) if "code" in row else None,
        nuclide=row.get("nuclide"),
        laterality=row.get("laterality"),
        plausible_mbq=_range(row.get("plausible_MBq")),
        aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else (),
    )


def _words(entry: Entry, nuclides: Nuclides) -> set[str]:
    """Every folded writing by which an entry is found."""
    writings = {entry.text, *entry.aliases}
    return ({fold(text) for text in writings} | {fold(nuclides.without_mentions(text)) for text in writings}) - {""}


def _unknown_names(rows: dict[str, _Row], tables: dict[str, CodeTable], nuclides: Nuclides) -> Iterable[Complaint]:
    """Entries that speak of a nuclide or a side that no table knows."""
    sides = [entry.text for entry in tables[LATERALITY_TABLE].entries] if LATERALITY_TABLE in tables else []
    known = {"nuclide": (NUCLIDES_TABLE, [one.name for one in nuclides.known]), "laterality": (LATERALITY_TABLE, sides)}
    for text, (row, document) in rows.items():
        for key, (table, names) in known.items():
            if row.get(key) is not None and row[key] not in names:
                hint = did_you_mean(str(row[key]), names)
                yield complain(document, ("entries", text, key), f"'{row[key]}' is not in {table}.yaml{hint}")


def _collisions(rows: dict[str, _Row], table: CodeTable) -> Iterable[Complaint]:
    """Two entries of one meaning: a code or a word that would lead to both, so to neither."""
    codes: dict[tuple[str | None, ...], str] = {}
    for entry in table.entries:
        if entry.code is None:
            continue
        first = codes.setdefault((entry.scheme, entry.code, entry.laterality), entry.text)
        if first != entry.text:
            text = (
                f"{entry.scheme} {entry.code} is the code of '{first}' already; to stand instead of it, add 'replaces: {first}'"
            )
            yield complain(rows[entry.text].document, ("entries", entry.text), text)
    for word, found in table.by_words.items():
        for index, entry in enumerate(found):
            rival = next(
                (one for one in found[:index] if not (one.nuclide and entry.nuclide) or one.nuclide == entry.nuclide), None
            )
            if rival is not None:
                text = f"'{word}' also means '{rival.text}', so it would not be understood; keep it in one, or add 'replaces'"
                yield complain(rows[entry.text].document, ("entries", entry.text), text)


def _unknown_keys(document: Document, place: tuple[str, ...], data: dict[str, Any], known: Iterable[str]) -> list[Complaint]:
    return [
        complain(document, (*place, key), f"unknown key '{key}'{did_you_mean(key, known)}") for key in data if key not in known
    ]
