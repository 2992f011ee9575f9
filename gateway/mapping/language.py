"""The front door of the mapping language: a directory of YAML -> :class:`Mappings`, or every complaint at once.

The verbs, for readers of this package (hospital staff read ``docs/mapping-guide.md``):

``extends``    inherit everything of another mapping, or of a list of them; a key is taken from the last file of the line that itself wrote
               it, bases before what extends them, later bases after earlier ones; ``key: null`` takes an inherited key away
``match``      which objects: keywords (``ImageType[2]`` one value), ``manufacturer model serial station software``, ``calling_ae``,
               ``called_ae``, ``private_creator``; texts with ``*`` or ``{regex: RE2}``, any case; all must fit, those of the bases as
               well; or ``everything``
``priority``   which of two counts; then the longer line of bases, then more conditions. Equal rank that may meet is a mistake
``let``        short names for paths, used as ``$name``
``for_each``   ``administration: <sequence>``: its fields are read once per item, as ``$administration.Keyword``
``fields``     ``<level>.<name>: {from, as, codes, unit, need, range, when}``, or ``{for_each, fields}`` for a list, read as
               ``$item.Keyword``; sources stand in ``reads.py``, conditions in ``conditions.py``
``resources``  FHIR templates (``template.py``)
``example``    the smallest legal object, ``arrival: {calling_ae: ...}`` and ``meta: {...}`` beside its elements; ``tests`` state only
               their difference, and fail when another mapping would be chosen for it
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from gateway.errors import Misconfigured
from gateway.mapping.lint import Examined, compile_directory, examine, lint
from gateway.mapping.rules import Mapping, Mappings

__all__ = ["Examined", "Mapping", "Mappings", "examine", "lint", "load"]

#: What was compiled last, by content: a version is compiled once in a process, however many folders hold it.
_KEPT_MOST = 4
_kept: dict[str, Mappings] = {}
_lock = threading.Lock()


def load(directory: Path) -> Mappings:
    """Read, compile and check all mappings. Raises :class:`Misconfigured` with every complaint, ``file:line:column``."""
    content = _content(directory)
    with _lock:
        if content in _kept:
            return _kept[content]
    mappings, complaints = compile_directory(directory)
    if mappings is None:
        raise Misconfigured([str(complaint) for complaint in complaints])
    if _content(directory) == content:  # else somebody edits it at this moment
        with _lock:
            _kept[content] = mappings
            while len(_kept) > _KEPT_MOST:
                del _kept[next(iter(_kept))]
    return mappings


def _content(directory: Path) -> str:
    """A digest of names and bytes of every YAML file below ``directory``."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.yaml")):
        try:
            body = path.read_bytes()
        except OSError as error:  # compiling will complain of it
            body = str(error.errno).encode()
        digest.update(f"{path.relative_to(directory)}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()
