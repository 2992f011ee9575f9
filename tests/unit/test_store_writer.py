"""Promises of a transaction to the process that it runs in."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gateway.store import writer


@pytest.fixture(autouse=True)
def _collected_afterwards() -> Iterator[None]:
    yield
    gc.enable()


def test_cycles_are_looked_for_again_however_two_transactions_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = writer.uncollected(), writer.uncollected()
    switch_off = gc.disable
    first.__enter__()
    # The other thread ends its own between the first look of this one and its doing.
    monkeypatch.setattr(gc, "disable", lambda: (first.__exit__(None, None, None), switch_off()))
    second.__enter__()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_cycles_are_looked_for_again_after_a_failure() -> None:
    with pytest.raises(ValueError, match="planted"), writer.uncollected():
        raise ValueError("planted")
    assert gc.isenabled()
