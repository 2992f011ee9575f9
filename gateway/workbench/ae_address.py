"""Where a DICOM application entity listens, as people write it: ``AET@host:port``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import Misconfigured

_ADDRESS = re.compile(r"(?P<ae>[^@]+)@(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]/\s]+)):(?P<port>\d{1,5})")
#: PS3.5 6.2, AE: 1 to 16 characters, no backslash, no control characters.
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AEAddress:
    """Where a DICOM application listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def parse_address(text: str) -> AEAddress:
    """Read ``AET@host:port``. Raises :class:`Misconfigured` with what is wrong with it."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise Misconfigured(f"'{text}' is not a DICOM address; write AET@host:port, for example ISOBRIDGE@127.0.0.1:11112")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise Misconfigured(f"'{text}': the port must be between 1 and 65535")
    return AEAddress(ae_title=check_ae_title(match["ae"]), host=match["v6"] or match["host"], port=port)


def check_ae_title(text: str) -> str:
    """The title without padding. Raises :class:`Misconfigured` when it is no AE title."""
    title = text.strip()
    if not title or not _AE_TITLE.fullmatch(title):
        raise Misconfigured(f"'{text}' is not an AE title: 1 to 16 ASCII characters, no backslash")
    return title
