"""Cohorts: a Group of the patients for whom a search holds, written once, for exports and tables that are about them alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.store.bundle import ID
from gateway.store.export import Wanted, known_types, read_filter
from gateway.store.store import FhirStore

_SEARCH = re.compile(r"([A-Z][A-Za-z]+)\?(.+)", re.DOTALL)


def create_group(store: FhirStore, name: str, searches: Sequence[str]) -> JsonObject:
    """Write ``Group/name`` with the patients for whom every search (``Type?parameter=value``) finds something, and give it.

    A Group of that name gets these members. It does not follow later changes. Raises :class:`Rejected` (400) for a wrong name or
    search, or when nobody is found.
    """
    if not ID.fullmatch(name):
        raise Rejected("the name of a group has letters, digits, '-' and '.', 64 at most", status=400)
    members = set.intersection(*(_patients(store, search) for search in searches)) if searches else set()
    if not members:
        raise Rejected("no patient is found; no group is written", status=400)
    group: JsonObject = {
        "resourceType": "Group",
        "id": name,
        "active": True,
        "type": "person",
        "actual": True,
        "name": name,
        "quantity": len(members),
        "member": [{"entity": {"reference": f"Patient/{member}"}} for member in sorted(members)],
    }
    request = {"method": "PUT", "url": f"Group/{name}"}
    store.transact({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": group, "request": request}]})
    return group


def delete_group(store: FhirStore, name: str) -> bool:
    """Delete ``Group/name``; its history stays. False when there is none."""
    current = store.read("Group", name)
    if current is None or current.deleted:
        return False
    request = {"method": "DELETE", "url": f"Group/{name}"}
    store.transact({"resourceType": "Bundle", "type": "transaction", "entry": [{"request": request}]})
    return True


def _patients(store: FhirStore, search: str) -> set[str]:
    match = _SEARCH.fullmatch(search.strip())
    if match is None or match[1] not in known_types():
        raise Rejected("a search is Type?parameter=value, as Observation?code=113507", status=400)
    parameters = parse_qsl(match[2], keep_blank_values=True)
    filters = read_filter(match[1], parameters)
    if not filters:
        raise Rejected("a search needs a condition", status=400)
    exporter = store.exporter()
    return exporter.patients(Wanted(match[1], exporter.moment(), None, (filters,)))
