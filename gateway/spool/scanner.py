"""Which machine an object came from, as its own header tells: manufacturer, model, and serial number or station."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: PS3.5 6.2: a Long String (LO) holds 64 characters; a header may hold more, and control characters, all the same.
_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """Words of a header: anything may stand in them but control characters."""

    manufacturer: str
    model: str
    serial: str
    station: str

    @staticmethod
    def of(device: Mapping[str, Any]) -> Scanner:
        """From the device fields of a record."""
        return Scanner(**{name: _word(device.get(name)) for name in ("manufacturer", "model", "serial", "station")})

    @property
    def key(self) -> str:
        """The serial number names one machine for good; the station name stands in where there is none. Case does not count."""
        words = (self.manufacturer, self.model, self.serial or self.station)
        return hashlib.sha256("\n".join(word.casefold() for word in words).encode()).hexdigest()

    @property
    def text(self) -> str:
        words = [f"{self.manufacturer} {self.model}".strip() or "a device that does not say what it is"]
        words += [f"serial {self.serial}"] if self.serial else []
        words += [f"station {self.station}"] if self.station else []
        return ", ".join(words)

    def as_row(self) -> dict[str, str]:
        names = {"manufacturer": self.manufacturer, "model": self.model, "serial": self.serial, "station": self.station}
        return {"key": self.key, **names}


def _word(value: Any) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in str(value or ""))
    return " ".join(text.split())[:_MOST]
