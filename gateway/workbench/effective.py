"""One mapping as it is in force: everything it inherits written out, with file and line behind each key. For people who write overlays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import Misconfigured
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.file_shape import INHERITED
from gateway.mapping.files import Effective, Origin, read_files, resolve

#: A value that fits stands on one line; a longer one takes a line per key.
_WIDTH = 100
_COMMENT_COLUMN = 72


def effective_mapping(directory: Path, name: str) -> str:
    """YAML text of a mapping, by its name or by its file. Raises :class:`Misconfigured` when there is none, or when it has mistakes."""
    complaints: list[Complaint] = []
    documents = read_files(directory, complaints)
    found = {one.name: one for one in resolve(documents, complaints)}
    wanted = Path(name).stem if name.endswith((".yaml", ".yml")) or "/" in name else name
    if wanted in found and not found[wanted].left_out and not _about(complaints, found[wanted]):
        return "\n".join(_lines(found[wanted])) + "\n"
    if complaints:
        raise Misconfigured([str(complaint) for complaint in sorted(complaints)])
    raise Misconfigured(f"there is no mapping '{wanted}'{did_you_mean(wanted, found)}")


def _about(complaints: Iterable[Complaint], effective: Effective) -> bool:
    pieces = [piece for section in INHERITED if section != "match" for piece in getattr(effective, section).values()]
    pieces += [piece for conditions in effective.match.values() for piece in conditions]
    files = {piece.origin.document.name for piece in pieces}
    return any(complaint.file in {effective.document.name, *files} for complaint in complaints)


def _lines(effective: Effective) -> Iterator[str]:
    line = " <- ".join(reversed(effective.lineage))
    yield f"# {effective.document.name} in force ({line}); rank: priority {effective.priority}, {effective.depth} deep"
    if effective.priority:
        yield f"priority: {effective.priority}"
    if effective.shadow:
        yield "shadow: true"
    for section in INHERITED:
        pieces = getattr(effective, section)
        if section == "match" and not pieces:
            yield f"match: {'nothing' if effective.abstract else 'everything'}"
        elif section == "match":
            yield from _match(effective)
        elif section == "dicom":
            yield from _dicom(effective)
        elif pieces:
            yield f"{section}:"
            for key, piece in pieces.items():
                yield from _entry(key, piece.node, piece.origin, "  ")
    if effective.example:
        yield "example:"
        yield from (f"  {line}" for line in _dumped(effective.example, flow=False).splitlines())


def _match(effective: Effective) -> Iterator[str]:
    """All conditions must fit. Where several stand on one key the last one is shown as YAML, the others as comments."""
    yield "match:"
    for key, pieces in effective.match.items():
        yield from _entry(key, pieces[-1].node, pieces[-1].origin, "  ")
        for piece in pieces[:-1]:
            yield from _entry(key, piece.node, piece.origin, "  # and: ")


def _dicom(effective: Effective) -> Iterator[str]:
    """The section whose ``elements`` are inherited one by one."""
    pieces = effective.dicom
    elements = {key.removeprefix("elements."): piece for key, piece in pieces.items() if key.startswith("elements.")}
    if pieces:
        yield "dicom:"
    for key, piece in pieces.items():
        if not key.startswith("elements."):
            yield from _entry(key, piece.node, piece.origin, "  ")
    if elements:
        yield "  elements:"
    for key, piece in elements.items():
        yield from _entry(key, piece.node, piece.origin, "    ")


def _entry(key: str, node: Any, origin: Origin, indent: str) -> Iterator[str]:
    """A key and its value, on one line where it fits; behind each key where it was written."""
    where = origin.document.where(origin.place).rsplit(":", 1)[0]
    written = f"{indent}{_dumped(key, flow=True)}:"
    whole = f"{written} {_dumped(node, flow=True)}"
    if not isinstance(node, dict | list) or not node or len(whole) <= _WIDTH:
        yield _commented(whole, where)
        return
    yield _commented(written, where)
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _entry(name, value, Origin(origin.document, (*origin.place, name)), f"{indent}  ")
        return
    for index, value in enumerate(node):
        yield from _item(value, Origin(origin.document, (*origin.place, index)), f"{indent}  ")


def _item(value: Any, origin: Origin, indent: str) -> Iterator[str]:
    """One entry of a list."""
    where = origin.document.where(origin.place).rsplit(":", 1)[0]
    whole = f"{indent}- {_dumped(value, flow=True)}"
    if not isinstance(value, dict) or not value or len(whole) <= _WIDTH:
        yield _commented(whole, where)
        return
    first = True
    for name, inner in value.items():
        for line in _entry(name, inner, Origin(origin.document, (*origin.place, name)), f"{indent}  "):
            yield f"{indent}- {line[len(indent) + 2 :]}" if first else line
            first = False


def _commented(line: str, where: str) -> str:
    return f"{line:<{_COMMENT_COLUMN}}  # from {where}"


class _Dumper(yaml.SafeDumper):
    """Writes decimals as they were read, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    Decimal,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value:f}" if value % 1 else f"{value:.1f}"),
)


def _dumped(value: Any, *, flow: bool) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=flow or None, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...") if flow else text
