"""All adapters of a site: loaded and linted together, chosen by what a file looks like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway import yamlfile
from gateway.errors import Misconfigured, Rejected
from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.schemes import Schemes
from gateway.nuclear.nuclide import Nuclides
from gateway.tables.cells import MOST_BYTES, TOO_LARGE, UNREADABLE, Source
from gateway.tables.compile import compile_adapter
from gateway.tables.json_files import read_json
from gateway.tables.rules import Adapter
from gateway.tables.text_files import decode, read_csv, read_report
from gateway.tables.understand import Understood, understand
from gateway.tables.xlsx import is_workbook, read_xlsx

#: Below the folder of mappings; of two files of one name that of the site counts.
FOLDERS = ("tables", "sites/tables")
UNSUPPORTED = 415
_HEAD_CHARACTERS = 65_536


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """The adapters that may be used."""

    adapters: tuple[Adapter, ...]
    codes: Codes

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self.adapters)

    def named(self, name: str) -> Adapter:
        """Raises :class:`Rejected`."""
        found = next((adapter for adapter in self.adapters if adapter.name == name), None)
        if found is None:
            hint = did_you_mean(name, [adapter.name for adapter in self.adapters])
            raise Rejected(f"There is no adapter '{name}'{hint}; see 'isobridge tables list'.", status=UNSUPPORTED)
        return found

    def read(self, content: bytes, filename: str, zone: ZoneInfo, *, adapter: str | None = None) -> Understood:
        """A file -> what it tells. Raises :class:`Rejected` with what is wrong with it."""
        if len(content) > MOST_BYTES:
            raise Rejected(f"The table is larger than {MOST_BYTES >> 20} MiB.", status=TOO_LARGE)
        if not content.strip():
            raise Rejected("The table is empty.", status=UNREADABLE)
        chosen, source = (self._with(self.named(adapter), content, filename)) if adapter else self._choose(content, filename)
        return understand(source, chosen, self.codes, zone)

    def _with(self, adapter: Adapter, content: bytes, filename: str) -> tuple[Adapter, Source]:
        return adapter, read_source(content, filename, adapter)

    def _choose(self, content: bytes, filename: str) -> tuple[Adapter, Source]:
        """The adapter that asks the most of what the file has. Two that ask as much: a person says which."""
        fitting: list[tuple[Adapter, Source]] = []
        near: list[tuple[int, str]] = []
        broken: list[tuple[int, str]] = []
        for adapter in self.adapters:
            named = not adapter.match.filenames or any(pattern.fits(filename) for pattern in adapter.match.filenames)
            if not named or not _may_be(adapter.read.format, content):
                continue
            try:
                source = read_source(content, filename, adapter)
            except Rejected as error:
                if _has_header(adapter, content):
                    told = f"The adapter '{adapter.name}' reads tables with these columns, but not this one: {error.reason}"
                    broken.append((adapter.match.weight, told))
                elif adapter.match.filenames or _contains(adapter, content):  # else any table of another program would be told of
                    near.append((0, f"{adapter.name}: {error.reason}"))
                continue
            missing = _missing(adapter, source)
            if not missing and _looks_right(adapter, source, content):
                fitting.append((adapter, source))
            elif 0 < 2 * len(missing) <= len(adapter.match.columns):
                near.append((len(adapter.match.columns), f"{adapter.name}, but there is no column '{missing[0]}'."))
        fitting.sort(key=lambda item: -item[0].match.weight)
        if not fitting:
            raise _unread(near, broken)
        if len(fitting) > 1 and fitting[0][0].match.weight == fitting[1][0].match.weight:
            names = " and ".join(item[0].name for item in fitting[:2])
            raise Rejected(
                f"Several adapters read this table: {names}. Say which (--adapter), or make one more exact.", status=UNSUPPORTED
            )
        return fitting[0]


def _unread(near: Sequence[tuple[int, str]], broken: Sequence[tuple[int, str]]) -> Rejected:
    """Why no adapter reads a table: ``broken`` have its columns and cannot read it, ``near`` almost fit; each with its weight."""
    if broken:
        return Rejected(max(broken)[1], status=UNREADABLE)
    told = f" The nearest: {max(near)[1]}" if near else ""
    return Rejected(f"No adapter reads this table.{told} See 'isobridge tables list' and docs/tables.md.", status=UNSUPPORTED)


#: Of a site that reads no tables.
NO_ADAPTERS = Adapters(
    adapters=(),
    codes=Codes(schemes=Schemes(systems={}, snomed_rt=frozenset(), snomed_rt_extra={}), nuclides=Nuclides(()), tables={}),
)


def _may_be(form: str, content: bytes) -> bool:
    """Whether a file may be of a format at all, by how it begins."""
    if (form == "xlsx") != is_workbook(content):
        return False
    return form != "json" or content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def _missing(adapter: Adapter, source: Source) -> list[str]:
    columns = {name for sheet in source.sheets for name in sheet.columns}
    return [name for name in adapter.match.columns if name not in columns]


def _contains(adapter: Adapter, content: bytes) -> bool:
    head = content[:_HEAD_CHARACTERS].decode("latin-1")
    return bool(adapter.match.contains) and all(text in head for text in adapter.match.contains)


def _has_header(adapter: Adapter, content: bytes) -> bool:
    """Whether one line names all columns that an adapter asks for: then it is its table, and what is wrong with it can be told."""
    if not adapter.match.columns or adapter.read.format == "xlsx":
        return False
    head = content[:_HEAD_CHARACTERS].replace(b"\0", b"").decode("latin-1")
    return any(all(name.encode().decode("latin-1") in line for name in adapter.match.columns) for line in head.splitlines())


def _looks_right(adapter: Adapter, source: Source, content: bytes) -> bool:
    if not any(sheet.rows for sheet in source.sheets):
        return False
    head = "\n".join(source.lines)[:_HEAD_CHARACTERS] if source.lines else content[:_HEAD_CHARACTERS].decode("latin-1")
    return all(text in head for text in adapter.match.contains)


def read_source(content: bytes, filename: str, adapter: Adapter) -> Source:
    """Bytes -> sheets, by the adapter's ``read``. Raises :class:`Rejected`."""
    rule = adapter.read
    if rule.format == "xlsx":
        return Source(filename=filename, sheets=read_xlsx(content, rule))
    text = decode(content, rule.encodings)
    if rule.format == "json":
        return Source(filename=filename, sheets=read_json(text, rule.path))
    if rule.format == "report":
        sheets, lines = read_report(text, rule)
        return Source(filename=filename, sheets=sheets, lines=lines)
    return Source(filename=filename, sheets=read_csv(text, rule))


def examine_adapters(directory: Path, codes: Codes) -> tuple[Adapters | None, list[Complaint]]:
    """Every adapter of a folder of mappings, or all that is wrong. No adapters at all is fine."""
    complaints: list[Complaint] = []
    compiled: dict[str, Adapter] = {}
    for folder in FOLDERS:
        for path in sorted((directory / folder).glob("*.yaml")):
            shown = f"{folder}/{path.name}"
            try:
                document = yamlfile.read(path, name=shown)
            except Misconfigured as error:
                complaints += [_from_text(shown, line) for line in error.complaints]
                continue
            adapter = compile_adapter(path.stem, document, codes, complaints)
            if adapter is not None:
                compiled[path.stem] = adapter
    wrong = sorted(set(complaints))
    return (None if wrong else Adapters(adapters=tuple(compiled.values()), codes=codes)), wrong


def load_adapters(directory: Path, codes: Codes) -> Adapters:
    """Raises :class:`Misconfigured` with every complaint, ``file:line:column``."""
    adapters, complaints = examine_adapters(directory, codes)
    if adapters is None:
        raise Misconfigured([str(complaint) for complaint in complaints])
    return adapters


def _from_text(shown: str, line: str) -> Complaint:
    """A complaint of the YAML reader, its position kept."""
    parts = line.removeprefix(f"{shown}:").split(":", 2)
    numbers = [int(part) for part in parts[:2] if part.isdigit()]
    row, column = [*numbers, 1, 1][:2]
    return Complaint(shown, row, column, ":".join(parts[len(numbers) :]).strip())


def listed(adapters: Iterable[Adapter]) -> Iterator[str]:
    """One line for each adapter."""
    for adapter in adapters:
        mark = "  unverified" if adapter.unverified else ""
        yield f"{adapter.name}  ({adapter.read.format})  {adapter.title}{mark}"
