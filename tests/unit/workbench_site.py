"""A site for tests of the workbench: invented, without files of its own."""

from __future__ import annotations

from gateway.mapping.language import Mappings
from gateway.understanding import Understanding
from gateway.workbench.mapping_diff import invented_site


def site(mappings: Mappings) -> Understanding:
    return invented_site(mappings)
