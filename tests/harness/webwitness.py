"""The witness for HTTP: stores files by STOW-RS and writes down every object that was acknowledged, in the log of :mod:`witness`."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import requests

from tests.harness.witness import RETRY_SECS, Outgoing

#: Instances in one message.
_TOGETHER = 12


class WebWitness:
    """Sends until each file has its success, whatever is killed meanwhile."""

    def __init__(self, log: Path, run_file: Path, *, deadline_secs: float = 300.0) -> None:
        self._log = log
        self._run_file = run_file
        self._deadline_secs = deadline_secs
        self.unanswered = 0  #: messages whose answer never came
        self.refused: list[int] = []  #: HTTP statuses of answers that took nothing

    def send(self, paths: Iterable[Path], *, seed: int) -> list[Path]:
        """Returns the files that never had a success."""
        waiting = [Outgoing.read(path) for path in paths]
        rng, ends_at = random.Random(seed), time.monotonic() + self._deadline_secs
        with requests.Session() as session, self._log.open("a", encoding="utf-8") as log:
            while waiting and time.monotonic() < ends_at:
                rng.shuffle(waiting)
                group = waiting[:_TOGETHER]
                stored = self._post(session, group)
                for item in group:
                    if item.sop_instance_uid in stored:
                        line = {
                            "sop_instance_uid": item.sop_instance_uid,
                            "digest": item.digest,
                            "status": 0,
                            "path": str(item.path),
                        }
                        print(json.dumps({**line, "attempt": 1}), file=log, flush=True)
                        waiting.remove(item)
                if not stored:
                    time.sleep(RETRY_SECS)
        return [item.path for item in waiting]

    def _post(self, session: requests.Session, group: Sequence[Outgoing]) -> set[str]:
        boundary = secrets.token_hex(8)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + item.path.read_bytes() + b"\r\n" for item in group) + f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        try:
            url = json.loads(self._run_file.read_text())["http"]["url"]
            answer = session.post(f"{url}/dicom-web/studies", data=body, headers=headers, timeout=20)
        except (OSError, ValueError, KeyError):  # a requests exception is an OSError
            self.unanswered += 1
            return set()
        if answer.status_code not in (200, 202):
            self.refused.append(answer.status_code)
            return set()
        return {item["00081155"]["Value"][0] for item in answer.json()["00081199"]["Value"]}
