"""What helps to connect a scanner: the memory of callers, the judgement of their calls, the sheet for the console, the health check."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.config import Receive, Settings, Web
from gateway.config import Site as SiteSettings
from gateway.dicom_settings import CommitmentSettings, TlsSettings
from gateway.errors import Retryable
from gateway.receive.callers import CallerTrace
from gateway.receive.negotiation import storage_classes, transfer_syntaxes
from gateway.receive.settings import ReceiveSettings
from gateway.spool.callers import Caller
from gateway.spool.ledger import Ledger
from gateway.workbench.calls import judge, nothing_came
from gateway.workbench.health import health
from gateway.workbench.setup_sheet import STATUSES, setup_sheet, sheet_lines
from tests.integration.receiving import p_data, pdv, raw_peer, receiving, simple_command

ZONE = SiteSettings().zone
SCANNER = {"calling_ae": "PETCT1", "called_ae": "ISOBRIDGE", "peer": "10.0.0.7"}
C_STORE, C_ECHO = 0x0001, 0x0030


class Rows:
    """The ledger's place."""

    def __init__(self) -> None:
        self.batches: list[list[Caller]] = []
        self.failures = 0
        self.written = threading.Event()

    def record(self, batch: Iterable[Caller]) -> None:
        if self.failures:
            self.failures -= 1
            raise Retryable("The ledger is locked.")
        self.batches.append(list(batch))
        self.written.set()


# The memory


def test_ten_thousand_objects_are_written_together_not_one_by_one() -> None:
    rows = Rows()
    trace = CallerTrace(rows, now=lambda: 100.0)
    trace("association_accepted", contexts=2, proposed=3, **SCANNER)
    for _ in range(10_000):
        trace("answered", command=C_STORE, status=0, seconds=0.001, **SCANNER)
    trace("answered", command=C_STORE, status=0xA700, seconds=0.001, **SCANNER)
    trace.stop()
    seen = [caller for batch in rows.batches for caller in batch]
    assert len(rows.batches) <= 2
    assert sum(caller.stored for caller in seen) == 10_000
    assert [caller.refused_status for caller in seen if caller.refused] == [0xA700]
    assert (seen[0].contexts, seen[0].proposed, seen[0].association_at) == (2, 3, 100.0)


def test_an_echo_is_written_without_waiting_for_more() -> None:
    rows = Rows()
    trace = CallerTrace(rows)
    trace("answered", command=C_ECHO, status=0, seconds=0.001, **SCANNER)
    assert rows.written.wait(4.0)  # well below the interval of a stream
    trace.stop()


def test_what_could_not_be_written_is_written_later_and_counted_once() -> None:
    rows = Rows()
    rows.failures = 1
    trace = CallerTrace(rows)
    trace("answered", command=C_ECHO, status=0, seconds=0.001, **SCANNER)
    deadline = time.monotonic() + 10
    while rows.failures and time.monotonic() < deadline:
        time.sleep(0.01)
    trace("answered", command=C_ECHO, status=0, seconds=0.001, **SCANNER)
    trace.stop()
    assert sum(caller.echoes for batch in rows.batches for caller in batch) == 2


def test_titles_are_made_printable_and_their_number_is_limited() -> None:
    rows = Rows()
    trace = CallerTrace(rows)
    for number in range(5000):
        trace("association_rejected", reason="x", calling_ae=f"A\0\n{number}", called_ae="É", peer="10.0.0.1")
    trace.stop()
    seen = [caller for batch in rows.batches for caller in batch]
    assert len(seen) <= 400
    assert seen[0].calling_ae == "A??0"
    assert seen[0].called_ae == "?"


def test_the_receiver_tells_who_called_and_what_came_instead_of_dicom(tmp_path: Path) -> None:
    rows = Rows()
    trace = CallerTrace(rows)
    with receiving(tmp_path, calling_aes=("PETCT1",)) as running:
        with raw_peer(running) as peer:
            peer.associate(calling="PETCT1")
            peer.sock.sendall(p_data(pdv(3, 3, simple_command(C_ECHO))))
            peer.read_response()
        with raw_peer(running) as peer:
            peer.associate(calling="petct1")
        with raw_peer(running) as peer:  # the beginning of a TLS ClientHello
            peer.sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            assert peer.is_closed()
        running.stop()
    for event, fields in running.events:
        trace(event, **fields)
    trace.stop()
    seen = {caller.calling_ae: caller for batch in rows.batches for caller in batch}
    assert (seen["PETCT1"].echoes, seen["PETCT1"].associations, seen["PETCT1"].contexts) == (1, 1, 2)
    assert seen["petct1"].rejection_reason == "the calling AE title is not on the list"
    assert seen[""].rejection_reason == "What came is not DICOM."
    verdict = judge([seen[""]], "PETCT1", Receive(), ZONE)
    assert any("often TLS" in step.text for step in verdict.steps)


# The judgement


def caller(**values: object) -> Caller:
    return Caller(**{**SCANNER, "last_at": 50.0, **values})  # type: ignore[arg-type]


def test_a_scanner_that_verified_is_connected() -> None:
    verdict = judge([caller(association_at=49.0, contexts=1, proposed=1, echo_at=50.0)], "PETCT1", Receive(), ZONE)
    assert verdict.ok
    assert [step.ok for step in verdict.steps] == [True, True]


def test_what_happened_before_the_test_began_does_not_count() -> None:
    verdict = judge([caller(echo_at=50.0)], "PETCT1", Receive(), ZONE, since=60.0)
    assert not verdict.ok
    assert not verdict.steps


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        (caller(rejection_at=50.0, rejection_reason="the called AE title is not ours", called_ae="WRONG"), "OUR-AE"),
        (caller(rejection_at=50.0, rejection_reason="the calling AE title is not on the list"), "receive.calling_aes"),
        (caller(association_at=50.0, contexts=0, proposed=4), "none of its 4"),
        (caller(refused_at=50.0, refused_status=0xC000), "spool list --state quarantined"),
        (caller(calling_ae="petct1", association_at=50.0, contexts=1, proposed=1), "capitals matter"),
        (caller(calling_ae="CT7", association_at=50.0, contexts=1, proposed=1), "is this your scanner?"),
    ],
)
def test_a_fault_comes_with_its_remedy(found: Caller, hint: str) -> None:
    verdict = judge([found], "PETCT1", Receive(ae_title="OUR-AE"), ZONE)
    assert not verdict.ok
    assert any(hint in step.text for step in verdict.steps), verdict.steps


def test_a_failure_after_a_success_is_no_success() -> None:
    late = caller(echo_at=40.0, rejection_at=50.0, rejection_reason="too many associations are open")
    assert not judge([late], "PETCT1", Receive(), ZONE).ok


def test_silence_names_the_usual_causes() -> None:
    told = " ".join(step.text for step in nothing_came("PETCT1", Receive(), port=11112))
    assert "only programs on this machine" in told
    assert "TCP port 11112" in told
    assert "is not running" in " ".join(step.text for step in nothing_came("PETCT1", Receive(), port=None))


# The sheet


def reachable() -> Settings:
    receive = Receive(bind="10.0.0.5:104", ae_title="NUC", calling_aes=("PETCT1",), behind_tls_proxy=True, check_called_ae=True)
    return Settings(receive=receive, web=Web())


def test_the_sheet_says_what_to_type_and_fits_the_page() -> None:
    lines = sheet_lines(setup_sheet(reachable()))
    page = "\n".join(lines)
    for needed in ("NUC", "10.0.0.5", "104", "PETCT1", "storage commitment", "1.2.840.10008.1.2.1", "echo --from PETCT1"):
        assert needed in page
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 70
    assert "WARNING" not in page


def test_the_sheet_warns_when_no_scanner_can_reach_us() -> None:
    assert "listens on loopback only" in " ".join("\n".join(sheet_lines(setup_sheet(Settings()))).split())


def test_the_sheet_tells_of_the_tls_port_and_of_storage_commitment() -> None:
    receive = Receive(tls=TlsSettings(bind="10.0.0.6:2762"), storage_commitment=CommitmentSettings(mode="end_to_end"))
    page = "\n".join(sheet_lines(setup_sheet(Settings(receive=receive))))
    assert "10.0.0.6" in page
    assert "port 2762" in page
    assert "certificate is needed" in " ".join(page.split())
    assert re.search(r"port +2762\b", page)
    assert "11112" not in page
    assert re.search(r"storage commitment +on", page)
    assert "WARNING" not in page


def test_what_the_sheet_recommends_is_accepted() -> None:
    sheet = setup_sheet(reachable())
    assert {uid for _, uid, _ in sheet.sop_classes} <= storage_classes(ReceiveSettings())
    assert {uid for _, uid, _ in sheet.transfer_syntaxes} <= transfer_syntaxes()


def test_the_sheet_as_json_names_host_port_and_statuses() -> None:
    done = CliRunner().invoke(main, ["setup-sheet", "--json", "--host", "pet.example", "--set", "receive.bind=127.0.0.1:104"])
    assert done.exit_code == 0, done.output
    sheet = json.loads(done.output)
    assert (sheet["hosts"], sheet["port"], sheet["storage_commitment"]) == (["pet.example"], 104, False)
    assert [row["status"] for row in sheet["statuses"]] == [status for status, _, _ in STATUSES]


# The commands


def test_echo_wants_one_direction() -> None:
    for words in ([], ["A@h:1", "--from", "B"]):
        done = CliRunner().invoke(main, ["echo", *words])
        assert done.exit_code == 2
        assert "--from" in done.output


def test_echo_from_tells_what_the_ledger_remembers(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    where = ["--set", f"data.directory={tmp_path}"]
    silent = CliRunner().invoke(main, ["echo", "--from", "PETCT1", *where])
    assert silent.exit_code == 1
    assert "PETCT1 has not called" in silent.output
    ledger.callers.record([caller(echo_at=50.0, echoes=1)])
    ledger.close()
    heard = CliRunner().invoke(main, ["echo", "--from", "PETCT1", *where])
    assert heard.exit_code == 0, heard.output
    assert "C-ECHO: PETCT1 from 10.0.0.7: answered" in heard.output


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[list[int]]:
    """A web server at the address in run.json that answers /readyz with the status in the list."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"spool": "ok" if status[0] == 200 else "less free space than the reserve"}).encode()
            self.send_response(status[0] if self.path == "/readyz" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place = {"host": "127.0.0.1", "port": server.server_address[1], "url": f"http://127.0.0.1:{server.server_address[1]}"}
    (tmp_path / "run.json").write_text(json.dumps({"http": place}))
    yield status
    server.shutdown()
    thread.join()
    server.server_close()


def test_health_is_what_readyz_says(tmp_path: Path, answering: list[int]) -> None:
    assert health(tmp_path).ok
    answering[0] = 503
    sick = health(tmp_path)
    assert not sick.ok
    assert sick.checks == {"spool": "less free space than the reserve"}


def test_no_gateway_is_not_healthy(tmp_path: Path) -> None:
    assert not health(tmp_path).ok
    (tmp_path / "run.json").write_text('{"http": {"host": "127.0.0.1", "port": 1, "url": "http://127.0.0.1:1"}}')
    assert "does not answer" in health(tmp_path).checks["gateway"]
