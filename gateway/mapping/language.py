"""The front door of the mapping language: a directory of YAML -> :class:`Mappings`, or every complaint at once.

The verbs, for readers of this package (hospital staff read ``docs/mapping-guide.md``):

``extends``    inherit everything of another mapping; what is written again replaces
``match``      which objects: keywords with values, ``*`` for anything; or ``everything``
``let``        short names for paths, used as ``$name``
``for_each``   ``administration: <sequence>``: its fields are read once per item, as ``$administration.Keyword``
``fields``     ``<level>.<name>: {from, as, codes, unit, need}``
``resources``  FHIR templates (``template.py``)
``example``    the smallest legal object; ``tests`` state only their difference
"""

from __future__ import annotations

from pathlib import Path

from gateway.errors import Misconfigured
from gateway.mapping.lint import Examined, compile_directory, examine, lint
from gateway.mapping.rules import Mapping, Mappings

__all__ = ["Examined", "Mapping", "Mappings", "examine", "lint", "load"]


def load(directory: Path) -> Mappings:
    """Read, compile and check all mappings. Raises :class:`Misconfigured` with every complaint, ``file:line:column``."""
    mappings, complaints = compile_directory(directory)
    if mappings is None:
        raise Misconfigured([str(complaint) for complaint in complaints])
    return mappings
