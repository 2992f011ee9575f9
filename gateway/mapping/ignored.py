"""The ``ignore`` of a mapping file: content items of reports that nobody reads on purpose, each with its reason. For ``coverage``.

::

    ignore:
      dose_check: {sr: ["**", [113900 DCM, 113908 DCM]], reason: What the scanner warns of is no dose.}
      contours: {sr: ["**"], value_type: [SCOORD, SCOORD3D], reason: Contours stay in the report.}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.files import Effective, Origin
from gateway.mapping.rules import IgnoreRule
from gateway.mapping.sr_paths import sr_path

IGNORE_KEYS = ("sr", "value_type", "reason")


def compile_ignored(effective: Effective, codes: Codes, complaints: list[Complaint]) -> tuple[IgnoreRule, ...]:
    """Compile all entries of a mapping; one with a complaint is left out."""
    made = []
    for name, piece in effective.ignore.items():
        problems = list(_problems(name, piece.node, piece.origin))
        complaints += problems
        if not isinstance(piece.node, dict):
            continue
        spec, origin = piece.origin.as_meant(piece.node, IGNORE_KEYS)
        node = {key: value for key, value in spec.items() if key in ("sr", "value_type")}
        path = sr_path(node, codes, origin, complaints) if "sr" in node else None
        if path and not problems:
            where = piece.origin.document.where(piece.origin.place)
            made.append(IgnoreRule(name=name, path=path, reason=piece.node["reason"].strip(), where=where))
    return tuple(made)


def _problems(name: str, node: Any, origin: Origin) -> Iterable[Complaint]:
    if not isinstance(node, dict):
        yield origin.complain("an entry of 'ignore' is a mapping with 'sr' and 'reason'")
        return
    yield from (
        origin.complain(f"unknown key '{key}'{did_you_mean(key, IGNORE_KEYS)}", key) for key in node if key not in IGNORE_KEYS
    )
    node, origin = origin.as_meant(node, IGNORE_KEYS)
    if "sr" not in node:
        yield origin.complain(f"'{name}' has no 'sr'")
    reason = node.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        yield origin.complain(f"'{name}' has no 'reason': say why nobody misses it")
