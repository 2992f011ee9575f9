"""What an operator starts from: compose, systemd, the production settings. Nobody gets in by default, no password stands in a file."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from gateway.config import is_loopback
from gateway.errors import Misconfigured
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def test_compose_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in compose["services"]["postgres"]
    assert compose["networks"]["back"]["internal"] is True


def test_no_service_of_compose_may_gain_rights_or_lacks_a_health_check(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "healthcheck" in service or name == "gateway", name  # the gateway's stands in the Dockerfile
        assert re.search(r":[\w.-]*\d", service["image"]) or name == "gateway", f"{name}: an image without a version"
    assert compose["services"]["gateway"]["read_only"] is True
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_compose_does_not_start_without_callers_log_in_and_passwords(compose: dict[str, Any]) -> None:
    environment = compose["services"]["gateway"]["environment"]
    for needed in ("SCANNER_AES", "WEB_ADMIN", "WEB_URL"):
        assert any(f"${{{needed}:?" in value for value in environment.values()), needed
        assert f"\n{needed}=\n" in (ROOT / "deploy" / "env.example").read_text()
    used = {name for service in compose["services"].values() for name in service.get("secrets", ())}
    assert used == set(compose["secrets"])
    assert not any(re.search(r"PASSWORD$", key) for service in compose["services"].values() for key in service["environment"])
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"/secrets/", "/.env"} <= set(ignored)


def test_every_file_that_compose_mounts_is_there(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ()) if mount.startswith("./")]
    assert mounts
    assert all((ROOT / mount.split(":")[0]).exists() for mount in mounts)


def test_make_secrets_makes_each_password_once(tmp_path: Path, compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # chown needs root; who owns a file is not what is tried here
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "chown").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "chown").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for _ in range(2):
        subprocess.run([ROOT / "deploy" / "make-secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert made["pgpass"] == f"postgres:5432:*:isobridge:{made['postgres.password']}\n"
    assert len(made["postgres.password"]) == 48
    assert made["postgres.password"] != made["orthanc.password"]
    # what the health check of Orthanc takes out of the file that Orthanc reads
    probe = compose["services"]["orthanc"]["healthcheck"]["test"][1].replace("$$", "$").partition("--pwd=")[2]
    shell = f"printf %s {probe}".replace("/run/secrets", str(tmp_path / "secrets"))
    told = subprocess.run(["sh", "-c", shell], check=True, capture_output=True, text=True).stdout
    assert told == made["orthanc.password"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "secrets").iterdir())


def test_the_settings_of_compose_are_complete_with_what_env_gives(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    secret = {"ISOBRIDGE_TARGETS__ORTHANC__PASSWORD_FILE": str(tmp_path / "password")}
    given = {
        "ISOBRIDGE_RECEIVE__CALLING_AES": "PETCT1,PACS",
        "ISOBRIDGE_WEB__USERS": '{admin: "scrypt:16384:8:1:' + "A" * 22 + ":" + "B" * 43 + '"}',
        "ISOBRIDGE_WEB__EXTERNAL_URL": "https://isobridge.example",
    }
    path = ROOT / "deploy" / "compose.gateway.yaml"
    assert config.load(path, environment=given | secret).settings.receive.calling_aes == ("PETCT1", "PACS")
    for missing in given:
        with pytest.raises(Misconfigured):
            config.load(path, environment=secret | {name: value for name, value in given.items() if name != missing})


def test_the_production_settings_let_nobody_in_from_outside() -> None:
    settings = config.load(ROOT / "config" / "production.yaml").settings
    assert is_loopback(settings.receive.bind)
    assert is_loopback(settings.web.bind)
    assert settings.receive.check_called_ae
    assert settings.receive.calling_aes


def test_the_unit_is_confined() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "isobridge.service")
    service = unit["Service"]
    assert service["User"] == "isobridge"
    for option, value in (("ProtectSystem", "strict"), ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", "")):
        assert service[option] == value
    assert float(service["TimeoutStopSec"]) > 35  # gateway.daemon.DRAIN_SECS
    assert service["RestartPreventExitStatus"] == "2"


def test_two_builds_at_once_each_get_a_whole_base_image(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "deploy" / "base-image.sh", tmp_path / "deploy")
    programs = {
        # Begins, waits until both builds have begun, ends: the moment in which one could take the other's file away.
        "mmdebstrap": f"""for target; do :; done
exec 3> "$target"; echo begun >> {tmp_path}/begun
while [ "$(wc -l < {tmp_path}/begun)" -lt 2 ]; do sleep 0.02; done
printf whole >&3""",
        "engine": f'test "$(cat build/base-bookworm.tar)" = whole && echo imported >> {tmp_path}/told',
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    command = [str(tmp_path / "deploy" / "base-image.sh"), "engine", "base:1"]
    builds = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [build.wait(timeout=20) for build in builds] == [0, 0]
    assert (tmp_path / "told").read_text() == "imported\nimported\n"
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["base-bookworm.tar"]
