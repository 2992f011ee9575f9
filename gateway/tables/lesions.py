"""Lesions in tables: "Lesion 1" and "Tumour_B" are numbered ones of a kind that a code table knows, and no whole organs. Pure."""

from __future__ import annotations

import re

from gateway.mapping.codes import Codes, Entry
from gateway.model import JsonObject

#: Entries of ``codes/organs.yaml`` that are lesions: neoplasm, lesion, primary, secondary, neuroendocrine (SNOMED CT, PS3.16 CID 7159).
LESIONS = frozenset({"108369006", "52988006", "372087000", "14799000", "255046005"})
WHOLE_ORGAN, LESION = "whole-organ", "lesion"
#: A kind of lesion and its number or letter: "Lesion 1", "lesion_12", "Tumor #3", "Metastasis B".
_NUMBERED = re.compile(r"(?P<kind>[^\W\d_].*?)[\s_#.-]*(?P<number>\d{1,3}|(?<=[\s_#.-])[A-Za-z])\Z")
UNKNOWN_ORGAN = "is in no entry of codes/organs.yaml, so it is not published as a whole organ; add it to sites/codes/organs.yaml"


def is_lesion(entry: Entry | None) -> bool:
    return entry is not None and entry.code in LESIONS


def numbered_lesion(text: str, codes: Codes, table: str) -> Entry | None:
    """The kind of lesion that numbered words mean; ``None`` for all other words."""
    found = _NUMBERED.match(text.strip())
    entry = codes.by_text(table, found["kind"]) if found else None
    return entry if is_lesion(entry) else None


def judged_target(result: JsonObject, codes: Codes) -> tuple[str | None, str | None]:
    """What the region of a result is, where an adapter calls all of its rows whole organs; and what is to be told about it."""
    region = result.get("region") or {}
    if result.get("lesion") or region.get("code") in LESIONS:
        return LESION, None
    known = region.get("code") or str(region.get("text")) in codes.tables["organs"].by_name
    return (WHOLE_ORGAN, None) if known or not region else (None, UNKNOWN_ORGAN)
