"""Asks a running gateway whether it is ready, for the container's health check, systemd and people. Needs no tool but this one."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_SECS = 8.0
#: A socket bound to every address is asked through loopback.
_OWN_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: what was asked, with ``ok`` or what is wrong (docs/operations.md, monitoring)."""

    ok: bool
    checks: dict[str, str]


def read_run_file(directory: Path) -> dict[str, Any] | None:
    """Where the gateway of this data directory listens; None when none runs here."""
    try:
        content: dict[str, Any] = json.loads((directory / "run.json").read_text())
    except (OSError, ValueError):
        return None
    return content


def health(directory: Path) -> Health:
    """Readiness of the gateway that works in this data directory. Never raises for what the gateway does."""
    running = read_run_file(directory)
    if running is None:
        return Health(False, {"gateway": f"not running in {directory}"})
    place = running["http"]
    try:
        status, body = _get(str(place["host"]), int(place["port"]), "/readyz", encrypted=str(place["url"]).startswith("https:"))
    except (OSError, http.client.HTTPException) as error:
        return Health(False, {"gateway": f"does not answer ({type(error).__name__})"})
    try:
        checks = {str(name): str(found) for name, found in json.loads(body).items()}
    except (ValueError, AttributeError):
        checks = {"gateway": f"answered {status}"}
    return Health(status == http.HTTPStatus.OK, checks)


def _get(host: str, port: int, path: str, *, encrypted: bool) -> tuple[int, bytes]:
    host = _OWN_ADDRESS.get(host, host)
    connection: http.client.HTTPConnection
    if encrypted:
        # We ask ourselves over loopback: the certificate names the outer address, so there is nothing to compare it with.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
