"""The DIMSE statuses we answer, each from the standard."""

from __future__ import annotations

SUCCESS = 0x0000
#: PS3.7 C.5.20: an error of ours.
PROCESSING_FAILURE = 0x0110
#: PS3.7 C.5.25: we do not know this operation.
UNRECOGNIZED_OPERATION = 0x0211
#: PS3.4 table B.2-1: Refused, out of resources. The sender may try again later.
OUT_OF_RESOURCES = 0xA700
#: PS3.4 table B.2-1: Error, data set does not match SOP Class.
DOES_NOT_MATCH = 0xA900
#: PS3.4 table B.2-1: Error, cannot understand.
CANNOT_UNDERSTAND = 0xC000

#: PS3.5 table 6.2-1: LO holds 64 characters; (0000,0902) Error Comment is one (PS3.7 table E.1-1).
COMMENT_MOST = 64


def comment(reason: str) -> str:
    """The reason as an Error Comment: its beginning, in plain ASCII."""
    plain = reason.replace("\\", "/").encode("ascii", "replace").decode()
    return plain if len(plain) <= COMMENT_MOST else plain[: COMMENT_MOST - 3].rstrip() + "..."
