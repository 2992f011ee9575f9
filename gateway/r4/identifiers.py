"""The system of a business identifier, from what a header says of its issuer."""

from __future__ import annotations

import re
from urllib.parse import quote

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")


def system_of(issuer: str, site_system: str) -> str:
    """A URI for the issuer of an identifier; without an issuer it is the site's own.

    A URI is taken as it is, an OID becomes ``urn:oid:``, any other text (PS3.3 C.2.2: a local namespace) is put below the site's system.
    """
    if not issuer:
        return site_system
    if issuer.startswith(("urn:", "http://", "https://")):
        return issuer
    if _OID.fullmatch(issuer):
        return f"urn:oid:{issuer}"
    separator = ":" if site_system.startswith("urn:") else "/"
    return f"{site_system}{separator}{quote(issuer, safe='')}"
