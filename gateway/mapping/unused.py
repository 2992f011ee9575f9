"""What a directory of mappings holds for nothing: short names, tables and fields that nothing reads. Warnings, never mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gateway.mapping.codes import NUCLIDES_TABLE, SCHEMES_FILE
from gateway.mapping.complaints import Complaint
from gateway.mapping.files import Effective, Origin
from gateway.mapping.rules import FieldRule, Mapping

_VARIABLE = re.compile(r"\$([a-z][a-z0-9_]*)")


def unused(effective: list[Effective], mappings: list[Mapping], directory: Path) -> Iterable[Complaint]:
    """A ``let`` that no path uses, and a table of the site that no field uses. The shipped tables are there for whoever needs them."""
    yield from _unused_lets(effective)
    yield from _unused_tables(mappings, directory / "sites" / "codes")


def _unused_lets(effective: list[Effective]) -> Iterable[Complaint]:
    used = {one.name: _variables(one.own) for one in effective}
    for one in effective:
        heirs = [heir.name for heir in effective if one.name in heir.lineage]
        for name in one.own.get("let") or {}:
            if not any(name in used[heir] for heir in heirs):
                yield Origin(one.document, ("let", name)).complain(f"nothing reads ${name}")


def _variables(node: Any) -> set[str]:
    """Every ``$name`` in the sections that may hold one."""
    if isinstance(node, dict):
        return set().union(*(_variables(value) for value in node.values()), set())
    if isinstance(node, list):
        return set().union(*map(_variables, node), set())
    return set(_VARIABLE.findall(node)) if isinstance(node, str) else set()


def _unused_tables(mappings: list[Mapping], tables: Path) -> Iterable[Complaint]:
    used = {SCHEMES_FILE, NUCLIDES_TABLE}.union(*(_tables(rule) for mapping in mappings for rule in _read(mapping)))
    for path in sorted(tables.glob("*.yaml")):
        if path.stem not in used:
            yield Complaint(f"sites/codes/{path.name}", 1, 1, "no field uses this code table")


def _read(mapping: Mapping) -> Iterable[FieldRule]:
    yield from mapping.fields
    for result in mapping.results:
        yield from result.fields


def _tables(rule: FieldRule) -> set[str]:
    own = {table for table in (rule.options.table, *rule.converter.reads_tables) if table}
    return own.union(*map(_tables, rule.items))
