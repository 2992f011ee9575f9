"""The orders behind the studies of a patient: their accession numbers. Pure, a function of the whole set of records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from gateway.gather.choose import canonical
from gateway.model import JsonObject, SharedFields

_MEMBERS = ("accession", "accession_issuer")


def orders(records: Sequence[SharedFields]) -> dict[str, JsonObject]:
    """StudyInstanceUID -> ``accession`` and ``accession_issuer``, of the studies whose records name exactly one order.

    Objects of one study that name two orders are left out: a fact refers to the order that it belongs to, or to none.
    """
    told: dict[str, dict[bytes, JsonObject]] = defaultdict(dict)
    for shared in records:
        order = {name: shared.study[name] for name in _MEMBERS if shared.study.get(name)}
        if "accession" in order and shared.study.get("uid"):
            told[str(shared.study["uid"])][canonical(order)] = order
    return {uid: next(iter(found.values())) for uid, found in sorted(told.items()) if len(found) == 1}
