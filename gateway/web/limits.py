"""How many requests one client may make: a bucket that fills again at a steady rate."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MOST_KNOWN = 10_000
#: What may come at once, of what may come in a minute.
_BURST = 0.25


@dataclass
class _Bucket:
    left: float
    at: float


class Rates:
    """One bucket per name; those that were not used for long are forgotten, which is as good as full."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait_secs(self, name: Hashable, per_minute: int) -> int:
        """Take one. 0, or the seconds after which the next is there."""
        now, most = self._clock(), max(1.0, per_minute * _BURST)
        bucket = self._buckets.pop(name, None) or _Bucket(most, now)
        bucket.left, bucket.at = min(most, bucket.left + (now - bucket.at) * per_minute / 60), now
        self._buckets[name] = bucket
        while len(self._buckets) > _MOST_KNOWN:
            self._buckets.popitem(last=False)
        if bucket.left >= 1:
            bucket.left -= 1
            return 0
        return max(1, math.ceil((1 - bucket.left) * 60 / per_minute))
