"""Promise: a forked role is a process of its own: no signal handler, descriptor or name of the supervisor's, and its own exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from gateway.errors import Misconfigured, Rejected, told
from gateway.roles.child import process_name


def ran(script: str) -> subprocess.CompletedProcess[str]:
    """A supervisor of a few lines, in a process of its own: this one has threads, and a handler more or less would not be seen."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False, env=os.environ
    )


def test_a_role_ends_by_the_signal_that_its_supervisor_has_a_handler_for() -> None:
    found = ran("""
        import os, signal, time
        from gateway.roles import child

        handled = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: handled.append(number))
        read, write = os.pipe()
        ready_read, ready_write = os.pipe()

        def run():
            os.write(ready_write, b"x")
            time.sleep(60)

        role = child.start("work", run, closes=[write])
        os.read(ready_read, 1)
        role.terminate()
        role.join(30)
        print(role.exitcode, handled, signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """)
    assert (found.stdout.strip(), found.stderr) == (f"{-signal.SIGTERM} [] set()", "")


def test_a_role_learns_that_its_supervisor_is_gone() -> None:
    found = ran("""
        import os
        from gateway.roles import child

        read, write = os.pipe()
        told_read, told_write = os.pipe()

        def run():
            os.read(read, 1)  # ends when nobody holds the writing end, this process itself among them
            os.write(told_write, b"gone")

        role = child.start("web", run, closes=[write])
        os.close(write)
        role.join(30)
        print(role.exitcode, os.read(told_read, 10) if role.exitcode == 0 else role.kill())
    """)
    assert (found.stdout.strip(), found.stderr) == ("0 b'gone'", "")


@pytest.mark.skipif(sys.platform != "linux", reason="names of processes are read from /proc")
def test_a_role_that_cannot_start_tells_why_and_has_a_name_of_its_own() -> None:
    found = ran("""
        from pathlib import Path
        from gateway.errors import Misconfigured
        from gateway.roles import child

        def run():
            print(Path("/proc/self/comm").read_text().strip(), flush=True)
            raise Misconfigured(["web.bind: wrong", "site: wrong"])

        role = child.start("receive", run, closes=[])
        role.join(30)
        print(role.exitcode)
    """)
    assert found.stdout.split() == [process_name("receive"), "2"]
    assert found.stderr.splitlines() == ["web.bind: wrong", "site: wrong"]


def test_what_ended_a_process_is_told_in_lines_with_its_exit_code() -> None:
    assert told(Misconfigured(["one", "two"])) == (["one", "two"], 2)
    assert told(Rejected("No.", status=1)) == (["No."], 1)
    assert told(FileNotFoundError(2, "No such file", "/x")) == (["/x: No such file"], 2)
    assert told(OSError(28, "No space left")) == (["the operating system: No space left"], 2)
