"""The opaque word that continues a search where its last page ended."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

import msgspec

from gateway.errors import Rejected

MARK = TypeVar("MARK")
#: Numbers that both databases can compare.
_BITS = 2**63 - 1


def write_bookmark(mark: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).rstrip(b"=").decode()


def read_bookmark(text: str, kind: type[MARK]) -> MARK:
    """Raises :class:`Rejected` (400) when it is none that this server wrote."""
    try:
        mark = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Rejected("_page is not one of this server's page links", status=400) from error
    if not _comparable(msgspec.to_builtins(mark)):
        raise Rejected("_page does not belong to this search", status=400)
    return mark


def _comparable(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(_comparable(value) for value in tree.values())
    if isinstance(tree, list | tuple):
        return all(_comparable(value) for value in tree)
    if isinstance(tree, str):
        return "\x00" not in tree
    return not isinstance(tree, int) or abs(tree) <= _BITS
