"""What somebody asks the store to change (R4 http.html): create, update, delete, each by id or by criteria. Pure.

:func:`plan` decides what each of them is aimed at, and puts the references between them in order. It asks the store through
:data:`Find` and runs while the store's write lock is held, so that two who ask the same at once find each other.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.validate import validate
from gateway.store.bundle import BAD_REQUEST, PRECONDITION_FAILED, Change
from gateway.store.references import Resolver
from gateway.store.stored import Stored

UNPROCESSABLE = 422
MAX_CRITERIA = 20
MAX_REFERENCES = 500
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]{1,63})\?(.+)", re.ASCII | re.DOTALL)

#: Search parameters in their order.
Criteria = tuple[tuple[str, str], ...]
#: The current resources of a type that match, two of them at most.
Find = Callable[[str, Criteria], Sequence[Stored]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing to do. A POST has no id; PUT and DELETE have an id, criteria, or (a PUT) both.

    ``resource`` has been validated. ``only_new``: fail when the resource is there (``If-None-Match: *``). ``place`` begins the sentence
    that says what is wrong with it: ``entry[3]: ``.
    """

    method: Literal["POST", "PUT", "DELETE"]
    type: str
    id: str | None = None
    criteria: Criteria | None = None
    resource: JsonObject | None = None
    if_match: int | None = None
    only_new: bool = False
    full_url: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """An operation with its aim. ``kept``: what a conditional create found; there is nothing to do. An empty ``id``: found nothing."""

    operation: Operation
    id: str
    kept: Stored | None = None
    resource: JsonObject | None = None

    @property
    def identity(self) -> tuple[str, str]:
        return self.operation.type, self.id

    def change(self) -> Change:
        method: Literal["PUT", "DELETE"] = "DELETE" if self.operation.method == "DELETE" else "PUT"
        return Change(
            method, self.operation.type, self.id, self.resource, self.operation.if_match, only_new=self.operation.only_new
        )


def read_criteria(text: str, place: str = "") -> Criteria:
    """The query part of a conditional interaction. Raises :class:`Rejected` (400)."""
    try:
        pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, errors="strict", max_num_fields=MAX_CRITERIA)
    except ValueError as error:
        raise Rejected(f"{place}the criteria cannot be read; at most {MAX_CRITERIA}, in UTF-8", status=BAD_REQUEST) from error
    return checked_criteria(pairs, place)


def checked_criteria(pairs: Sequence[tuple[str, str]], place: str = "") -> Criteria:
    """Criteria look at the resource itself: a chain would tell of types that the writer may not search. Raises :class:`Rejected`."""
    if not pairs or not all(value for _, value in pairs):
        raise Rejected(f"{place}the criteria must name at least one parameter, each with a value", status=BAD_REQUEST)
    if any("." in name or (name.startswith("_") and name not in ("_id", "_tag", "_profile")) for name, _ in pairs):
        raise Rejected(f"{place}criteria name parameters of the resource itself, without chains and _has", status=BAD_REQUEST)
    return tuple(pairs)


def conditional_reference(text: str) -> tuple[str, Criteria] | None:
    """``Patient?identifier=s|v`` as (type, criteria); ``None`` for a reference of another kind. Raises :class:`Rejected` (400)."""
    match = _CONDITIONAL.fullmatch(text)
    if match is None or match[1] not in definitions.resource_types():
        return None
    return match[1], read_criteria(match[2], "a conditional reference: ")


def plan(operations: Sequence[Operation], find: Find, base: str) -> list[Planned]:
    """What is to be done, in the order of the operations. ``base`` is the address of the store as its client sees it.

    Criteria are judged by the store as it stood before. Raises :class:`Rejected`: 400, 412 when criteria match several, 422 when a
    resource is not valid after its references were put in.
    """
    planned = [_aimed(operation, find) for operation in operations]
    _refuse_overlaps(planned)
    names = {item.operation.full_url: "/".join(item.identity) for item in planned if item.operation.full_url and item.id}
    resolver = Resolver(names, base, _Referred(find))
    return [_resolved(item, resolver) for item in planned]


def _aimed(operation: Operation, find: Find) -> Planned:
    if operation.criteria is None:
        return Planned(operation, operation.id or str(uuid.uuid4()), resource=operation.resource)
    found = _at_most_one(operation.type, operation.criteria, find, operation.place)
    if operation.method == "DELETE":
        return Planned(operation, found.id if found else "")
    if found is None:
        # An id that is taken belongs to a resource that the criteria do not mean.
        operation = dataclasses.replace(operation, only_new=True)
        return Planned(operation, operation.id or str(uuid.uuid4()), resource=operation.resource)
    if operation.method == "POST":
        return Planned(operation, found.id, kept=found)
    if operation.id not in (None, found.id):
        reason = f"{operation.place}the criteria match a {operation.type} with another id than the resource has"
        raise Rejected(reason, status=BAD_REQUEST)
    return Planned(operation, found.id, resource=operation.resource)


def _at_most_one(kind: str, criteria: Criteria, find: Find, place: str) -> Stored | None:
    found = find(kind, criteria)
    if len(found) > 1:
        reason = f"{place}the criteria match more than one {kind}"
        raise Rejected(reason, status=PRECONDITION_FAILED, code="multiple-matches")
    return found[0] if found else None


def _refuse_overlaps(planned: Sequence[Planned]) -> None:
    """R4 http.html#trules: "if any resource identities overlap, the transaction SHALL fail"; so does what would be created twice."""
    seen: dict[tuple[str, str], Planned] = {}
    asked: set[tuple[str, Criteria]] = set()
    for item in planned:
        operation = item.operation
        if not item.id:
            continue
        other = seen.setdefault(item.identity, item)
        if other is not item and not (other.kept and item.kept):
            raise Rejected(f"{operation.place}the same resource is named twice in one transaction", status=BAD_REQUEST)
        if operation.criteria is not None and item.kept is None:
            key = operation.type, tuple(sorted(operation.criteria))
            if key in asked:
                raise Rejected(f"{operation.place}the same criteria stand twice in one transaction", status=BAD_REQUEST)
            asked.add(key)


class _Referred:
    """A conditional reference as ``Type/id``, ``None`` for any other text. Each is looked up once."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str | None:
        if text in self._known:
            return self._known[text]
        asked = conditional_reference(text)
        if asked is None:
            return None
        if len(self._known) >= MAX_REFERENCES:
            raise Rejected(f"more than {MAX_REFERENCES} different conditional references at once", status=BAD_REQUEST)
        found = _at_most_one(*asked, self._find, "a conditional reference: ")
        if found is None:
            raise Rejected(f"a conditional reference: there is no {asked[0]} that matches", status=PRECONDITION_FAILED)
        self._known[text] = f"{found.type}/{found.id}"
        return self._known[text]


def _resolved(item: Planned, resolver: Resolver) -> Planned:
    if item.resource is None or item.kept is not None:
        return item
    place = item.operation.place
    try:
        resource = resolver.resolved(item.resource)
    except Rejected as error:
        raise Rejected(place + error.reason, status=error.status, code=error.code) from error
    if resource is not item.resource and (complaints := validate(resource)):
        raise Rejected(f"{place}after its references were put in: {complaints[0]}", status=UNPROCESSABLE)
    return dataclasses.replace(item, resource=_with_id(resource, item.id))


def _with_id(resource: Mapping[str, Any], logical_id: str) -> JsonObject:
    head = {"resourceType": resource["resourceType"], "id": logical_id}
    return head | {key: value for key, value in resource.items() if key not in head}
