"""The plainest durable receiver that pynetdicom's own guide leads to: one handler, one file, one fsync, then success."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

VERIFICATION_UID = "1.2.840.10008.1.1"


def store(event: Any, directory: Path) -> int:
    path = directory / f"{event.request.AffectedSOPInstanceUID}.dcm"
    with path.open("wb") as file:
        file.write(event.encoded_dataset())
        file.flush()
        os.fsync(file.fileno())
    return 0x0000


def without_delay(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main(directory: str) -> None:
    entity = AE(ae_title="PEER")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(VERIFICATION_UID)
    entity.maximum_pdu_size = 128 * 1024
    on_store = (evt.EVT_C_STORE, store, [Path(directory)])
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[on_store, (evt.EVT_CONN_OPEN, without_delay)])
    assert server is not None
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
