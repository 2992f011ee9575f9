"""Says the same with conditions that an index answers at once. Pure: knows the definitions, no database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gateway.r4 import definitions
from gateway.r4.expression import compile_expression
from gateway.store.query import Condition, Filter

#: Conditions on one date of a resource, from both sides.
Window = tuple[Condition, ...]

_LOWER = frozenset({"ge", "gt", "sa"})
_UPPER = frozenset({"le", "lt", "eb"})


def paired(filters: Sequence[Filter]) -> list[Filter]:
    """``code=C`` and ``value-quantity=gt4`` are ``code-value-quantity=C$gt4``: an Observation has one code and one value of its own."""
    plain = [found for found in filters if isinstance(found, Condition) and found.type == "Observation" and _is_single(found)]
    codes = [found for found in plain if found.code == "code"]
    values = [found for found in plain if found.code == "value-quantity"]
    if len(codes) != 1 or len(values) != 1 or "$" in codes[0].values[0] + values[0].values[0]:
        return list(filters)
    pair = Condition("Observation", "code-value-quantity", "composite", "", (f"{codes[0].values[0]}${values[0].values[0]}",))
    return [pair, *(found for found in filters if found not in (codes[0], values[0]))]


def date_windows(filters: Sequence[Filter]) -> list[Window]:
    """Conditions that bound a date from both sides, for dates of which a resource has one at most."""
    by_code: dict[tuple[str, str], list[Condition]] = {}
    for found in filters:
        if isinstance(found, Condition) and found.kind == "date" and _is_single(found) and has_one(found.type, found.code):
            by_code.setdefault((found.type, found.code), []).append(found)
    return [tuple(window) for window in by_code.values() if _is_bounded(window)]


def _is_single(found: Condition) -> bool:
    return found.modifier == "" and len(found.values) == 1


def _is_bounded(window: Sequence[Condition]) -> bool:
    prefixes = {found.values[0][:2] for found in window}
    return bool(prefixes & _LOWER and prefixes & _UPPER) or any(prefix.isdigit() or prefix == "eq" for prefix in prefixes)


@lru_cache(maxsize=512)
def has_one(kind: str, code: str) -> bool:
    """Whether the parameter reads one element that does not repeat, and that has one row. The types of a choice are one element."""
    parameter = definitions.search_parameters()[kind].get(code)
    if parameter is None or code.startswith("_"):
        return False
    parts = compile_expression(parameter.expression, root=kind, elements=definitions.elements())
    if any(part.kind == "canonical" for part in parts):
        return False  # two rows: with its version and without
    paths = [part.path for part in parts]
    single = [set(element.keys()) for element in definitions.elements()[kind].values() if not element.many]
    return any(all(len(path) == 1 and path[0] in keys for path in paths) for keys in single)
