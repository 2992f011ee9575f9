"""HTTP with an archive on behalf of a client. Nothing of the client's request travels on but what it asks for, and nothing of the archive's
answer comes back but objects and values: no header, no address, no text of an error.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import requests
import structlog
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from gateway.errors import Rejected
from gateway.publish.fhir_http import Access
from gateway.web.multipart_reader import MultipartReader, media_type

log = structlog.get_logger()

PARALLEL = 8
#: After no answer it is left alone for so long, so that a dead archive costs a client nothing.
REST_SECS = 10.0
#: A page of a search: the local answer waits for it.
SEARCH_SECS = 8.0
_MOST_JSON_BYTES = 64 << 20
_PIECE_BYTES = 256 * 1024


class ArchiveHttp:
    """Safe for several threads. Raises :class:`Rejected`: 502 no or a strange answer, 504 too slow, 503 while it is left alone."""

    def __init__(self, name: str, access: Access, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._base = access.url.rstrip("/") + "/"
        self._connect_secs = access.connect_timeout_secs
        self._timeout_secs = access.timeout_secs
        self._session = access.session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=PARALLEL, max_retries=0))
        self._clock = clock
        self._lock = threading.Lock()
        self._rests_until = float("-inf")

    def until(self, secs: float | None = None) -> float:
        """A moment in so many seconds, at most in ``timeout_secs``: several requests can be kept within it."""
        return self._clock() + (self._timeout_secs if secs is None else min(secs, self._timeout_secs))

    def json(self, method: str, address: str, *, until: float, body: Any = None, accept: str = "application/json") -> Any:
        """The answer; an empty list for none (204, 404)."""
        headers = {"Accept": accept}
        content = bytearray()
        with self._asked(method, address, until, headers=headers, json=body) as answer:
            if answer.status_code in (204, 404):
                return []
            for piece in self._pieces(answer, until):
                content += piece
                if len(content) > _MOST_JSON_BYTES:
                    raise Rejected("the archive's list is too long; ask for less", status=502)
        try:
            return json.loads(content) if content else []
        except (ValueError, RecursionError) as error:
            raise Rejected("the archive gave an answer that is no JSON", status=502) from error

    def save(self, address: str, into: IO[bytes], *, accept: str, most_bytes: int) -> None:
        """The body, or the first part of a multipart one, into a file. Raises :class:`Rejected` (410) for 404."""
        until = self._clock() + 10 * self._timeout_secs
        with self._asked("GET", address, until, headers={"Accept": accept}) as answer:
            if answer.status_code == 404:
                raise Rejected("the archive does not hold this object any more", status=410)
            kind, parameters = media_type(answer.headers.get("Content-Type", ""))
            sink = _Sink(into, most_bytes)
            if kind != "multipart/related":
                for piece in self._pieces(answer, until):
                    sink.write(memoryview(piece))
                return
            reader = MultipartReader(parameters.get("boundary", ""), sink)
            for piece in self._pieces(answer, until):
                reader.feed(piece)
            if not reader.is_complete or sink.parts != 1:
                raise Rejected("the archive's answer broke off", status=502)

    @contextmanager
    def _asked(self, method: str, address: str, until: float, **options: Any) -> Iterator[requests.Response]:
        if self._clock() < self._rests_until:
            raise Rejected(f"the archive '{self._name}' gave no answer a moment ago; what stands here is answered", status=503)
        headers = {**options.pop("headers"), "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        left = until - self._clock()
        try:
            if left <= 0:
                raise requests.ReadTimeout
            timeout = (min(self._connect_secs, left), min(self._timeout_secs, left))
            with self._sent(method, address, headers=headers, timeout=timeout, **options) as answer:
                self._check(answer.status_code)
                yield answer
        except requests.RequestException as error:
            self._rest(type(error).__name__)
            # A body that stops coming is a ConnectionError to requests.
            if isinstance(error, requests.Timeout) or (error.args and isinstance(error.args[0], ReadTimeoutError)):
                raise Rejected(f"the archive '{self._name}' took too long to answer", status=504) from error
            raise Rejected(f"the archive '{self._name}' cannot be reached, or its answer broke off", status=502) from error

    def _sent(self, method: str, address: str, **options: Any) -> requests.Response:
        """A kept connection that the archive has closed meanwhile is opened anew once: all that is asked here may be asked twice."""

        def send() -> requests.Response:
            return self._session.request(method, self._base + address, allow_redirects=False, stream=True, **options)

        try:
            return send()
        except requests.ConnectionError as error:
            if not error.args or not isinstance(error.args[0], ProtocolError):
                raise
            return send()

    def _check(self, status: int) -> None:
        if status in (200, 204, 206, 404):
            return
        log.warning("archive_refused", stage="web", target=self._name, status=status)
        why = "refuses the gateway's credentials" if status in (401, 403) else "gave no good answer"
        raise Rejected(f"the archive '{self._name}' {why} (HTTP {status})", status=502)

    def _pieces(self, answer: requests.Response, until: float) -> Iterator[bytes]:
        """The body as it comes; a drip does not hold us."""
        for piece in answer.iter_content(_PIECE_BYTES):
            if self._clock() > until:
                raise requests.ReadTimeout
            yield piece

    def _rest(self, why: str) -> None:
        with self._lock:
            self._rests_until = self._clock() + REST_SECS
        log.warning("archive_gives_no_answer", stage="web", target=self._name, reason=why)


class _Sink:
    """Takes the parts of a multipart message; there should be one."""

    def __init__(self, into: IO[bytes], most_bytes: int) -> None:
        self._into = into
        self._left = most_bytes
        self.parts = 0

    def begin(self, headers: Mapping[str, str]) -> None:
        self.parts += 1

    def write(self, piece: memoryview) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise Rejected("the archive's object is larger than receive.max_object_megabytes", status=502)
        if self.parts <= 1:
            self._into.write(piece)

    def end(self) -> None:
        """The part is complete."""
