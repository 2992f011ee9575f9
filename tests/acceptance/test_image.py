"""The container image as an operator runs it: unprivileged, on a read-only root, tried by a real DICOM sender from outside."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.workbench.sample import generate_samples
from tests.conftest import ROOT
from tests.harness.waiting import until

pytestmark = [pytest.mark.needs("container", "dcmtk"), pytest.mark.timeout(900)]

#: What compose.yaml says as well: nothing may be written but the volume and /tmp, and no privilege is left.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
#: The network of the host, ports of the kernel's choice, loopback only: nobody else can connect, and nothing else is disturbed.
SETTINGS = {
    "ISOBRIDGE_RECEIVE__BIND": "127.0.0.1:0",
    "ISOBRIDGE_WEB__BIND": "127.0.0.1:0",
    "ISOBRIDGE_GATHER__QUIET_SECS": "1",
}
#: podman would raise these limits, which a machine without CAP_SYS_RESOURCE forbids.
LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")


@dataclass(frozen=True)
class Engine:
    """The engine's command line, as ``deploy/engine.sh`` prints it, and the image built with it."""

    command: tuple[str, ...]

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 or not check, f"{words}: {done.stderr}"
        return done

    def start(self, name: str, volume: str) -> Container:
        named = [word for setting, value in SETTINGS.items() for word in ("--env", f"{setting}={value}")]
        limits = LIMITS if "podman" in self.command[0] else ()
        mounted = ("--volume", f"{volume}:/data")
        self("run", "--detach", "--name", name, "--network", "host", *HARDENED, *limits, *named, *mounted, "isobridge:latest")
        return Container(self, name)


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str

    def run(self, *words: str, check: bool = True) -> str:
        """A command inside, as the container's own user."""
        return self.engine("exec", self.name, *words, check=check).stdout

    def is_healthy(self) -> bool:
        """What the image's own health check says: run now by podman, at intervals by docker."""
        if "podman" in self.engine.command[0]:
            return self.engine("healthcheck", "run", self.name, check=False).returncode == 0
        return str(self.state()["Health"]["Status"]) == "healthy"

    def state(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine("container", "inspect", self.name).stdout)
        state: dict[str, Any] = found[0]["State"]
        return state

    def place(self) -> dict[str, Any]:
        """Where it listens."""
        found: dict[str, Any] = json.loads(self.run("python3", "-c", "print(open('/data/run.json').read())"))
        return found

    def search(self, query: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.place()['http']['url']}/fhir/{query}", timeout=30)
        answer.raise_for_status()
        return [entry["resource"] for entry in answer.json().get("entry", ())]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine, with the image built from what is checked out."""
    subprocess.run([ROOT / "deploy" / "build-image.sh"], check=True, timeout=800)
    words = subprocess.run([ROOT / "deploy" / "engine.sh"], check=True, capture_output=True, text=True).stdout
    return Engine(tuple(shlex.split(words)))


@pytest.fixture(scope="module")
def volume(engine: Engine) -> Iterator[str]:
    name = f"isobridge-test-{uuid.uuid4().hex[:8]}"
    engine("volume", "create", name)
    yield name
    engine("volume", "rm", "--force", name)


@pytest.fixture
def started(engine: Engine, volume: str) -> Iterator[Callable[[], Container]]:
    """Starts containers on the volume; removes them at the end."""
    names: list[str] = []

    def start() -> Container:
        names.append(f"{volume}-{len(names)}")
        container = engine.start(names[-1], volume)
        until(container.is_healthy, f"healthy: {engine('logs', names[-1], check=False).stderr[-2000:]}")
        return container

    yield start
    for name in names:
        engine("rm", "--force", name, check=False)


def says_what_it_is(engine: Engine) -> None:
    """Owner, licence, version, volume, signal and health check stand in the image."""
    (image,) = json.loads(engine("image", "inspect", "isobridge:latest").stdout)
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"]
    assert "/data" in config["Volumes"]
    assert config["StopSignal"] == "SIGTERM" or config["StopSignal"] == "15"
    check = image.get("HealthCheck") or config.get("Healthcheck") or image.get("Healthcheck")
    assert "health" in " ".join(check["Test"])


def test_the_image_says_what_it_is_a_study_goes_through_and_survives_a_new_container(
    engine: Engine, started: Callable[[], Container], tmp_path: Path
) -> None:
    # One test, so that one worker builds the image: it takes minutes.
    says_what_it_is(engine)
    first = started()
    assert first.run("id", "-u").strip() == "10001"
    assert first.engine("exec", first.name, "touch", "/app/x", check=False).returncode != 0  # the root is read-only
    assert "CapEff:\t0000000000000000" in first.run("cat", "/proc/1/status")
    sent = sum(len(study.files) for study in generate_samples(tmp_path / "sample"))
    place = first.place()["dicom"]
    address = [place["host"], str(place["port"])]
    pushed = subprocess.run(
        ["dcmsend", "-aec", place["ae_title"], *address, "--scan-directories", "--recurse", tmp_path / "sample"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert pushed.returncode == 0, pushed.stderr
    until(lambda: len(first.search("ImagingStudy")) == 2, "both studies published")
    studies = {study["id"]: study["numberOfInstances"] for study in first.search("ImagingStudy")}
    assert sum(studies.values()) == sent
    until(lambda: len(first.search("MedicationAdministration")) == 2, "both administrations published")
    administrations = {each["id"] for each in first.search("MedicationAdministration")}
    first.engine("stop", "--time", "45", first.name)
    assert first.state()["ExitCode"] == 0, first.engine("logs", first.name).stderr[-2000:]

    second = started()
    assert {study["id"]: study["numberOfInstances"] for study in second.search("ImagingStudy")} == studies
    assert {each["id"] for each in second.search("MedicationAdministration")} == administrations
    assert f"{sent} " in second.run("isobridge", "echo", "--from", "DCMSEND")  # the callers are remembered, too
