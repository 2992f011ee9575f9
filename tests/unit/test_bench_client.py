"""The client of ``make bench query`` comes to its end with right counts, whatever a server does to it."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.query_client import measure

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"
_IDLE_SECS = 0.2


class _Handler(socketserver.BaseRequestHandler):
    """Answers by the path asked for; closes a connection that is idle, as uvicorn does."""

    def handle(self) -> None:
        self.request.settimeout(_IDLE_SECS)
        while True:
            try:
                asked = self.request.recv(65536)
            except TimeoutError:
                return
            if not asked or b"/cut" in asked:
                return
            if b"/slow" in asked:
                time.sleep(4 * _IDLE_SECS)
            self.request.sendall(_REFUSAL if b"/refused" in asked else _ANSWER)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _server() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_who_is_done_may_be_hung_up_while_others_still_wait() -> None:
    with _server() as url:
        measured = measure(url, ["slow", "quick"], clients=2, seconds=0)
    assert (len(measured.latencies_secs), measured.failed) == (2, 0)


def test_refusals_and_cut_connections_are_counted_and_the_run_goes_on() -> None:
    with _server() as url:
        measured = measure(url, ["quick", "cut", "refused"], clients=1, seconds=0.1)
    answered, failed = len(measured.latencies_secs), measured.failed
    assert answered > 1
    assert abs(failed - 2 * answered) <= 2


def test_what_is_not_answered_in_time_has_failed() -> None:
    with _server() as url:
        measured = measure(url, ["slow"], clients=3, seconds=0, patience_secs=0.1)
    assert (len(measured.latencies_secs), measured.failed, measured.rate) == (0, 3, 0)


def test_a_server_that_is_gone_is_no_end_of_the_benchmark() -> None:
    with _server() as url:
        pass
    assert measure(url, ["quick"], clients=2, seconds=0.1).failed == 2
