"""The memory of callers costs the loop next to nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from unittest import mock

from gateway.receive import services, status
from gateway.receive.callers import CallerTrace
from gateway.spool.callers import Caller


class _Rows:
    def __init__(self) -> None:
        self.stored = 0

    def record(self, batch: Iterable[Caller]) -> None:
        self.stored += sum(caller.stored for caller in batch)


def test_a_stream_of_objects_wakes_the_writing_thread_twice_not_each_time() -> None:
    rows = _Rows()
    trace = CallerTrace(rows)
    with mock.patch.object(threading.Condition, "notify", autospec=True, side_effect=threading.Condition.notify) as notify:
        for _ in range(200):
            trace(
                "answered", command=services.C_STORE_RQ, status=status.SUCCESS, calling_ae="PET", called_ae="X", peer="192.0.2.1"
            )
    trace.stop()
    assert rows.stored == 200
    assert notify.call_count <= 2
