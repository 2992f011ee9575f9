"""An archive that answers in strange ways: each has a clear status, none holds us or is passed on."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gateway.errors import Rejected
from gateway.publish.fhir_http import Access
from gateway.web.behind import http
from gateway.web.behind.archive import Level, is_uid
from gateway.web.behind.http import ArchiveHttp
from gateway.web.behind.plugin import PluginArchive
from gateway.web.behind.rest import RestArchive

MULTIPART = b"Content-Type: multipart/related; type=application/dicom; boundary=b\r\n"


@contextmanager
def archive(*answers: bytes, hold: bool = False) -> Iterator[Callable[[], ArchiveHttp]]:
    """Gives one answer to each request; ``hold``: and lets the connection stand."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed: what is refused by its header is not asked for again
                    return
                connection.recv(65536)
                connection.sendall(answer)
                if hold:
                    over.wait(10)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        access = Access(url=f"http://127.0.0.1:{listener.getsockname()[1]}", username="me", password="hush", timeout_secs=1)
        yield lambda: ArchiveHttp("archive", access)
        over.set()


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def refusal(given: bytes, *, hold: bool = False, save: bool = False, most_bytes: int = 1 << 20) -> Rejected:
    def ask(found: ArchiveHttp) -> None:
        if save:
            found.save("instances/1/file", io.BytesIO(), accept="application/dicom", most_bytes=most_bytes)
        else:
            found.json("GET", "studies", until=found.until())

    answers = [given] if hold else [given, given]  # one that makes no sense is asked twice
    with archive(*answers, hold=hold) as make, pytest.raises(Rejected) as caught:
        ask(make())
    assert "hush" not in caught.value.reason
    return caught.value


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (answer(b"", b"Location: http://127.0.0.1:1/\r\n", status=b"302 Found"), 502, "HTTP 302"),
        (answer(b"", status=b"401 Unauthorized"), 502, "credentials"),
        (answer(b"secret words", status=b"500 Oops"), 502, "HTTP 500"),
        (answer(b"<html>"), 502, "no JSON"),
        (answer(b"[" * 100_000), 502, "no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[", 502, "broke off"),
        (b"nonsense\r\n\r\n", 502, "broke off"),
    ],
)
def test_a_strange_answer_is_a_bad_gateway(given: bytes, status: int, told: str) -> None:
    found = refusal(given)
    assert (found.status, told in found.reason, "secret" in found.reason) == (status, True, False)


def test_what_does_not_come_in_time_is_a_timeout() -> None:
    assert refusal(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[", hold=True).status == 504


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (answer(b"x" * 2000, b"Content-Type: application/dicom\r\n"), 502, "larger than"),
        (answer(b"--b\r\n\r\n" + b"x" * 2000 + b"\r\n--b--", MULTIPART), 502, "larger than"),
        (answer(b"--b\r\n\r\nhalf", MULTIPART), 502, "broke off"),
        (answer(b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--", MULTIPART), 502, "broke off"),
        (answer(b"{}", status=b"404 Not Found"), 410, "any more"),
    ],
)
def test_an_object_comes_whole_or_not_at_all(given: bytes, status: int, told: str) -> None:
    found = refusal(given, save=True, most_bytes=1000)
    assert (found.status, told in found.reason) == (status, True)


def test_a_connection_that_was_closed_is_opened_anew_once() -> None:
    with archive(b"", answer(b"[1]")) as make:
        found = make()
        assert found.json("GET", "studies", until=found.until()) == [1]
    assert refusal(b"").status == 502


def test_after_no_answer_it_is_left_alone_for_a_while() -> None:
    now = [0.0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = ArchiveHttp("archive", Access(url=f"http://127.0.0.1:{port}"), clock=lambda: now[0])
    statuses = []
    for now[0] in (0.0, 1.0, http.REST_SECS - 0.1, http.REST_SECS + 0.1):
        with pytest.raises(Rejected) as caught:
            found.json("GET", "studies", until=found.until())
        statuses.append(caught.value.status)
    assert statuses == [502, 503, 503, 502]


@pytest.mark.parametrize("body", [b'{"a": 1}', b'[{"ID": "../../system"}]', b"[1]", b'[{"ID": null}]'])
def test_an_orthanc_that_is_none_is_refused(body: bytes) -> None:
    with archive(answer(body)) as make, pytest.raises(Rejected) as caught:
        RestArchive("archive", make(), shows_all=True).find(Level.STUDY, {}, limit=1, offset=0)
    assert caught.value.status == 502


def test_an_answer_of_qido_without_what_was_asked_for_gives_nothing() -> None:
    with archive(answer(b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00100010": {"Value": [null]}}]')) as make:
        (match,) = PluginArchive("archive", make(), shows_all=True).find(
            Level.STUDY, {"PatientName": "A&limit=9^*"}, limit=1, offset=0
        )
    assert (match.study_uid, match.fits) == ("1.2", False)


@pytest.mark.parametrize(
    ("text", "good"), [("1.2.840", True), ("..", False), ("1..2", False), ("1.", False), ("", False), ("1/2", False)]
)
def test_only_uids_become_part_of_an_address(text: str, good: bool) -> None:
    assert is_uid(text) is good
    assert not is_uid("1" * 65)
