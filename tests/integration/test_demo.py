"""The demonstration as a process: whoever ends it ends its gateway too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECS = 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_demonstration_that_is_ended_takes_its_gateway_with_it(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway.cli", "demo", "--once"]
    demo = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        dicom = _running(tmp_path, demo)["dicom"]
        demo.send_signal(number)
        assert demo.wait(PATIENCE_SECS) != 0  # nothing was verified
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((dicom["host"], dicom["port"]), timeout=5).close()
        assert list(tmp_path.iterdir()) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)


def _running(directory: Path, demo: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the gateway of the demonstration tells of itself, as soon as it listens."""
    deadline = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < deadline and demo.poll() is None:
        for file in directory.glob("isobridge-demo-*/data/run.json"):
            with contextlib.suppress(json.JSONDecodeError):
                told: dict[str, Any] = json.loads(file.read_text())
                return told
        time.sleep(0.05)
    raise AssertionError("the gateway of the demonstration did not start")
