"""Which line of a template made which element, and from what: the trace that ``explain`` tells. Made beside rendering, never for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.model import Json

Scope = dict[str, Any]
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """One element of a rendered resource, and the line of the template that put it there."""

    element: Place  #: where it stands in the resource, list indexes included
    value: Json
    line: Place  #: the place in the template
    reads: tuple[str, ...]  #: the paths it was filled from, loops resolved: ``series[0].instances[0].uid``; empty for literals
    conditions: tuple[str, ...]  #: what had to hold on the way: ``if administration.stopped_at``


@dataclass(frozen=True, slots=True)
class Within:
    """Where a trace stands: in the resource, under which loop variables, after which conditions."""

    element: Place = ()
    names: tuple[tuple[str, str], ...] = ()
    conditions: tuple[str, ...] = ()

    def below(self, key: str | int) -> Within:
        return Within((*self.element, key), self.names, self.conditions)

    def absolute(self, path: str) -> str:
        first, point, rest = path.partition(".")
        return f"{dict(self.names).get(first, first)}{point}{rest}"


Render = Callable[[Scope], Any]
Trace = Callable[[Scope, Any, Within], Iterator[Traced]]


@dataclass(frozen=True, slots=True)
class Node:
    """A compiled piece of a template: makes its value, and tells afterwards which line made which part of it."""

    render: Render
    trace: Trace


def leaves(value: Json) -> Iterator[tuple[Place, Json]]:
    """The plain values inside a JSON tree, each with its place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from (((key, *place), leaf) for place, leaf in leaves(inner))
    else:
        yield (), value
