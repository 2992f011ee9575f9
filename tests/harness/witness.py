"""The witness: sends files and writes down every object that was acknowledged, before it sends the next.

Its log is the yardstick of promise 1: what stands in it must be found in the spool and in what is published, whatever was killed
meanwhile. It survives a lost connection: it asks for the address again, reconnects, and sends again what had no answer.

One line of JSON per answer: ``{"sop_instance_uid", "digest", "status", "path", "attempt"}``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pynetdicom.dsutils import split_dataset

from tests.harness.rawscu import Context, Lost, RawAssociation

#: Refused: out of resources (PS3.4 table B.2-1): the object is sent again later, as a modality would.
OUT_OF_RESOURCES = range(0xA700, 0xA800)
RETRY_SECS = 0.05


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    ae_title: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file, read once: its identity is the digest of transfer syntax and data set (the ledger's definition)."""

    path: Path
    context: Context
    sop_instance_uid: str
    digest: str

    @classmethod
    def read(cls, path: Path) -> Outgoing:
        meta, offset = split_dataset(path)
        syntax = str(meta.TransferSyntaxUID)
        digest = hashlib.sha256(syntax.encode("ascii") + path.read_bytes()[offset:]).hexdigest()
        return cls(path, (str(meta.MediaStorageSOPClassUID), syntax), str(meta.MediaStorageSOPInstanceUID), digest)

    def data_set(self) -> bytes:
        _, offset = split_dataset(self.path)
        return self.path.read_bytes()[offset:]


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the log."""

    sop_instance_uid: str
    digest: str
    status: int
    path: str
    attempt: int

    @property
    def acknowledged(self) -> bool:
        return self.status == 0


class Witness:
    """Sends files over parallel associations until each has a final answer or the deadline passes."""

    def __init__(
        self,
        log: Path,
        address: Callable[[], Address | None],
        *,
        associations: int = 4,
        deadline_secs: float = 300.0,
        timeout_secs: float = 20.0,
        once: bool = False,
    ) -> None:
        """With ``once`` a lost connection ends the sending: what had no answer is returned, for a later round."""
        self._once = once
        self._log = log
        self._address = address
        self._associations = associations
        self._deadline_secs = deadline_secs
        self._timeout_secs = timeout_secs
        self._lock = threading.Lock()
        self._attempts: dict[Path, int] = {}
        self.connections = 0
        self.unanswered = 0  #: objects that were sent and whose answer never came
        self.slowest_secs = 0.0  #: of all answers

    def send(self, paths: Iterable[Path], *, seed: int | None = None) -> list[Path]:
        """Send all files, in random order when there is a seed. Returns those that never got a final answer."""
        outgoing = [Outgoing.read(path) for path in paths]
        if seed is not None:
            random.Random(seed).shuffle(outgoing)
        waiting = deque(outgoing)
        ends_at = time.monotonic() + self._deadline_secs
        contexts = list(dict.fromkeys(item.context for item in outgoing))
        with self._log.open("a", encoding="utf-8") as log:
            threads = [
                threading.Thread(target=self._lane, args=(waiting, contexts, log, ends_at), name=f"witness-{number}")
                for number in range(self._associations)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return [item.path for item in waiting]

    def _lane(self, waiting: deque[Outgoing], contexts: list[Context], log: IO[str], ends_at: float) -> None:
        while waiting and time.monotonic() < ends_at:
            address = self._address()
            if address is not None:
                with contextlib.suppress(Lost):
                    self._send_over(address, waiting, contexts, log, ends_at)
            if self._once:
                return
            if waiting:
                time.sleep(RETRY_SECS)  # the receiver is being killed and restarted: ask again

    def _send_over(
        self, address: Address, waiting: deque[Outgoing], contexts: list[Context], log: IO[str], ends_at: float
    ) -> None:
        where = (address.host, address.port)
        with RawAssociation(where, contexts, called_ae=address.ae_title, timeout_secs=self._timeout_secs) as association:
            with self._lock:
                self.connections += 1
            while time.monotonic() < ends_at:
                try:
                    item = waiting.popleft()
                except IndexError:
                    return
                content, began = item.data_set(), time.monotonic()
                try:
                    status = association.store(item.context, item.sop_instance_uid, content)
                except BaseException:
                    waiting.append(item)
                    with self._lock:
                        self.unanswered += 1
                        self._attempts[item.path] = self._attempts.get(item.path, 0) + 1
                    raise
                self.slowest_secs = max(self.slowest_secs, time.monotonic() - began)
                self._write(log, item, status)
                if status in OUT_OF_RESOURCES:
                    waiting.append(item)
                    time.sleep(RETRY_SECS)

    def _write(self, log: IO[str], item: Outgoing, status: int) -> None:
        """The line is on its way to the disk before the next object is sent."""
        with self._lock:
            attempt = self._attempts[item.path] = self._attempts.get(item.path, 0) + 1
            line = {
                "sop_instance_uid": item.sop_instance_uid,
                "digest": item.digest,
                "status": status,
                "path": str(item.path),
                "attempt": attempt,
            }
            print(json.dumps(line), file=log, flush=True)


def read_log(log: Path) -> list[Answer]:
    """All answers; a last line that was cut short by a kill of the witness itself is left out."""
    answers = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            answers.append(Answer(**json.loads(line)))
        except json.JSONDecodeError:
            break
    return answers


def address_in(run_file: Path) -> Callable[[], Address | None]:
    """Reads the DICOM address that a daemon wrote to its ``run.json``, anew at each call."""

    def read() -> Address | None:
        try:
            dicom = json.loads(run_file.read_text())["dicom"]
        except (OSError, ValueError, KeyError):
            return None
        return Address(dicom["host"], int(dicom["port"]), dicom["ae_title"])

    return read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--run", type=Path, default=Path("data/run.json"), help="the daemon's run.json")
    parser.add_argument("--log", type=Path, default=Path("witness.jsonl"))
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--seed", type=int)
    chosen = parser.parse_args()
    files = [file for path in chosen.paths for file in (sorted(path.rglob("*.dcm")) if path.is_dir() else [path])]
    witness = Witness(chosen.log, address_in(chosen.run), associations=chosen.associations)
    missing = witness.send(files, seed=chosen.seed)
    print(f"{len(files) - len(missing)} of {len(files)} answered over {witness.connections} connections; log in {chosen.log}")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
