"""No patient data in logs: by a closed list of keys, by hashed identifiers, by exceptions without their messages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.telemetry import describe_exception, only_allowed_keys, token


def test_a_value_under_an_unknown_key_is_withheld() -> None:
    kept = only_allowed_keys(None, "info", {"event": "x", "stage": "gather", "patient_name": "Planted^Name"})
    assert kept == {"event": "x", "stage": "gather", "patient_name": "(withheld)"}


def test_an_identifier_is_logged_as_a_token_that_is_stable_within_a_run() -> None:
    assert token("1.2.3") == token("1.2.3")
    assert token("1.2.3") != token("1.2.4")
    assert "1.2.3" not in token("1.2.3")


def test_an_exception_is_described_without_its_message() -> None:
    with pytest.raises(ValueError, match="Planted") as caught:
        raise ValueError("Planted^Name")
    assert describe_exception(caught.value) == "ValueError"


def test_a_configured_process_writes_json_lines_without_planted_names() -> None:
    program = (
        "import structlog, logging; from gateway.telemetry import configure; configure(level='info', style='json', role='work')\n"
        "log = structlog.get_logger()\n"
        "log.info('seen', stage='gather', name='Planted^Name')\n"
        "logging.getLogger('pydicom').warning('Planted^Name')\n"
        "import warnings; warnings.warn('Planted^Name')\n"
        "try:\n    raise KeyError('Planted^Name')\n"
        "except KeyError:\n    log.exception('failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["seen", "failed"]
    assert lines[0]["role"] == "work"
    assert "Planted" not in done.stderr + done.stdout


def test_a_log_that_cannot_be_written_costs_the_line_and_not_the_process() -> None:
    """Standard error is often a file, and on the disk that the spool has filled."""
    program = (
        "import structlog, logging; from gateway.telemetry import configure; configure(level='info', style='json', role='receive')\n"
        "for _ in range(1000):\n    structlog.get_logger().error('spool_full')\n"
        "logging.getLogger('other').error('too')\n"
        "print('alive', flush=True)\n"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert done.stdout == "alive\n"
