"""Fields whose converter is the guard against wrong numbers: an overlay may read them elsewhere, never without the check.

Plausibility by nuclide, repair of units and the reading of times stand in these converters. A field that takes another one would
publish whatever stands in the header, and so would one that loses the ``range`` of the field that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.mapping.complaints import Complaint
from gateway.mapping.files import Effective
from gateway.mapping.registry import CONVERTERS

#: Field -> the converters that check it.
_CHECKED_BY: dict[str, tuple[str, ...]] = {
    "administration.activity": ("activity",),
    "administration.half_life": ("half_life",),
    "administration.radionuclide": ("radionuclide",),
    "administration.started_at": ("injection_time", "reported_start", "datetime"),
    "administration.stopped_at": ("injection_end",),
}


def unguarded(effective: Sequence[Effective]) -> Iterable[Complaint]:
    """Fields that are written without the check that belongs to them."""
    named = {one.name: one for one in effective}
    for one in effective:
        for name, node in (one.own.get("fields") or {}).items():
            if isinstance(node, dict) and name in one.fields:
                yield from _unguarded(one, name, node, named)


def _unguarded(one: Effective, name: str, node: dict[str, Any], named: dict[str, Effective]) -> Iterable[Complaint]:
    origin = one.fields[name].origin
    allowed, converter = _CHECKED_BY.get(name, ()), node.get("as")
    if allowed and converter in CONVERTERS and converter not in allowed:  # of an unknown one another complaint tells
        words = " or ".join(f"'as: {word}'" for word in allowed)
        yield origin.complain(f"'{name}' is checked by its converter: write {words}, not '{converter}'", "as")
    former = _inherited_range(one, name, named)
    if former and "range" not in node:
        limits, where = former
        text = f"the field that this one replaces is published only within 'range: {limits}' ({where}): write a range here too"
        yield origin.complain(text)


def _inherited_range(one: Effective, name: str, named: dict[str, Effective]) -> tuple[str, str] | None:
    """The range of the nearest base that writes this field, with its place."""
    for base in reversed(one.lineage):
        found = named.get(base)
        if found is None or base == one.name:
            continue
        node = (found.own.get("fields") or {}).get(name)
        if isinstance(node, dict):
            limits = node.get("range")
            if not isinstance(limits, list):
                return None
            return f"[{', '.join(str(limit) for limit in limits)}]", found.document.where(("fields", name))
    return None
