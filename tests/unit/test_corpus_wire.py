"""Every broken or hostile word on the line comes to the end that its case names, however its bytes are cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.harness import corpus_wire
from tests.harness.corpus_wire import WireCase
from tests.harness.lines import Quiet, Talk

CASES = list(corpus_wire.cases())


@pytest.mark.filterwarnings("ignore")  # pydicom and pynetdicom warn of what the cases hold
@pytest.mark.parametrize("step", [0, 1, 7])
def test_every_case_on_the_line_comes_to_what_it_names(tmp_path: Path, step: int) -> None:
    host = Quiet(tmp_path)
    assert len(CASES) >= 100
    assert max(Counter(case.name for case in CASES).values()) == 1
    wrong = [
        f"{case.name}: {outcome} instead of {case.outcome}"
        for case in CASES
        if (outcome := outcome_of(case, host, step)) != case.outcome
    ]
    assert wrong == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def outcome_of(case: WireCase, host: Quiet, step: int) -> str | int:
    talk = Talk(host)
    if case.associated:
        talk.say(corpus_wire.request())
        assert talk.outcome() == corpus_wire.OPEN
        talk.hear()
    talk.say(case.sent, step=step)
    outcome = talk.outcome()
    talk.association.forget()
    return f"{outcome:04X}" if isinstance(outcome, int) and outcome != case.outcome else outcome
