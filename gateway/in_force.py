"""The mappings in force: a version that was deployed, not what lies in a folder. Shared by the daemon's roles and the commands.

Which version that is stands in the ledger; its files stand in the data directory and never change. The folder ``mappings.directory`` is
where people work: it is used for the first start of an installation, and whenever it is deployed.
"""

from __future__ import annotations

import contextlib
import threading
import time

import structlog

from gateway.config import Settings, no_mappings
from gateway.errors import Misconfigured, Rejected, Retryable
from gateway.mapping.language import Mapping, Mappings, load
from gateway.spool.decisions import By
from gateway.spool.history import InForce, MappingHistory, PutKind
from gateway.spool.mapping_versions import MappingVersions, snapshot
from gateway.understanding import Understanding, understanding

log = structlog.get_logger()

FIRST_REASON = "first start with this folder of mappings"
_LOOK_AT_DISK_SECS = 10.0
_TRY_AGAIN_SECS = 3.0


def ensure_in_force(settings: Settings, history: MappingHistory) -> InForce:
    """What is in force; at the first start of an installation what the folder of mappings holds.

    Raises :class:`Misconfigured` with every complaint when that cannot be used. Whether a version of before can be is asked elsewhere.
    """
    versions, current = MappingVersions(settings.data.directory), history.in_force()
    if current is None:
        if not settings.mappings.directory.is_dir():
            raise Misconfigured(no_mappings(settings.mappings.directory))
        taken = snapshot(settings.mappings.directory)
        load(versions.keep(taken))
        by = By(name="isobridge", reason=FIRST_REASON, at=time.time())
        try:
            current = history.put(taken.version, PutKind.FIRST, by, after=None)
        except Rejected:  # another machine of this installation started at the same moment
            return ensure_in_force(settings, history)
    return current


def standing_in_force(history: MappingHistory) -> InForce:
    """What is in force, for a command, which puts nothing in force by the way. Raises :class:`Misconfigured`."""
    if (current := history.in_force()) is None:
        raise Misconfigured("no mappings are in force yet: start the gateway, or 'isobridge mappings deploy'")
    return current


def changed_on_disk(settings: Settings, version: str) -> list[str]:
    """How the folder of mappings differs from the version in force: ``sites/a.yaml (changed)``. Empty: not at all."""
    try:
        return snapshot(settings.mappings.directory).changes(MappingVersions(settings.data.directory).read(version))
    except Misconfigured as error:
        return [error.reason]


def understanding_in_force(settings: Settings, current: InForce) -> Understanding:
    """A site by the mappings in force, for a command. Raises :class:`Misconfigured`."""
    versions = MappingVersions(settings.data.directory)
    versions.read(current.version)
    return understanding(settings, directory=versions.path(current.version))


class SiteInForce:
    """A site by the mappings in force. Asked often; it reads the ledger then, and files only when another version is in force.

    A version that cannot be used (its files are gone, or this release does not understand them) is looked at again and again: nothing
    is read by it until it is deployed anew or comes back. Nobody who receives objects needs it.
    """

    def __init__(self, settings: Settings, history: MappingHistory, *, images_at: str | None = None, quiet: bool = False) -> None:
        """``quiet``: for a command at a terminal, whose output is its answer and no log."""
        self._quiet = quiet
        self._settings = settings
        self._history = history
        self._images_at = images_at
        self._versions = MappingVersions(settings.data.directory)
        self._lock = threading.Lock()
        self._retired: dict[str, Mapping | None] = {}
        self._told: list[str] = []
        self._look_at = 0.0
        self._try_again_at = 0.0
        self._changes: list[str] = []
        self._problem = ""
        self._understanding: Understanding | None = None
        self.current = ensure_in_force(settings, history)
        self._switch(self.current)

    @property
    def understanding(self) -> Understanding:
        """The last one that could be used. Raises :class:`Retryable` while there is none."""
        if self._understanding is None:
            raise Retryable(self._problem)
        return self._understanding

    def refresh(self) -> Understanding:
        """The site as it is to be understood now. A version that cannot be used is reported, and the former one kept.

        Raises :class:`Retryable` when there is no former one.
        """
        with self._lock:
            self._look()
            return self.understanding

    def _look(self) -> None:
        found = self._history.in_force() or self.current
        if (found.id != self.current.id or self._understanding is None) and time.monotonic() >= self._try_again_at:
            self._switch(found)

    def wait(self, stop: threading.Event) -> bool:
        """Until what is in force can be used; False when told to stop before."""
        while not stop.is_set():
            with contextlib.suppress(Retryable):
                self.refresh()
                return True
            stop.wait(1.0)
        return False

    def problem(self) -> str:
        """Why what is in force cannot be used, now or after the next start; empty when all is well."""
        with self._lock:
            self._look()
            self._look_at_disk()
            return self._problem

    def _switch(self, found: InForce) -> None:
        if found.version != self.current.version or self._understanding is None:
            try:
                self._understanding = self._understand(found)
            except Misconfigured as error:
                self._try_again_at = time.monotonic() + _TRY_AGAIN_SECS
                self._refuse(found.version, error.reason)
                return
        self.current, self._try_again_at, self._look_at, self._problem = found, 0.0, 0.0, ""
        self._retired.clear()
        if not self._quiet:
            log.info("mappings_in_force", action="mappings_in_force", version=found.version, kind=str(found.kind))

    def _understand(self, found: InForce) -> Understanding:
        self._versions.read(found.version)
        site = understanding(self._settings, images_at=self._images_at, directory=self._versions.path(found.version))
        return site.deployed(found.version, self._mapping_of_old)

    def _mapping_of_old(self, name: str) -> Mapping | None:
        """A mapping that is not in force any more but read records that are: the latest version that had it knows how to write them."""
        if name not in self._retired:
            former = dict.fromkeys(item.version for item in self._history.listed())
            held = (mapping for version in former for mapping in self._load(version) or () if mapping.name == name)
            self._retired[name] = next(held, None)
        return self._retired[name]

    def _load(self, version: str) -> Mappings | None:
        try:
            self._versions.read(version)
            return load(self._versions.path(version))
        except Misconfigured:
            return None  # gone, or not understood by this release

    def changes(self) -> list[str]:
        """What of the folder of mappings is not in force. Looked at every few seconds, logged once when it changes."""
        with self._lock:
            self._look_at_disk()
            return self._changes

    def _look_at_disk(self) -> None:
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_AT_DISK_SECS
        try:
            self._versions.read(self.current.version)
        except Misconfigured as error:
            self._refuse(self.current.version, error.reason)
            self._changes = []
            return
        if self._understanding is not None and self._history_agrees():
            self._problem = ""
        self._changes = changed_on_disk(self._settings, self.current.version)

    def _refuse(self, version: str, reason: str) -> None:
        """Remembered, and logged when it is new."""
        if reason != self._problem:
            log.warning("mappings_refused", action="mappings_refused", version=version, reason=reason)
        self._problem = reason

    def _history_agrees(self) -> bool:
        found = self._history.in_force()
        return found is None or found.id == self.current.id

    def tell_changes(self) -> None:
        """One line in the log when files were changed and not deployed."""
        found = self.changes()
        if found and found != self._told:
            log.warning("mappings_not_deployed", action="mappings_not_deployed", count=len(found), reason="; ".join(found[:5]))
        self._told = found
