"""What an element says, for people and for comparison: the same value in another spelling is no change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

from gateway.dicom import values
from gateway.dicom.charset import CHARSET_VRS, decode, encodings_of
from gateway.dicom.numbers import number_texts
from gateway.dicom.rewrite import DataSet
from gateway.dicom.values import Invalid
from gateway.dicom.writing import UNSPLIT, text_bytes
from gateway.normalise.recode import charset_of

BINARY_VRS = frozenset(["US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"])
NUMBER_VRS = BINARY_VRS | {"DS", "IS"}


def readable(root: DataSet, place: DataSet, tag: int) -> str:
    """The value as it stands, for people; empty for a sequence. Letters that cannot be decoded are replaced."""
    node = place.elements.get(tag)
    if node is None or node.vr == "SQ":
        return ""
    raw = place.raw(tag)
    try:
        if node.vr in BINARY_VRS:
            return "\\".join(number_texts(node.vr, raw, place.encoding.order))
        if node.vr in CHARSET_VRS:
            return decode(raw, node.vr, encodings_of(charset_of(place) or charset_of(root))).strip(" \0")
    except Invalid:
        pass
    return raw.decode("utf-8", "replace").strip(" \0")


def is_same(vr: str, before: str, after: str, zone: dt.tzinfo | None) -> bool:
    """Does an element that reads ``before`` say ``after`` already? ``zone`` counts for a DT without an offset."""
    if before == after.strip():
        return True
    former, wanted = before.split("\\"), after.split("\\")
    if not before or not after or vr in UNSPLIT or len(former) != len(wanted):
        return False
    try:
        return all(_meaning(vr, one, zone) == _meaning(vr, other, zone) for one, other in zip(former, wanted, strict=True))
    except Invalid:
        return False


def _meaning(vr: str, text: str, zone: dt.tzinfo | None) -> object:
    """What one value amounts to, whatever its spelling. Raises :class:`Invalid`."""
    if vr in ("FL", "FD"):
        return text_bytes(vr, text, "<")
    if vr in NUMBER_VRS:
        return _number(text)
    known: dict[str, Callable[[str], object]] = {"DA": values.date, "TM": values.time_of_day, "PN": _name}
    if vr == "DT":
        return _moment(text, zone)
    return known[vr](text.strip()) if vr in known else text.strip()


def _number(text: str) -> Decimal:
    return values.decimal(text.strip())


def _name(text: str) -> str:
    """Empty parts at the end say nothing (PS3.5 section 6.2.1.1)."""
    return "=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=")


def _moment(text: str, zone: dt.tzinfo | None) -> object:
    day, time, offset = values.split_datetime(text.strip())
    if zone is not None or offset is not None:
        at = values.moment(text.strip(), offset or zone or dt.UTC).at
        if at is not None:
            return at
    return day, time, offset
