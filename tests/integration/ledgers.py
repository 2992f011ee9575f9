"""The clock and the patience of ledgers in tests."""

from __future__ import annotations

from gateway.spool.timers import QuietPolicy

NOW = 1_700_000_000.0
QUIET = QuietPolicy(quiet_secs=10, cap_secs=100)
