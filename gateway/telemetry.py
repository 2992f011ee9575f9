"""Log events and metrics, and the filter that keeps patient data out of both.

Events are for machines first: ``log.info("study_published", stage="publish", ...)``. Levels are chosen by consequence: ``info``
something was done, ``warning`` nothing is lost but somebody may want to know, ``error`` a person must act.

What may be logged is a closed list of keys (:data:`ALLOWED_KEYS`), because a list of forbidden words would miss the next tag. A value
under any other key is replaced. UIDs are logged only through :func:`token`, a salted hash that cannot be turned back.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

#: Keys that may appear in a log line. None of them ever holds a value taken from a patient's data.
ALLOWED_KEYS = frozenset(
    {
        "action", "adopted", "associations", "attempt", "bytes", "called_ae", "calling_ae", "cleared", "code",
        "count", "day", "digest", "door", "error", "error_id", "event", "exc_info", "exception", "field", "host",
        "instances", "issues", "item", "kind", "level", "logger", "mapping", "method", "missing", "mode", "option",
        "path", "peer", "pid", "port", "problem", "reason", "replayed", "restarts", "result", "role", "route", "seconds",
        "series", "signal", "size_bytes", "stack_info", "stage", "state", "status", "subject", "target", "timestamp",
        "url", "version",
    }
)  # fmt: skip

_SALT = secrets.token_bytes(16)


def token(identifier: str) -> str:
    """A short name for an identifier in this process's log lines: the same within one run, meaningless outside it."""
    return hashlib.blake2s(identifier.encode(), key=_SALT, digest_size=6).hexdigest()


def configure(*, level: str, style: str, role: str) -> None:
    """Set up logging of this process: ``style`` is ``json`` or ``console``; ``role`` is put on every line."""
    renderer: Any = structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _name_class_of_exceptions,
            only_allowed_keys,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Forgiving(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(role=role)
    _quiet_other_libraries()


class _Forgiving:
    """Standard error, except that a disk that is full costs the line: it is often a file, and nobody may stop working because of it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def only_allowed_keys(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what stands under a key that is not on the list. The key itself is kept, so that the gap can be seen."""
    return {key: value if key in ALLOWED_KEYS else "(withheld)" for key, value in event.items()}


def _name_class_of_exceptions(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A foreign exception's text may quote a data element. Keep its class and the place in our code, never its message."""
    raised = event.pop("exc_info", None)
    if raised:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
        event["exception"] = describe_exception(error) if error else "none"
    return event


def describe_exception(error: BaseException) -> str:
    """Class name and innermost line of our own code, without the message."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "gateway" in code.co_filename:
            place = f" at {code.co_filename.rpartition('gateway/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"


def _quiet_other_libraries() -> None:
    """pydicom and pynetdicom put element values into their log lines and Python warnings; keep them silent."""
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
    for name in ("pydicom", "pynetdicom", "sqlalchemy", "alembic", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
