"""DICOM over TLS: who gets in, with which certificate, under which title, while others stall, and after certificates were renewed."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from gateway.dicom_settings import TlsSettings, client_context
from gateway.receive.serving import run
from gateway.receive.settings import ReceiveSettings
from gateway.receive.tls import TlsPort
from gateway.spool.files import SpoolFiles
from gateway.workbench import scu
from gateway.workbench.ae_address import AEAddress
from tests import builders
from tests.certificates import Authority, Pair
from tests.integration.receiving import PET, WAIT_SECS, MemoryRows, RawPeer, data_set_of

pytestmark = pytest.mark.needs("openssl")

VERIFICATION = "1.2.840.10008.1.1"


class Hospital:
    """Certificates for every case; made once, for they take a moment."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "ours")
        self.gateway = self.authority.issue("gateway")
        self.scanner = self.authority.issue("petct1")
        self.curve = self.authority.issue("spect1", curve=True)
        self.two_names = self.authority.issue("ward7", curve=True, other_name="petct1")
        self.expired = self.authority.issue("old", expired=True)
        self.stranger = Authority(directory / "theirs", "Other CA").issue("petct1")

    def tls(self, **options: Any) -> TlsSettings:
        files: dict[str, Any] = {
            "certificate_file": self.gateway.certificate,
            "key_file": self.gateway.key,
            "client_ca_file": self.authority.file,
        }
        return TlsSettings(bind="127.0.0.1:0", **{**files, **options})

    def context(self, pair: Pair | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        own: dict[str, Any] = {"certificate_file": pair.certificate, "key_file": pair.key} if pair else {}
        context = client_context(TlsSettings(client_ca_file=self.authority.file, **own))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("hospital"))


class Running:
    """A receiver with a plain and a TLS port."""

    def __init__(self, plain_port: int, tls_port: int, rows: MemoryRows, events: list[tuple[str, dict[str, Any]]]) -> None:
        self.plain_port, self.tls_port, self.rows, self.events = plain_port, tls_port, rows, events

    def echo(self, context: ssl.SSLContext | None, *, calling: str = "PETCT1", port: int | None = None) -> scu.EchoReport:
        target = AEAddress(ae_title="ISOBRIDGE", host="localhost", port=port or self.tls_port)
        return scu.echo(target, calling_ae=calling, tls=context)

    def reasons(self) -> list[str]:
        return [str(fields["reason"]) for event, fields in self.events if "reason" in fields]


@contextmanager
def running(directory: Path, tls: TlsSettings, **settings: Any) -> Iterator[Running]:
    rows, events = MemoryRows(), list[tuple[str, dict[str, Any]]]()
    plain, secure = (socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2))
    port = TlsPort(tls)
    lifeline_in, lifeline_out = os.pipe()
    arguments = {
        "lifeline_fd": lifeline_in,
        "on_event": lambda event, **fields: events.append((event, fields)),
        "tls": (secure, port),
    }
    chosen = ReceiveSettings(drain_timeout_secs=5, certificates=port.bound, **settings)
    thread = threading.Thread(
        target=run, args=([plain], chosen, SpoolFiles(directory, reserve_bytes=0), rows), kwargs=arguments, name="receiver"
    )
    thread.start()
    try:
        yield Running(plain.getsockname()[1], secure.getsockname()[1], rows, events)
    finally:
        os.close(lifeline_out)
        thread.join(WAIT_SECS)
        assert not thread.is_alive()
        for sock in (plain, secure):
            sock.close()
        os.close(lifeline_in)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_pynetdicom_stores_with_a_certificate_and_not_without(
    tmp_path: Path, hospital: Hospital, version: ssl.TLSVersion
) -> None:
    with running(tmp_path / "spool", hospital.tls()) as receiver:
        folder = tmp_path / "send"
        for number, dataset in enumerate(builders.pet_series(3)):
            builders.write(dataset, folder / f"{number}.dcm")
        target = AEAddress(ae_title="ISOBRIDGE", host="localhost", port=receiver.tls_port)
        for pair in (hospital.scanner, hospital.curve):
            assert scu.send([folder], target, tls=hospital.context(pair, version)).ok
        assert len(receiver.rows.wait_for(6)) == 6
        for wrong in (None, hospital.expired, hospital.stranger):
            report = receiver.echo(hospital.context(wrong, version))
            assert not report.ok
            assert "TLS with localhost" in report.steps[0].detail
        told = receiver.reasons()
        assert any("showed no certificate" in reason for reason in told)
        assert any("certificate has expired" in reason for reason in told)
        assert sum("is not accepted" in reason for reason in told) >= 2
        assert len(receiver.rows.received) == 6


def test_only_forward_secrecy_with_authenticated_encryption_is_spoken(tmp_path: Path, hospital: Hospital) -> None:
    with running(tmp_path / "spool", hospital.tls()) as receiver:
        for cipher in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
            context = hospital.context(hospital.scanner, ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(cipher)
            assert not receiver.echo(context).ok
        assert any("cipher suite" in reason for reason in receiver.reasons())
    with running(tmp_path / "newest", hospital.tls(minimum_version="tls1.3")) as receiver:
        assert not receiver.echo(hospital.context(hospital.scanner, ssl.TLSVersion.TLSv1_2)).ok
        assert receiver.echo(hospital.context(hospital.scanner)).ok


@pytest.mark.parametrize("bound", ["fingerprint", "dns:petct1", "cn:petct1, dns:spare"])
def test_a_title_is_believed_with_its_certificate_only(tmp_path: Path, hospital: Hospital, bound: str) -> None:
    names = hospital.scanner.fingerprint if bound == "fingerprint" else bound
    with running(tmp_path / "spool", hospital.tls(aes={"PETCT1": names})) as receiver:
        assert receiver.echo(hospital.context(hospital.scanner)).ok
        for context, calling, port, reason in (
            (hospital.context(hospital.curve), "PETCT1", receiver.tls_port, "not the one of the calling AE title"),
            (hospital.context(hospital.two_names), "PETCT1", receiver.tls_port, "not the one of the calling AE title"),
            (hospital.context(hospital.curve), "SPECT1", receiver.tls_port, "bound to no certificate"),
            (None, "PETCT1", receiver.plain_port, "must come over TLS"),
        ):
            report = receiver.echo(context, calling=calling, port=port)
            assert not report.ok
            assert reason in receiver.reasons()[-1]
        assert receiver.echo(None, calling="SPECT1", port=receiver.plain_port).ok


def test_stalled_and_hostile_handshakes_hold_nobody(tmp_path: Path, hospital: Hospital) -> None:
    """Half a hello, silence, and plain DICOM or HTTP on the TLS port: a good sender is answered, and each is closed in its time."""
    with running(tmp_path / "spool", hospital.tls(), request_timeout_secs=2) as receiver:
        hostile = [socket.create_connection(("127.0.0.1", receiver.tls_port), timeout=WAIT_SECS) for _ in range(40)]
        started = time.monotonic()
        for number, sock in enumerate(hostile):
            sock.sendall(
                (b"\x16\x03\x01\x02\x00\x01\x00", b"", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\xcc" + bytes(204))[
                    number % 4
                ]
                or b""
            )
        good = time.monotonic()
        assert receiver.echo(hospital.context(hospital.scanner)).ok
        assert time.monotonic() - good < 2
        for sock in hostile:
            assert RawPeer(sock).is_closed()
            sock.close()
        assert time.monotonic() - started < 10
        assert any("what came is not TLS" in reason for reason in receiver.reasons())
        assert any("no association request in time" in reason for reason in receiver.reasons())


def test_large_objects_and_split_records_come_through(tmp_path: Path, hospital: Hospital) -> None:
    dataset = builders.pet()
    uid, encoded = str(dataset.SOPInstanceUID), data_set_of(builders.part10(dataset))
    with running(tmp_path / "spool", hospital.tls()) as receiver:
        plain = socket.create_connection(("localhost", receiver.tls_port), timeout=WAIT_SECS)
        with hospital.context(hospital.scanner).wrap_socket(plain, server_hostname="localhost") as sock:
            peer = RawPeer(sock)
            assert peer.associate()[0] == 2
            for fragment_bytes in (7, 16_000):
                assert (
                    peer.store(PET, uid, encoded[: len(encoded)], fragment_bytes=fragment_bytes if fragment_bytes > 7 else 99)[0]
                    == 0
                )
            assert peer.store(PET, uid, bytes(3 << 20))[0] == 0xC000


def test_renewed_certificates_are_taken_up_and_open_associations_go_on(tmp_path: Path, hospital: Hospital) -> None:
    certificate, key = tmp_path / "gateway.pem", tmp_path / "gateway.key"
    shutil.copy(hospital.gateway.certificate, certificate)
    shutil.copy(hospital.gateway.key, key)
    with running(tmp_path / "spool", hospital.tls(certificate_file=certificate, key_file=key)) as receiver:
        entity = AE(ae_title="PETCT1")
        entity.add_requested_context(VERIFICATION)
        open_one = entity.associate(
            "localhost", receiver.tls_port, ae_title="ISOBRIDGE", tls_args=(hospital.context(hospital.scanner), "localhost")
        )
        assert open_one.is_established
        before = shown_certificate(receiver, hospital)
        renewed = hospital.authority.issue("renewed")
        certificate.write_text("half a file")
        assert shown_certificate(receiver, hospital) == before  # the former stays in force
        shutil.copy(renewed.key, key)
        shutil.copy(renewed.certificate, certificate)
        assert shown_certificate(receiver, hospital) == ssl.PEM_cert_to_DER_cert(renewed.certificate.read_text()) != before
        assert open_one.send_c_echo().Status == 0x0000
        open_one.release()


def shown_certificate(receiver: Running, hospital: Hospital) -> bytes:
    plain = socket.create_connection(("localhost", receiver.tls_port), timeout=WAIT_SECS)
    with hospital.context(hospital.scanner).wrap_socket(plain, server_hostname="localhost") as sock:
        return sock.getpeercert(binary_form=True) or b""


@pytest.mark.needs("dcmtk")
def test_storescu_and_echoscu_over_tls(tmp_path: Path, hospital: Hospital) -> None:
    """``dcmsend`` 3.6.7 knows no TLS; these two do."""
    file = builders.write(builders.pet(), tmp_path / "pet.dcm")
    scanner, ca = hospital.scanner, ["+cf", str(hospital.authority.file)]
    own = ["+tls", str(scanner.key), str(scanner.certificate)]
    with running(tmp_path / "spool", hospital.tls(aes={"PETCT1": "dns:petct1"})) as receiver:
        where = ["-aec", "ISOBRIDGE", "localhost", str(receiver.tls_port)]
        subprocess.run(["echoscu", "-aet", "PETCT1", *own, *ca, *where], check=True, timeout=60)
        subprocess.run(["storescu", "-aet", "PETCT1", *own, *ca, *where, str(file)], check=True, timeout=60)
        assert len(receiver.rows.wait_for(1)) == 1
        expired, stranger = hospital.expired, hospital.stranger
        for title, options in (
            ("OTHER", own),
            ("PETCT1", ["+tls", str(expired.key), str(expired.certificate)]),
            ("PETCT1", ["+tls", str(stranger.key), str(stranger.certificate)]),
            ("PETCT1", ["+tla"]),
            ("PETCT1", []),
        ):
            trust = ca if options else []
            done = subprocess.run(
                ["echoscu", "-aet", title, *options, *trust, *where], capture_output=True, timeout=60, check=False
            )
            assert done.returncode != 0
