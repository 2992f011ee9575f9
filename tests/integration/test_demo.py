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

from gateway.errors import Misconfigured
from gateway.workbench.demo import _listening

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECS = 180


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


class _Daemon(subprocess.Popen[bytes]):
    """A process that stands for the gateway."""

    def __init__(self, code: str) -> None:
        super().__init__([sys.executable, "-c", code])


def _silent(_state: str) -> None:
    """Nobody looks."""


def test_a_gateway_that_ends_while_it_starts_is_told_apart_from_one_that_is_slow(tmp_path: Path) -> None:
    with _Daemon("raise SystemExit(3)") as ended, pytest.raises(Misconfigured, match=r"ended while it started \(code 3\)"):
        _listening(tmp_path / "run.json", ended, _silent)
    with _Daemon("import time; time.sleep(60)") as slow:
        try:
            with pytest.raises(Misconfigured, match="was not ready within 1 s; it does not listen yet"):
                _listening(tmp_path / "run.json", slow, _silent, patience_secs=1)
            free = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            free.close()
            dicom = {"host": "127.0.0.1", "port": 1, "ae_title": "X"}
            (tmp_path / "run.json").write_text(json.dumps({"dicom": dicom, "http": {"url": url}}))
            told: list[str] = []
            with pytest.raises(Misconfigured, match="its pages do not answer yet"):
                _listening(tmp_path / "run.json", slow, told.append, patience_secs=1)
            assert "it listens, its pages do not answer yet" in told
        finally:
            slow.kill()


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
