"""What reading one object may cost: whatever is read costs steps, so that no object, however hostile, can keep a worker busy."""

from __future__ import annotations

from gateway.errors import Quarantined

#: What one object may cost: elements, values and items looked at, over all fields of a mapping. Honest objects need a few
#: thousand, a multi-frame image with 2,000 frames some 100,000.
MOST_STEPS = 500_000


class Budget:
    """The steps that reading one object may still take. Deterministic: it counts, it does not look at the clock."""

    __slots__ = ("left", "most")

    def __init__(self, most: int = MOST_STEPS) -> None:
        self.left = self.most = most

    def spend(self, steps: int) -> None:
        """Raises :class:`Quarantined` when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise Quarantined(f"Reading this object by its mapping takes more than {self.most:,} steps; it is not read further.")
