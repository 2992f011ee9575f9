"""A few threads for calls that block, such as those of the store, so that the loop never waits for one.

As ``run_in_executor``, for less. To wake a thread is what costs most of a small call, so a thread that is awake takes the next
call when it has done its own; only when a call has not been taken for a millisecond another thread is woken for it. Results that come
at the same time wake the loop once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_LOOK_SECS = 0.001


class _Box:
    """What has been done for one loop and not been handed over yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_looked_after = False
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._is_called = False

    def put(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """From any thread. Whoever finds the loop called put his result before it looks."""
        self._done.append((future, result, error))
        if not self._is_called:
            self._is_called = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._is_called = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class Threads:
    """At most ``count``; they end with the process. Calls are taken in their order."""

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._begun = 0
        self._waiting: deque[tuple[_Box, asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._asleep: deque[threading.Lock] = deque()  #: one of each thread, released by whoever takes it out
        self._box: _Box | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. When nobody waits any more it is done all the same."""
        loop = asyncio.get_running_loop()
        if self._box is None or self._box.loop is not loop:
            self._box = _Box(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((self._box, future, work))
        if len(self._asleep) != self._begun or not self._wake():
            self._look_soon(self._box)
        return await future

    def _look_soon(self, box: _Box) -> None:
        if not box.is_looked_after:
            box.is_looked_after = True
            box.loop.call_later(_LOOK_SECS, self._look, box)

    def _look(self, box: _Box) -> None:
        """As long as anything waits: those who are awake may be at something long."""
        box.is_looked_after = False
        if self._waiting:
            self._wake()
            self._look_soon(box)

    def _wake(self) -> bool:
        """``False`` when there is nobody to wake."""
        with contextlib.suppress(IndexError):
            self._asleep.popleft().release()
            return True
        if self._begun == self._count:
            return False
        with contextlib.suppress(RuntimeError):  # the system gives no thread now: it is asked again at the next look
            threading.Thread(target=self._live, name=f"{self._name}_{self._begun + 1}", daemon=True).start()
            self._begun += 1
            return True
        return False

    def _live(self) -> None:
        bed = threading.Lock()
        bed.acquire()
        while True:
            self._work()
            self._asleep.append(bed)
            if self._waiting:  # came after the last look, by one who still saw us awake
                with contextlib.suppress(ValueError):  # taken out already: then it is released, too
                    self._asleep.remove(bed)
                    continue
            bed.acquire()

    def _work(self) -> None:
        while True:
            try:
                box, future, work = self._waiting.popleft()
            except IndexError:
                return
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised again where the result is waited for
                box.put(future, None, error)
            else:
                box.put(future, result, None)
                del result
            del box, future, work
