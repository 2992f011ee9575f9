"""Calls that block, done in threads: every result arrives, errors too, and nobody waits for nothing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.web.threads import Threads
from gateway.web.tokens import token


def test_every_result_comes_back_to_who_asked() -> None:
    threads = Threads(4, "test")

    async def one(number: int) -> int:
        return await threads.run(lambda: number * 2)

    async def many() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(5000))), 60)

    assert asyncio.run(many()) == [number * 2 for number in range(5000)]
    assert asyncio.run(many())[-1] == 9998, "another loop is served by the same threads"
    assert sum(thread.name.startswith("test_") for thread in threading.enumerate()) <= 4


def test_an_error_is_raised_where_the_result_is_waited_for_and_the_thread_lives_on() -> None:
    threads = Threads(1, "errors")

    def fails() -> None:
        raise KeyError("here")

    async def both() -> int:
        with pytest.raises(KeyError, match="here"):
            await threads.run(fails)
        with pytest.raises(SystemExit):
            await threads.run(lambda: exit(1))
        return await threads.run(lambda: 7)

    assert asyncio.run(both()) == 7


def test_the_loop_goes_on_and_who_gave_up_disturbs_nobody() -> None:
    threads, hold, done = Threads(2, "slow"), threading.Event(), []

    def blocks() -> None:
        hold.wait(20)
        done.append(1)

    async def waits() -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.run(blocks), 0.05)
        quick = await threads.run(lambda: 3)  # the second thread, while the first is held
        hold.set()
        deadline = time.monotonic() + 20
        while not done and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return quick + await threads.run(lambda: 4)

    assert asyncio.run(waits()) == 7
    assert done == [1]


def test_no_token_comes_twice() -> None:
    drawn = [token() for _ in range(2000)]
    assert len(set(drawn)) == len(drawn)
    assert {len(one) for one in drawn} == {32}


def test_a_thread_that_the_system_does_not_give_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, start, refusals = Threads(1, "scarce"), threading.Thread.start, ["first", "second"]

    def scarce(thread: threading.Thread) -> None:
        if refusals:
            refusals.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)

    async def one() -> int:
        return await asyncio.wait_for(threads.run(lambda: 7), 5)

    assert asyncio.run(one()) == 7
    assert not refusals
