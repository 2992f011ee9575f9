"""Coding schemes: what a DICOM designator (DCM, SCT, 99SDM, ...) is called in FHIR, and which retired codes mean a current one.

A system URI is found in this order; what has none travels as text only, because a designator that begins with 99 means something
else in every hospital (PS3.16 section 8):

1. the designator is listed in ``codes/scheme_systems.yaml`` or in the site's own ``sites/codes/scheme_systems.yaml``;
2. the code item itself names its scheme by CodingSchemeUID (0008,010C): ``urn:oid:<uid>``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import pydicom

from gateway.errors import Misconfigured

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64


@cache
def _snomed_rt() -> Mapping[str, str]:
    """Retired SNOMED-RT codes and their SNOMED CT successors, from pydicom's table of PS3.16.

    Only that one file is loaded: its package builds dictionaries of all SR concepts, which costs every start a second.
    """
    path = Path(pydicom.__file__).parent / "sr" / "_snomed_dict.py"
    spec = importlib.util.spec_from_file_location("pydicom_snomed_dict", path)
    if spec is None or spec.loader is None:
        raise Misconfigured("pydicom's table of retired SNOMED codes is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table: Mapping[str, str] = module.mapping["SRT"]
    return table


@cache
def _snomed_rt_by_successor() -> Mapping[str, tuple[str, ...]]:
    """SNOMED CT codes and the retired SNOMED-RT codes that mean the same."""
    successors: dict[str, tuple[str, ...]] = {}
    for retired, code in _snomed_rt().items():
        successors[code] = (*successors.get(code, ()), retired)
    return successors


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A code as a sender wrote it: coding scheme designator, value, meaning. Any of them may be empty."""

    scheme: str
    value: str
    meaning: str
    scheme_uid: str = ""  #: CodingSchemeUID (0008,010C), where the sender gives it


@dataclass(frozen=True, kw_only=True)
class Schemes:
    """Coding scheme designators and their FHIR systems."""

    systems: dict[str, str] = field(default_factory=dict)
    snomed_rt: frozenset[str] = frozenset()
    snomed_rt_extra: dict[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Of the content, part of the version of every mapping: designators decide codes and where reports are read."""
        content = [self.systems, sorted(self.snomed_rt), self.snomed_rt_extra]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def current(self, coded: Coded) -> tuple[str, str]:
        """Designator and code, with a known SNOMED-RT code turned into SNOMED CT."""
        if coded.scheme in self.snomed_rt:
            code = _snomed_rt().get(coded.value) or self.snomed_rt_extra.get(coded.value)
            if code:
                return "SCT", code
        return coded.scheme, coded.value

    def system_of(self, coded: Coded) -> str | None:
        """The FHIR system of a code as it was sent, by the rule above; ``None``: nobody can say."""
        listed = self.systems.get(self.current(coded)[0])
        if listed is None and len(coded.scheme_uid) <= _LONGEST_UID and _OID.fullmatch(coded.scheme_uid):
            return f"urn:oid:{coded.scheme_uid}"
        return listed

    def equals(self, scheme: str, code: str) -> frozenset[tuple[str, str]]:
        """All ways in which senders write a code: itself, and the retired SNOMED-RT codes for it."""
        if scheme != "SCT":
            return frozenset({(scheme, code)})
        retired = {*_snomed_rt_by_successor().get(code, ()), *(old for old, new in self.snomed_rt_extra.items() if new == code)}
        return frozenset({(scheme, code), *((designator, old) for designator in self.snomed_rt for old in retired)})
