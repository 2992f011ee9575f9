"""The four ways a thing can go wrong here, told apart by who must be told.

An error class says what happens next, not what happened: the reason is its message. Raise one of these; the
cause is chained. Only ``workers.py`` catches what is none of them.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Isobridge could not do what was asked."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason or (self.__doc__ or "").strip().splitlines()[0])

    @property
    def reason(self) -> str:
        """One sentence a person can act on. Never holds patient data."""
        return str(self.args[0])


class Misconfigured(GatewayError):
    """The settings or mappings are wrong: do not start. Holds every complaint at once, one per line."""

    def __init__(self, complaints: str | list[str]) -> None:
        lines = [complaints] if isinstance(complaints, str) else list(complaints)
        self.complaints = lines
        super().__init__("\n".join(lines))


class Rejected(GatewayError):
    """The sender must be told now. ``status`` is the answer in its own protocol: a DIMSE status or an HTTP one.

    ``code`` is FHIR's issue code (R4 valueset-issue-type.html) where the status alone does not tell it.
    """

    def __init__(self, reason: str, *, status: int, code: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


class Quarantined(GatewayError):
    """A human must look: the object is kept, with this reason, and can be replayed."""


class Retryable(GatewayError):
    """The clock must be told: the same work will be tried again later, unchanged.

    ``wait_secs`` is how long the other side asked us to wait. ``peer_down`` says that the other side as a whole cannot take anything
    now, so that nothing else need knock at it meanwhile.
    """

    def __init__(self, reason: str | None = None, *, wait_secs: float | None = None, peer_down: bool = False) -> None:
        super().__init__(reason)
        self.wait_secs = wait_secs
        self.peer_down = peer_down


def told(error: GatewayError | OSError) -> tuple[list[str], int]:
    """What ended a process, in lines for a person, and its exit code: 2 when settings or the machine are wrong, else 1."""
    if isinstance(error, Misconfigured):
        return error.complaints, 2
    if isinstance(error, GatewayError):
        return [error.reason], 1
    return [f"{error.filename or 'the operating system'}: {error.strerror}"], 2
