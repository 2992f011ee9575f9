"""An administration on its way to being one fact: what tells of it, and what a person should know about how it came together."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.gather.readings import Account
from gateway.model import Issue


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One administration: its account, and what a person should know about how it came together."""

    account: Account
    reconciled: bool = False
    issues: tuple[Issue, ...] = ()
