"""``multipart/related`` answers (RFC 2387, PS3.18 8.6.1.2), written while they are made."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from starlette.responses import StreamingResponse

HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its Content-Type, its length if known, its body."""

    content_type: str
    length: int | None
    body: AsyncIterable[bytes]


def multipart(parts: AsyncIterable[Part], kind: str, *, status: int = 200) -> StreamingResponse:
    """``kind`` is the media type of the parts."""
    boundary = f"isobridge-{secrets.token_hex(12)}"
    content_type = f'multipart/related; type="{kind}"; boundary={boundary}'
    return StreamingResponse(_written(parts, boundary), status, {**HEADERS, "Content-Type": content_type})


async def _written(parts: AsyncIterable[Part], boundary: str) -> AsyncIterator[bytes]:
    async for part in parts:
        length = f"Content-Length: {part.length}\r\n" if part.length is not None else ""
        yield f"--{boundary}\r\nContent-Type: {part.content_type}\r\n{length}\r\n".encode()
        async for piece in part.body:
            yield piece
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
