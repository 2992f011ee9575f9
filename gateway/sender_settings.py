"""The section ``senders:`` of the settings: what is different for one sender of objects, known by its AE title.

Called by ``config``, which finds the values and says where each came from. The title is the calling one of an association, or the name of
who stored by STOW-RS, of a watched folder, of a source. Which mapping a sender gets is said by mappings themselves (``match: {calling_ae:
...}``), so that it is deployed and replayed like everything they say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.named_settings import Leaves, Problems, Section, not_zero

#: PS3.5 6.2, AE.
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
#: PS3.3 tables C.12-2 to C.12-5: terms of Specific Character Set.
_TERM = re.compile(r"ISO_IR (?:6|13|100|101|109|110|126|127|138|144|148|166|192|203)|GB18030|GBK|ISO 2022 IR \d{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """One sender. What is None is as for all others."""

    name: str
    ae_title: str
    networks: tuple[str, ...] = ()
    pdu_timeout_secs: int | None = None
    idle_timeout_secs: int | None = None
    charset: str | None = None  #: the terms of (0008,0005), with backslashes between several
    charset_for: Literal["undeclared", "all"] = "undeclared"
    quiet_secs: int | None = None
    quiet_cap_secs: int | None = None

    @property
    def addresses(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """``networks``, understood. Raises ``ValueError``."""
        return tuple(ipaddress.ip_network(text) for text in self.networks)


def _problems(sender: SenderSettings, _given: Leaves) -> Problems:
    if not _AE_TITLE.fullmatch(sender.ae_title):
        yield "ae_title", "must be 1 to 16 printable characters without backslash (PS3.5 6.2, AE)"
    try:
        _ = sender.addresses
    except ValueError as error:
        yield "networks", f"must be like 10.0.0.7 or 10.0.0.0/24: {error}"
    yield from not_zero(sender, ("pdu_timeout_secs", "idle_timeout_secs", "quiet_secs", "quiet_cap_secs"))
    wrong = [term for term in (sender.charset or "").split("\\") if term and not _TERM.fullmatch(term)]
    if wrong:
        yield "charset", f"'{wrong[0]}' is no term of Specific Character Set, such as ISO_IR 100 or ISO_IR 192 (PS3.3 C.12.1.1.2)"


SENDERS = Section(
    name="senders",
    one="sender",
    kind=SenderSettings,
    required="ae_title",
    choices="the title by which it calls",
    check=_problems,
)


def conflicts(senders: tuple[SenderSettings, ...]) -> Iterator[tuple[str, str]]:
    """What no sender can tell alone, as (option, sentence)."""
    first: dict[str, str] = {}
    for sender in senders:
        if (other := first.setdefault(sender.ae_title, sender.name)) != sender.name:
            option = f"senders.{sender.name}.ae_title"
            yield option, f"{option}: '{sender.ae_title}' is the title of senders.{other} already"
