"""Tokens and references as pairs of columns: what a value asks for, and many values as one condition.

Five hundred accession numbers are one list and not five hundred selections: what a database compiles grows with the selections.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.expression import compile_expression
from gateway.store import values
from gateway.store.query import Condition, split_bars, unescaped
from gateway.store.sql import TRUE, Sql, any_of, is_one_of, sql

#: The names asked for (none: any) and the system or type they are of (``None``: any).
Name = tuple[tuple[str, ...], str | None]


def token(found: Condition, value: str) -> Name:
    """``code``, ``system|code``, ``|code`` (no system) or ``system|`` (any code of it). Raises :class:`Rejected` (400)."""
    parts = split_bars(value)
    if len(parts) > 2:
        raise Rejected(f"the value of '{found.code}' must be code, system|code, |code or system|", status=400)
    code = parts[-1]
    codes = tuple(values.key(form) for form in values.uid_forms(code)) if code else ()
    has_system = len(parts) == 2 and not _system_is_implied(found.type, found.code)
    return codes, values.key(parts[0]) if has_system else None


@lru_cache(maxsize=1024)
def _system_is_implied(kind: str, code: str) -> bool:
    """An element of type ``code`` has its system by its binding, so a client may name it though it is not in the resource."""
    parameter = definitions.search_parameters()[kind][code]
    if parameter.type == "composite":
        return False
    found = compile_expression(parameter.expression, root=kind, elements=definitions.elements())
    return all(extractor.kind == "code" for extractor in found)


def reference(found: Condition, value: str, base: str) -> Name | None:
    """``Type/id``, ``id``, an address of ours, or any other URL; ``None`` for one that nothing can be (the modifier names another type)."""
    text = unescaped(value).removeprefix(f"{base}/") if base else unescaped(value)
    kind, _, logical_id = text.partition("/")
    if not logical_id:
        kind, logical_id = found.modifier, text
    if kind and kind not in definitions.resource_types() | {""}:
        return (values.key(text),), ""
    logical_id = logical_id.partition("/_history/")[0]
    if found.modifier and kind != found.modifier:
        return None
    return (values.key(logical_id),), kind or None


def are_named(names: Iterable[Name], name_column: Sql, system_column: Sql) -> Sql:
    """That a row is one of them, one list for each system."""
    lists: dict[str | None, set[str]] = {}
    options: list[Sql] = []
    for wanted, system in names:
        if wanted:
            lists.setdefault(system, set()).update(wanted)
        else:
            options.append(TRUE if system is None else sql("{} = {}", system_column, system))
    for system, wanted_names in lists.items():
        listed = is_one_of(name_column, sorted(wanted_names))
        options.append(listed if system is None else sql("({} AND {} = {})", listed, system_column, system))
    return any_of(options)
