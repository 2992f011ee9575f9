"""A power cut: the daemon works on a disk of its own, ext4 in an image file on a loop device; what that disk holds at one moment is kept.

While all processes of the daemon stand still between two system calls, the image is copied. What had been synced is in it, and what the
file system was still keeping in memory is not: files without content, names that never came to the disk, the database without its last
pages. The periodic commit of ext4 is put off, so that nothing becomes durable by itself.

What it does not show: a disk that reorders writes or lies about its cache. See docs/reliability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.harness.heldroles import wait_until_stopped

_COMMIT_SECS = 3600


class Disk:
    """An image with a file system, mounted at ``directory`` until the block ends."""

    def __init__(self, image: Path, directory: Path) -> None:
        self.image = image
        self.directory = directory

    @classmethod
    def make(cls, image: Path, directory: Path, *, megabytes: int) -> Disk:
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        return cls(image, directory)

    def __enter__(self) -> Disk:
        self.directory.mkdir(parents=True, exist_ok=True)
        _run("mount", "-o", f"loop,commit={_COMMIT_SECS}", str(self.image), str(self.directory))
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", "-l", str(self.directory))

    def copy(self, image: Path) -> None:
        """What the disk holds now. Nobody may be writing."""
        _run("cp", "--sparse=always", str(self.image), str(image))


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process and all its descendants stopped, none of them inside a system call."""
    root = psutil.Process(pid)
    stopped = [root, *root.children(recursive=True)]
    for process in stopped:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        for process in stopped:
            wait_until_stopped(process.pid)
        yield
    finally:
        for process in stopped:
            os.kill(process.pid, signal.SIGCONT)


def can_mount_images(directory: Path) -> bool:
    """Whether this machine lets us: root alone is not enough in a container."""
    image, mounted = directory / "probe.img", directory / "probe"
    try:
        with Disk.make(image, mounted, megabytes=8):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        image.unlink(missing_ok=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
