"""Certificates of a small invented hospital, made with the ``openssl`` program."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        encoded = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        return "sha256:" + hashlib.sha256(encoded).hexdigest()


class Authority:
    """Signs certificates; ``file`` is its own."""

    def __init__(self, directory: Path, name: str = "Invented Hospital CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.file, self._key = directory / "ca.pem", directory / "ca.key"
        _openssl("req", "-x509", *_new_key(self._key), "-days", "2", "-subj", f"/CN={name}", "-out", str(self.file))

    def issue(self, name: str, *, expired: bool = False, curve: bool = False, other_name: str = "") -> Pair:
        """A certificate for ``name`` (also as DNS name) and for 127.0.0.1; ``other_name`` is a second CN."""
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        subject = f"/CN={name}" + (f"/CN={other_name}" if other_name else "")
        _openssl("req", *_new_key(pair.key, curve=curve), "-subj", subject, "-out", str(request))
        extensions.write_text(f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n")
        signed = ["-CA", str(self.file), "-CAkey", str(self._key), "-CAcreateserial", "-extfile", str(extensions)]
        days = "-1" if expired else "2"
        _openssl("x509", "-req", "-in", str(request), *signed, "-days", days, "-out", str(pair.certificate))
        return pair


def _new_key(path: Path, *, curve: bool = False) -> list[str]:
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if curve else ["-newkey", "rsa:2048"]
    return [*kind, "-nodes", "-keyout", str(path)]


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
