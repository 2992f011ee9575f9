"""Runs a view over the store: resources of its type, as they are now, narrowed by a FHIR search."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gateway.errors import Misconfigured, Rejected
from gateway.model import JsonObject
from gateway.r4.canonical import decode
from gateway.store import FhirStore
from gateway.store.export import Patients, Wanted, read_filter
from gateway.store.reach import EVERYTHING, Reach
from gateway.views.definition import Row, View, read_view

_SHIPPED = Path(__file__).parent / "shipped"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
#: Studies that many facts refer to are read once.
_MOST_REMEMBERED = 2000


def shipped_names() -> list[str]:
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def shipped_definition(name: str) -> JsonObject | None:
    """The ViewDefinition as it is shipped; ``None`` when there is none of that name."""
    path = _SHIPPED / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        return None
    tree: JsonObject = decode(path.read_bytes())
    return tree


@cache
def shipped_view(name: str) -> View | None:
    tree = shipped_definition(name)
    return read_view(tree) if tree else None


def view_named(name: str) -> View:
    """A shipped view, or the one in a file. Raises :class:`Misconfigured`."""
    if view := shipped_view(name):
        return view
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise Misconfigured(f"--view: '{name}' is neither a file nor one of {', '.join(shipped_names())}")
    try:
        return read_view(decode(path.read_bytes()))
    except ValueError as error:
        raise Misconfigured(f"{name}: not JSON") from error
    except Rejected as error:
        raise Misconfigured(f"{name}: {error.reason}") from error


def run_view(
    store: FhirStore,
    view: View,
    where: Sequence[tuple[str, str]] = (),
    *,
    group: str | None = None,
    images_at: str | None = None,
    reach: Reach = EVERYTHING,
    in_a_hurry: bool = False,
) -> Iterator[Row]:
    """The rows, resource by resource, in the order in which these were first written; memory does not grow with their number.

    ``where`` are search parameters of the view's type, ``group`` a cohort, ``images_at`` the DICOMweb address that links lead to.
    What is beyond ``reach`` is neither read nor followed to. ``in_a_hurry``: somebody waits for the answer, as for that of a search.
    Raises :class:`Rejected` (400) for a parameter that is not known, before the first row is read.
    """
    filters = read_filter(view.resource, where)
    reach.check_filters(filters)
    exporter = store.exporter(reach, in_a_hurry=in_a_hurry)
    if group is not None and not exporter.group_exists(group):
        raise Rejected("there is no such Group", status=404)
    patients = Patients(group) if group is not None else None
    wanted = Wanted(view.resource, exporter.moment(), None, (filters,) if filters else (), patients)
    follow = _Follow(store, reach)
    constants = {"wado_root": images_at}
    return (
        row for found in exporter.resources(wanted) for row in view.rows(decode(found.body), constants=constants, resolve=follow)
    )


class _Follow:
    """Reads what references of the store point to, and remembers it for a while. What was deleted is not there."""

    def __init__(self, store: FhirStore, reach: Reach) -> None:
        self._store = store
        self._reach = reach
        self._known: OrderedDict[str, Mapping[str, Any] | None] = OrderedDict()

    def __call__(self, reference: str) -> Mapping[str, Any] | None:
        if reference not in self._known:
            kind, _, logical_id = reference.partition("/")
            stored = self._store.read(kind, logical_id, reach=self._reach)
            self._known[reference] = stored.resource() if stored and not stored.deleted else None
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[reference]
