"""Everything that is wrong with the words of a DICOM path, not only the first of them."""

from __future__ import annotations

import re
from functools import cache

from pydicom._dicom_dict import DicomDictionary

from gateway.dicom.paths import PathError, parse_path
from gateway.mapping.complaints import did_you_mean

#: Stands for a misspelt keyword while the rest of its path is judged: with an index or without, it fits everywhere.
_STAND_IN = "ContentSequence"


def path_problems(text: str) -> list[str]:
    """What is wrong with a path, each with the nearest right word. Empty: it can be parsed."""
    found: list[str] = []
    while True:
        try:
            parse_path(text)
        except PathError as error:
            keyword = error.keyword
            problem = f"{error}{did_you_mean(keyword, keywords()) if keyword else ''}"
            rest = re.sub(rf"(?<!\w){re.escape(keyword)}(?!\w)", _STAND_IN, text) if keyword else text
            if not found or keyword:
                found.append(problem)
            if rest == text:
                return found
            text = rest
        else:
            return found


@cache
def keywords() -> tuple[str, ...]:
    """Every DICOM keyword, to suggest the right one."""
    return tuple(entry[4] for entry in DicomDictionary.values() if entry[4])
