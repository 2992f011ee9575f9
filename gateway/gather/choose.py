"""How one value is chosen when records disagree: by rules that do not depend on the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.model import JsonObject

_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")


def canonical(value: Any) -> bytes:
    """A total order for JSON values, and their equality."""
    return _encoder.encode(value)


def by_majority(weighted: Iterable[tuple[JsonObject, int]]) -> JsonObject:
    """For each field the value that the most instances carry; on a tie the smallest. Nested groups count as one value."""
    votes: dict[str, dict[bytes, tuple[int, Any]]] = {}
    for fields, weight in weighted:
        for name, value in fields.items():
            ballots = votes.setdefault(name, {})
            key = canonical(value)
            ballots[key] = (ballots.get(key, (0, None))[0] + weight, value)
    return {name: _winner(ballots) for name, ballots in sorted(votes.items())}


def tied(weighted: Iterable[tuple[JsonObject, int]], name: str) -> bool:
    """True when several different values of a field share the most votes: no majority, only a rule, could choose."""
    votes: dict[bytes, int] = {}
    for fields, weight in weighted:
        if name in fields:
            key = canonical(fields[name])
            votes[key] = votes.get(key, 0) + weight
    return list(votes.values()).count(max(votes.values(), default=0)) > 1


def _winner(ballots: dict[bytes, tuple[int, Any]]) -> Any:
    key = min(ballots, key=lambda ballot: (-ballots[ballot][0], ballot))
    return ballots[key][1]
